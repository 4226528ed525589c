"""Small builders of domain values for tests: each makes the plainest valid value, with what the test is about given."""

from __future__ import annotations

from dataclasses import replace

from k8s_execution.domain import naming
from k8s_execution.domain.execution import Cluster, ClusterKind, Execution, StepKey, StepPhase, StepState
from k8s_execution.domain.facts import (
    ContainerFact,
    ContainerKind,
    ContainerState,
    DeploymentFact,
    JobFact,
    NamespaceFact,
    Observed,
    PodFact,
    PodPhase,
)
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import (
    Application,
    Environment,
    ImageSource,
    Policy,
    Source,
    Specification,
    Step,
    StepKind,
    Strategy,
    SuiteType,
    TestPlan,
)

ID = "a" * naming.ID_LENGTH
NAMESPACE = f"quality-fabric-{ID}"
START = 1_700_000_000_000_000
SECOND = 1_000_000
CLUSTER = Cluster(ClusterKind.SIMULATED, "v1.34.0-simulated", "cluster-uid")


def suite(name: str = "unit", **given: object) -> Step:
    """A PYTEST suite."""
    base = Step(name, StepKind.SUITE, "python:3-slim", suite_type=SuiteType.PYTEST)
    return replace(base, **given)  # type: ignore[arg-type]  # names are checked by replace


def hook(name: str, kind: StepKind = StepKind.SETUP, **given: object) -> Step:
    """A hook."""
    base = Step(name, kind, "python:3-slim", command=("true",))
    return replace(base, **given)  # type: ignore[arg-type]  # names are checked by replace


def specification(
    *steps: Step,
    applications: tuple[Application, ...] = (),
    policy: Policy = Policy(),
    strategy: Strategy = Strategy(),
    source: Source | None = None,
) -> Specification:
    """A specification of these steps; one suite if none is given."""
    chosen = steps or (suite(),)
    plan = TestPlan(
        source or ImageSource(),
        tuple(s for s in chosen if s.kind is StepKind.SUITE),
        tuple(s for s in chosen if s.kind is StepKind.SETUP),
        tuple(s for s in chosen if s.kind is StepKind.TEARDOWN),
        strategy,
    )
    return Specification("test", plan, Environment(applications=applications), policy)


def execution(spec: Specification | None = None, phase: Phase = Phase.QUEUED, **given: object) -> Execution:
    """An execution in a phase, every earlier phase entered at START, its namespace made."""
    chosen = spec or specification()
    steps = tuple(StepState(StepKey(s.kind, s.name)) for s in chosen.test_plan.steps)
    order = list(Phase)
    entered = dict.fromkeys(order[1 : order.index(phase) + 1], START)
    base = Execution(ID, chosen, NAMESPACE, CLUSTER, phase, steps, entered=entered, created_at=START, epoch=1)
    if phase is not Phase.QUEUED:
        expires = START + chosen.policy.ttl_ms * 1000
        base = replace(
            base,
            namespace_uid="ns-uid",
            namespace_created_at=START,
            expires_at=expires,
            foundation_created=True,
            applications_created=frozenset(a.name for a in chosen.environment.applications),
        )
    return replace(base, **given)  # type: ignore[arg-type]  # names are checked by replace


def with_step(made: Execution, name: str, phase: StepPhase, **given: object) -> Execution:
    """The execution with one step's state set."""
    state = next(s for s in made.steps if s.key.name == name)
    changed = replace(state, phase=phase, **given)  # type: ignore[arg-type]  # names are checked by replace
    return made.with_step(changed)


def container(
    name: str = naming.STEP_CONTAINER, state: ContainerState = ContainerState.RUNNING, **given: object
) -> ContainerFact:
    """A container status."""
    base = ContainerFact(name, ContainerKind.MAIN, "python:3-slim", state, container_id=f"{name}-1")
    if state is not ContainerState.WAITING:
        base = replace(base, started_at=START, started=True, ready=state is ContainerState.RUNNING)
    return replace(base, **given)  # type: ignore[arg-type]  # names are checked by replace


def step_pod(
    name: str = "unit", kind: StepKind = StepKind.SUITE, *containers: ContainerFact, **given: object
) -> PodFact:
    """The pod of a step, running with its collector unless containers are given."""
    chosen = containers or (container(), container(naming.COLLECTOR_CONTAINER))
    base = PodFact(
        NAMESPACE,
        f"{name}-pod",
        f"{name}-uid",
        ID,
        START,
        kind.value,
        name,
        phase=PodPhase.RUNNING,
        scheduled=True,
        containers=chosen,
    )
    return replace(base, **given)  # type: ignore[arg-type]  # names are checked by replace


def application_pod(name: str = "api", *containers: ContainerFact, **given: object) -> PodFact:
    """The pod of an application."""
    chosen = containers or (container(naming.APPLICATION_CONTAINER),)
    base = PodFact(
        NAMESPACE, f"{name}-pod", f"{name}-uid", ID, START, application=name, phase=PodPhase.RUNNING, scheduled=True,
        ready=True, containers=chosen,
    )  # fmt: skip
    return replace(base, **given)  # type: ignore[arg-type]  # names are checked by replace


def deployment(name: str = "api", replicas: int = 1, ready: int = 1, **given: object) -> DeploymentFact:
    """A Deployment seen by its controller."""
    base = DeploymentFact(NAMESPACE, name, f"{name}-uid", ID, START, replicas, ready, observed=True)
    return replace(base, **given)  # type: ignore[arg-type]  # names are checked by replace


def job(key: StepKey, **given: object) -> JobFact:
    """The Job of a step."""
    base = JobFact(NAMESPACE, naming.job(key), "job-uid", ID, START)
    return replace(base, **given)  # type: ignore[arg-type]  # names are checked by replace


def namespace(**given: object) -> NamespaceFact:
    """The execution's namespace."""
    base = NamespaceFact(NAMESPACE, "ns-uid", ID, "installation", START)
    return replace(base, **given)  # type: ignore[arg-type]  # names are checked by replace


def observed(*pods: PodFact, **given: object) -> Observed:
    """A fresh view with the namespace and these pods."""
    base = Observed(synced=True, namespace=namespace(), pods=pods)
    return replace(base, **given)  # type: ignore[arg-type]  # names are checked by replace

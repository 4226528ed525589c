"""PROVISIONING: namespace, foundation, then applications and the hooks they wait for, as their graph allows. Pure."""

from __future__ import annotations

from dataclasses import replace

from k8s_execution.domain import graph
from k8s_execution.domain.execution import Execution, StepKey, StepPhase
from k8s_execution.domain.facts import ContainerState, DeploymentFact, Observed, PodFact, PodPhase
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import Application, StepKind
from k8s_execution.domain.verdict import Code, Diagnosis, Verdict
from k8s_execution.engine import diagnose, steps
from k8s_execution.engine.actions import CreateApplications, CreateFoundation, CreateNamespace, Plan
from k8s_execution.engine.clocks import MILLISECOND, SECOND
from k8s_execution.engine.ending import enter, warn

LOOK_AGAIN = 5 * SECOND


def progress(execution: Execution, observed: Observed, now: int) -> Plan:
    """Create what may be created now; SETUP when everything of the graph is ready."""
    if not execution.namespace_uid:
        return Plan(execution, (CreateNamespace(),))
    if not execution.foundation_created:
        return Plan(execution, (CreateFoundation(),))
    ready = _ready_names(execution, observed)
    order = graph.build(execution.specification)
    created = execution.applications_created
    names = tuple(n for n, after in order.applications.items() if n not in created and after <= ready)
    for name, after in order.provisioning_hooks.items():
        key = StepKey(StepKind.SETUP, name)
        if execution.step(key).phase is StepPhase.PENDING and after <= ready:
            execution = steps.start(execution, key)
    if set(order.applications) | set(order.provisioning_hooks) <= ready:
        return Plan(enter(execution, Phase.SETUP, now))
    return Plan(execution, (CreateApplications(names),) if names else (), now + LOOK_AGAIN)


def failure(execution: Execution, observed: Observed, now: int) -> Diagnosis | None:
    """Why the execution cannot get on: a broken application, or a setup hook that did not pass."""
    for state in execution.of_kind(StepKind.SETUP):
        if state.phase is StepPhase.FINISHED and state.verdict is not Verdict.PASSED:
            return state.diagnosis
    for application in execution.specification.environment.applications:
        if application.name in execution.applications_created:
            found = _of_application(execution, application, observed, now)
            if found is not None:
                return found
    return None


def note_restarts(execution: Execution, observed: Observed) -> Execution:
    """A warning for each application container that restarted while tests ran."""
    for pod in observed.pods:
        for container in pod.containers:
            if pod.application and container.restart_count:
                text = f"application {pod.application} restarted (pod {pod.name}, container {container.name})"
                execution = warn(execution, text)
    return execution


def explain_timeout(execution: Execution, observed: Observed, overrun: Diagnosis) -> Diagnosis:
    """Name what was not ready: a pod that found no node, an application that never got ready, else the clock."""
    for pod in observed.pods:
        if not pod.scheduled and pod.scheduling_message:
            return Diagnosis(Code.UNSCHEDULABLE, pod.scheduling_message, f"pod/{pod.name}", hint=overrun.hint)
    for application in execution.specification.environment.applications:
        running = [p for p in _pods(observed, application.name) if p.phase is PodPhase.RUNNING and not p.ready]
        if running:
            return _never_ready(application, running[0])
    missing = sorted(_wanted(execution) - _ready_names(execution, observed))
    return replace(overrun, message=f"{overrun.message}; not ready: {', '.join(missing) or 'the namespace'}")


def _wanted(execution: Execution) -> set[str]:
    order = graph.build(execution.specification)
    return set(order.applications) | set(order.provisioning_hooks)


def _ready_names(execution: Execution, observed: Observed) -> set[str]:
    """Applications whose replicas are all ready, and hooks that passed."""
    wanted = {a.name: a.replicas for a in execution.specification.environment.applications}
    ready = {d.name for d in observed.deployments if _is_ready(d, wanted.get(d.name, 0))}
    passed = {
        s.key.name
        for s in execution.of_kind(StepKind.SETUP)
        if s.phase is StepPhase.FINISHED and s.verdict is Verdict.PASSED
    }
    return ready | passed


def _is_ready(deployment: DeploymentFact, replicas: int) -> bool:
    return deployment.observed and not deployment.deleting and deployment.ready_replicas >= replicas


def _pods(observed: Observed, application: str) -> list[PodFact]:
    return [p for p in observed.pods if p.application == application and not p.deleting]


def _of_application(execution: Execution, application: Application, observed: Observed, now: int) -> Diagnosis | None:
    for deployment in observed.deployments:
        if deployment.name == application.name and (found := diagnose.of_deployment(deployment, now)) is not None:
            return found
    for pod in _pods(observed, application.name):
        if (found := diagnose.of_pod(pod, now)) is not None:
            return found
        if execution.phase is Phase.PROVISIONING and _readiness_hopeless(application, pod, now):
            return _never_ready(application, pod)
    return None


def _readiness_hopeless(application: Application, pod: PodFact, now: int) -> bool:
    """Whether the container has run longer than its readiness allows without once being ready."""
    probe = application.readiness
    if probe is None or pod.ready:
        return False
    allowed = (probe.period_ms * probe.failure_threshold + probe.timeout_ms) * MILLISECOND + 2 * SECOND
    running = [c for c in pod.containers if c.state is ContainerState.RUNNING and c.started_at is not None]
    return any(now - (c.started_at or now) > allowed for c in running)


def _never_ready(application: Application, pod: PodFact) -> Diagnosis:
    probe = application.readiness
    what = f"its {probe.kind} readiness check" if probe else "readiness"
    message = f"application {application.name} runs but never passed {what}"
    hint = "see its log; raise readiness.failure_threshold if it only needs longer"
    return Diagnosis(Code.NEVER_READY, message, f"pod/{pod.name}", hint=hint)

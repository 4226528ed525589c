"""A plan that uses every part of the environment, and what renders it; shared by the tests of manifests."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

from k8s_execution.domain.execution import Cluster, ClusterKind, Execution, StepKey, StepState
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import (
    Application,
    BundleSource,
    ConfigFile,
    EgressRule,
    Environment,
    Port,
    Readiness,
    ReadinessKind,
    Resources,
    Security,
    Specification,
    Step,
    StepKind,
    SuiteType,
    TestPlan,
    Volume,
)
from k8s_execution.manifests.render import Manifests
from k8s_execution.manifests.templates import load, templates_folder
from k8s_execution.ports.cluster import Body
from k8s_execution.ports.manifests import InstallationSettings

ID = "abcdefghijklmnopqrstuvwxyz"
NAMESPACE = f"quality-fabric-{ID}"
SETTINGS = InstallationSettings("installation-1", "k8s-execution-agent:0.1.0", extra_env={"PIP_INDEX_URL": "x"})
SECRETS = {"API_TOKEN": "s3cret-value"}
STARTED = 1_764_000_000_000_000

API = Application(
    "api",
    "registry.example/shop-api:1.4",
    command=("python", "-m", "shop"),
    args=("--port", "8080"),
    working_dir="/srv",
    replicas=2,
    ports=(Port("http", 8080), Port("admin", 9090)),
    env={"DB_HOST": "db"},
    readiness=Readiness(ReadinessKind.HTTP, 8080, "/healthz", period_ms=1_500, timeout_ms=2_000),
    resources=Resources(shm_size="64Mi"),
    volumes=(Volume("data", "/data", "1Gi"),),
    security=Security(writable_root=False),
    after=("migrate",),
)
SUITE = Step(
    "unit",
    StepKind.SUITE,
    "python:3-slim",
    install=(("pip", "install", "-r", "requirements.txt"),),
    env={"BASE_URL": "http://api:8080", "PYTEST_ADDOPTS": "-q"},
    reports=("**/junit*.xml",),
    artifacts=("coverage/",),
    timeout_ms=600_000,
    suite_type=SuiteType.PYTEST,
)
MIGRATE = Step("migrate", StepKind.SETUP, "registry.example/shop-api:1.4", ("python", "-m", "shop.migrate"))
DUMP = Step("dump", StepKind.TEARDOWN, "postgres:15", ("sh", "-c", "pg_dump > $ARTIFACT_DIR/db.sql"))
SPECIFICATION = Specification(
    "shop-regression",
    TestPlan(BundleSource("b-1"), (SUITE,), (MIGRATE,), (DUMP,)),
    Environment(
        env={"LOG_LEVEL": "debug"},
        secrets=("API_TOKEN",),
        files=(ConfigFile("/etc/shop/config.yaml", "a: 1\n"),),
        applications=(API,),
        egress=(EgressRule("203.0.113.0/24", (443,)),),
    ),
    project="shop",
)
SMALLEST = Specification(
    "smallest",
    TestPlan(BundleSource("b-1"), (Step("unit", StepKind.SUITE, "python:3-slim", suite_type=SuiteType.PYTEST),)),
)


def execution(specification: Specification = SPECIFICATION) -> Execution:
    """An execution of the plan that has just been admitted."""
    steps = tuple(StepState(StepKey(s.kind, s.name)) for s in specification.test_plan.steps)
    cluster = Cluster(ClusterKind.SIMULATED, "v1.34.0", "uid")
    return Execution(ID, specification, NAMESPACE, cluster, steps=steps, entered={Phase.PROVISIONING: STARTED})


@functools.cache
def own() -> Manifests:
    """The project's own templates and the sample settings."""
    return manifests(SETTINGS)


def manifests(settings: InstallationSettings, *overlays: Path) -> Manifests:
    """The project's own templates, with folders on top."""
    return Manifests(settings, load([templates_folder(), *overlays]))


def everything(
    specification: Specification = SPECIFICATION, *, source: Manifests | None = None, secrets: dict[str, str] = SECRETS
) -> list[Body]:
    """Every object of the plan, in the order of creation."""
    source, run = source or own(), execution(specification)
    found = [source.namespace(run), *source.foundation(run, secrets)]
    for application in specification.environment.applications:
        found += source.application(run, application.name)
    return found + [source.step(run, state.key) for state in run.steps]


def with_application(**changes: object) -> Specification:
    """The plan with fields of its application replaced."""
    applications = (replace(API, **changes),)  # type: ignore[arg-type]
    return replace(SPECIFICATION, environment=replace(SPECIFICATION.environment, applications=applications))


def with_suite(**changes: object) -> Specification:
    """The plan with fields of its suite replaced."""
    suites = (replace(SUITE, **changes),)  # type: ignore[arg-type]
    return replace(SPECIFICATION, test_plan=replace(SPECIFICATION.test_plan, suites=suites))


def with_environment(**changes: object) -> Specification:
    """The plan with fields of its environment replaced."""
    return replace(SPECIFICATION, environment=replace(SPECIFICATION.environment, **changes))  # type: ignore[arg-type]


def of_kind(objects: list[Body], kind: str) -> Body:
    """The only object of that kind (the first Job)."""
    return next(o for o in objects if o["kind"] == kind)

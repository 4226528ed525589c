"""What a caller asks for: environment, test plan, policy, as values.

Made by the wire layer (or read back from the store) after validation, so every value here obeys the rules of
`manifests.check`. Durations are whole milliseconds, sizes stay Kubernetes quantities (strings). It must not know
protobuf, YAML or Kubernetes objects: those are made from it. It is apart from `execution`, which is what became of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class StepKind(StrEnum):
    """Why a step runs."""

    SETUP = "SETUP"
    SUITE = "SUITE"
    TEARDOWN = "TEARDOWN"


class SuiteType(StrEnum):
    """How a suite's command reports its result; the rules of each are in `domain.suites`."""

    PYTEST = "PYTEST"
    CUSTOM = "CUSTOM"


class CleanupPolicy(StrEnum):
    """When the environment is deleted after the verdict: at once, only if PASSED, or after `hold_for`."""

    ALWAYS = "ALWAYS"
    ON_SUCCESS = "ON_SUCCESS"
    HOLD = "HOLD"


class ReadinessKind(StrEnum):
    """How readiness is asked for."""

    HTTP = "HTTP"
    TCP = "TCP"
    EXEC = "EXEC"
    GRPC = "GRPC"


@dataclass(frozen=True, slots=True)
class Resources:
    """Requests and limits of one container, as Kubernetes quantities."""

    cpu: str = "250m"
    memory: str = "256Mi"
    cpu_limit: str = "1"
    memory_limit: str = "512Mi"
    shm_size: str = ""


@dataclass(frozen=True, slots=True)
class Port:
    """A named container port; its Service port is the same number."""

    name: str
    port: int


@dataclass(frozen=True, slots=True)
class Readiness:
    """When an application counts as ready. `port` is 0 for EXEC, `path` for HTTP, `service` for GRPC only."""

    kind: ReadinessKind
    port: int = 0
    path: str = ""
    command: tuple[str, ...] = ()
    service: str = ""
    period_ms: int = 1_000
    timeout_ms: int = 1_000
    failure_threshold: int = 30


@dataclass(frozen=True, slots=True)
class Volume:
    """An EMPTY_DIR volume; `size` is its sizeLimit."""

    name: str
    mount_path: str
    size: str = ""


@dataclass(frozen=True, slots=True)
class Security:
    """The little of a security context that a caller may choose."""

    run_as_user: int | None = None
    writable_root: bool = True


@dataclass(frozen=True, slots=True)
class Application:
    """One of the caller's own programs, run as a Deployment with a Service of the same name."""

    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    replicas: int = 1
    ports: tuple[Port, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    readiness: Readiness | None = None
    resources: Resources = Resources()
    volumes: tuple[Volume, ...] = ()
    security: Security = Security()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A read-only text file at an absolute path in every application and test container."""

    path: str
    content: str


@dataclass(frozen=True, slots=True)
class EgressRule:
    """Addresses outside the namespace that pods may reach; no ports means all ports."""

    cidr: str
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Quota:
    """The namespace's quota where the caller sets it; None means the plan's own sum plus headroom."""

    cpu: str | None = None
    memory: str | None = None
    pods: int | None = None
    ephemeral_storage: str | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """What surrounds the tests. `secrets` holds the *names* only: values are sealed apart (see `Sealed`)."""

    env: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    files: tuple[ConfigFile, ...] = ()
    applications: tuple[Application, ...] = ()
    egress: tuple[EgressRule, ...] = ()
    quota: Quota = Quota()


@dataclass(frozen=True, slots=True)
class Step:
    """A hook or a suite: something that runs once and ends. `timeout_ms` is None where the policy's counts.

    `after` is None where the default order holds; an empty tuple means "as soon as possible".
    `suite_type` is None for hooks.
    """

    name: str
    kind: StepKind
    image: str
    command: tuple[str, ...] = ()
    install: tuple[tuple[str, ...], ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    resources: Resources = Resources()
    reports: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    timeout_ms: int | None = None
    after: tuple[str, ...] | None = None
    suite_type: SuiteType | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class BundleSource:
    """Test code uploaded before as tar.gz."""

    id: str


@dataclass(frozen=True, slots=True)
class InlineSource:
    """Test code inside the request; packed to a bundle when it is sent to a pod."""

    files: tuple[ConfigFile, ...]


@dataclass(frozen=True, slots=True)
class ImageSource:
    """The tests are in the suite's image; nothing is sent."""


Source = BundleSource | InlineSource | ImageSource


@dataclass(frozen=True, slots=True)
class Strategy:
    """How suites run: at most `parallel` test pods at once; `fail_fast` stops the rest after a failure."""

    parallel: int = 4
    fail_fast: bool = False


@dataclass(frozen=True, slots=True)
class TestPlan:
    """Source, hooks, suites and strategy."""

    __test__ = False  # not a test class, whatever its name suggests to pytest

    source: Source
    suites: tuple[Step, ...]
    setup: tuple[Step, ...] = ()
    teardown: tuple[Step, ...] = ()
    strategy: Strategy = Strategy()

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps in the order they are shown."""
        return (*self.setup, *self.suites, *self.teardown)


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of the execution; all times in milliseconds. TTL starts when the namespace is created."""

    timeout_ms: int = 30 * 60_000
    provisioning_timeout_ms: int = 5 * 60_000
    queue_timeout_ms: int = 30 * 60_000
    teardown_timeout_ms: int = 5 * 60_000
    ttl_ms: int = 60 * 60_000
    cleanup: CleanupPolicy = CleanupPolicy.ALWAYS
    hold_for_ms: int = 30 * 60_000
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Specification:
    """One whole request, validated and with its parameters and defaults applied; secret values are not in it."""

    name: str
    test_plan: TestPlan
    environment: Environment = Environment()
    policy: Policy = Policy()
    project: str = "default"
    labels: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)

"""What was last observed in Kubernetes, as small typed facts.

Made by `kube.parse` from raw dictionaries, read by `engine.decide` and `logs.targets`. A fact holds only what someone
decides on. It must not hold generated models or raw objects. Times are integer microseconds since the epoch, by the
API server's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ContainerState(StrEnum):
    """The three states of a container status."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    TERMINATED = "TERMINATED"


class ContainerKind(StrEnum):
    """Which list of the pod spec a container stands in."""

    INIT = "INIT"
    MAIN = "MAIN"


class PodPhase(StrEnum):
    """The phases of a pod's status, as Kubernetes writes them (core/v1 PodPhase)."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class ContainerFact:
    """One container status. `exit_code`, `finished_at` are set when TERMINATED; `last_*` tell of the run before.

    `container_id` is empty until the runtime made the container; it changes at every restart.
    """

    name: str
    kind: ContainerKind
    image: str
    state: ContainerState
    image_id: str = ""
    container_id: str = ""
    reason: str = ""
    message: str = ""
    ready: bool = False
    started: bool = False
    restart_count: int = 0
    exit_code: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    last_reason: str = ""
    last_exit_code: int | None = None
    last_container_id: str = ""
    last_finished_at: int | None = None


@dataclass(frozen=True, slots=True)
class PodFact:
    """One pod. `step` and `application` come from our labels; one of them is empty.

    `reason` and `message` are those of the status, else of its DisruptionTarget condition: why the cluster ends it.
    """

    namespace: str
    name: str
    uid: str
    execution_id: str
    created_at: int
    step_kind: str = ""
    step: str = ""
    shard: int = 0
    attempt: int = 1
    application: str = ""
    job: str = ""
    phase: PodPhase = PodPhase.PENDING
    reason: str = ""
    message: str = ""
    node: str = ""
    scheduled: bool = False
    scheduling_message: str = ""
    ready: bool = False
    deleting: bool = False
    containers: tuple[ContainerFact, ...] = ()

    def container(self, name: str) -> ContainerFact | None:
        """The status of one container, if the kubelet reported any."""
        return next((c for c in self.containers if c.name == name), None)


@dataclass(frozen=True, slots=True)
class JobFact:
    """One Job of a step. `failed_reason` is the reason of its Failed condition."""

    namespace: str
    name: str
    uid: str
    execution_id: str
    created_at: int
    active: int = 0
    complete: bool = False
    failed_reason: str = ""
    failed_message: str = ""
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class DeploymentFact:
    """One application's Deployment. `failure_message` is the message of its ReplicaFailure condition."""

    namespace: str
    name: str
    uid: str
    execution_id: str
    created_at: int
    replicas: int
    ready_replicas: int = 0
    observed: bool = False
    failure_message: str = ""
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class NamespaceFact:
    """One namespace that carries our labels. `conditions` are those that say why deletion does not get on."""

    name: str
    uid: str
    execution_id: str
    installation: str
    created_at: int
    expires_at: int | None = None
    terminating: bool = False
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventFact:
    """One Kubernetes Event about an object, newest state of its series."""

    uid: str
    involved_kind: str
    involved_name: str
    involved_uid: str
    type: str
    reason: str
    message: str
    count: int
    first_at: int
    last_at: int


@dataclass(frozen=True, slots=True)
class Observed:
    """All that is known of one execution's environment at one moment.

    `synced` is False while a reflector has not listed yet or lost its connection: then absence proves nothing.
    `unread` names the pods whose logs are not yet read to their proven end. `cluster_lost` is set for an execution
    whose cluster ended for ever: then nothing of it exists any more.
    """

    synced: bool
    namespace: NamespaceFact | None = None
    pods: tuple[PodFact, ...] = ()
    jobs: tuple[JobFact, ...] = ()
    deployments: tuple[DeploymentFact, ...] = ()
    events: tuple[EventFact, ...] = ()
    unread: frozenset[str] = frozenset()
    cluster_lost: bool = False

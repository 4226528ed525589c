"""What the node knows of a running pod, as values: container states, and their Kubernetes spelling.

Pure: no clock, no I/O. Apart from `pods` so that statuses can be tested as tables of facts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, assert_never


class Kind(Enum):
    """The part a container plays in its pod."""

    INIT = "init"
    SIDECAR = "sidecar"  # an init container with restartPolicy Always (KEP-753)
    MAIN = "main"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not started: why, in kubelet's reason words."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """Started, at this time in seconds since the epoch."""

    started_at: float


@dataclass(frozen=True, slots=True)
class Terminated:
    """Ended: exit code (128 + n for a signal), kubelet's reason word, times in seconds since the epoch."""

    exit_code: int
    reason: str
    started_at: float
    finished_at: float
    message: str = ""
    container_id: str = ""


State = Waiting | Running | Terminated


@dataclass(slots=True)
class Record:
    """Everything that a container's status shows. Changed only by the container's runner."""

    name: str
    kind: Kind
    image: str
    state: State
    last: Terminated | None = None
    restarts: int = 0
    image_id: str = ""
    container_id: str = ""
    started: bool = False  # its startup probe, if any, has passed
    ready: bool = False  # running, and its readiness probe, if any, passes

    @property
    def succeeded(self) -> bool:
        """Whether it ended with exit code 0."""
        return isinstance(self.state, Terminated) and self.state.exit_code == 0


@dataclass(slots=True)
class PodFacts:
    """A pod as the node sees it: its containers and what overrides their phases."""

    restart_policy: str
    records: list[Record] = field(default_factory=list)
    pod_ip: str = ""
    host_ip: str = ""
    start_time: float = 0.0
    network_ready: bool = False
    verdict: tuple[str, str] | None = None  # reason and message of a pod failed as a whole: DeadlineExceeded, Evicted
    terminating: bool = False

    def of(self, *kinds: Kind) -> list[Record]:
        """The records of these kinds, in spec order."""
        return [r for r in self.records if r.kind in kinds]

    @property
    def initialized(self) -> bool:
        """Every init container succeeded and every sidecar has started."""
        return all(r.succeeded for r in self.of(Kind.INIT)) and all(
            r.started or self._mains_began for r in self.of(Kind.SIDECAR)
        )

    @property
    def _mains_began(self) -> bool:
        return any(not isinstance(r.state, Waiting) or r.restarts for r in self.of(Kind.MAIN))


def timestamp(seconds: float) -> str:
    """A time as metav1.Time prints it: RFC 3339, whole seconds, UTC."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(seconds: float) -> str:
    """A time as metav1.MicroTime prints it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def state_object(state: State) -> dict[str, Any]:
    """A ContainerState."""
    match state:
        case Waiting(reason, message):
            return {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        case Running(started_at):
            return {"running": {"startedAt": timestamp(started_at)}}
        case Terminated():
            ended: dict[str, Any] = {
                "exitCode": state.exit_code,
                "reason": state.reason,
                "startedAt": timestamp(state.started_at) if state.started_at else None,
                "finishedAt": timestamp(state.finished_at),
            }
            if state.message:
                ended["message"] = state.message
            if state.container_id:
                ended["containerID"] = state.container_id
            return {"terminated": ended}
        case _:
            assert_never(state)


def reason_of(exit_code: int, *, oom: bool) -> str:
    """Completed, Error or OOMKilled: what a container runtime calls an end with this code."""
    if oom:
        return "OOMKilled"
    return "Completed" if exit_code == 0 else "Error"

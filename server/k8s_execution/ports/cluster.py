"""The cluster, as the engine needs it: create, delete, observe, exec. Bodies are plain JSON objects."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from k8s_execution.domain.execution import Cluster
from k8s_execution.domain.facts import EventFact, NamespaceFact, Observed

Body = Mapping[str, Any]
"""A Kubernetes object as JSON data."""


class Propagation(StrEnum):
    """metav1.DeletionPropagation."""

    ORPHAN = "Orphan"
    BACKGROUND = "Background"
    FOREGROUND = "Foreground"


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Names one object. `uid` becomes a precondition of the delete where it is set."""

    kind: str
    namespace: str
    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Created:
    """The object after a create. `existed` is True where it was there already and carries our execution id."""

    uid: str
    created_at: int
    existed: bool


class Refused(Exception):
    """The API server refused an object for good (403, 409 foreign, 422); `reason` is the Status reason."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        """Hold the HTTP status, the Status reason and its message."""
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class Unreachable(Exception):
    """The API server does not answer, or answers 429/5xx/401 even after the retries; try again later."""


class DryRunImpossible(Exception):
    """The API server cannot be asked about an object: no right, no such namespace, or another quota is in the way."""


class ExecFailed(Exception):
    """An exec could not be started, was cut, or ended without its status; try again."""


class ExecStream(Protocol):
    """A running exec: send standard input, read standard output, then ask how it ended."""

    async def send(self, data: bytes) -> None:
        """Write to standard input; waits while the other side does not read."""
        ...

    def stdout(self) -> AsyncIterator[bytes]:
        """Chunks of standard output until the process ends; ExecFailed if the stream is cut."""
        ...

    async def wait(self) -> tuple[int, bytes]:
        """Exit code and the tail of standard error; ExecFailed if the status never came."""
        ...


class DryRun(Protocol):
    """Asks the API server about an object without making it."""

    async def dry_run(self, body: Body) -> None:
        """POST with dryRun=All; Refused says what the API server would say.

        An object that exists already is no refusal. Raises DryRunImpossible and Unreachable.
        """
        ...


class ClusterWriter(DryRun, Protocol):
    """Changes in the cluster; every call retries passing faults itself and raises Refused or Unreachable."""

    async def create(self, body: Body, execution_id: str) -> Created:
        """POST; an object of that name with our execution id counts as success, a foreign one is Refused."""
        ...

    async def delete(
        self, ref: ObjectRef, *, grace_seconds: int | None = None, propagation: Propagation | None = None
    ) -> bool:
        """DELETE with uid precondition; False if it is not there (any more)."""
        ...

    async def end_pods(self, namespace: str, grace_seconds: int) -> None:
        """Delete every pod with a short grace; enough where nobody can make new ones (a namespace that is going).

        A namespace that is no more is no fault.
        """
        ...

    async def drain(self, namespace: str, grace_seconds: int) -> None:
        """Delete the owners (Deployments, ReplicaSets, Jobs) with Orphan, then every pod with a short grace.

        Owners first, so that nobody makes new pods; Orphan, so that the garbage collector does not delete the pods
        with the grace of their spec. A namespace that is no more is no fault.
        """
        ...


class ClusterReader(Protocol):
    """What is known of the cluster."""

    @property
    def identity(self) -> Cluster:
        """Kind, version and identity of the cluster; read once at start."""
        ...

    def observe(self, execution_id: str) -> Observed:
        """The present facts of one execution, without events, which the engine adds."""
        ...

    def namespaces(self) -> Sequence[NamespaceFact]:
        """Every namespace that carries an execution label of any installation."""
        ...

    async def events(self, namespace: str, involved_uid: str = "") -> Sequence[EventFact]:
        """Events of one object (by uid), or of the whole namespace."""
        ...

    async def dump(self, namespace: str) -> Sequence[Body]:
        """All pods, jobs and deployments of the namespace as they are, for the evidence; Secrets are never read."""
        ...

    async def pods_left(self, namespace: str) -> Sequence[ObjectRef]:
        """The pods that still exist, read from the API server, not from the cache."""
        ...

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener(execution_id)` when a fact of it changed; the returned function ends it."""
        ...


class Exec(Protocol):
    """Runs a command in a container."""

    def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, stdin: bool = False
    ) -> AbstractAsyncContextManager[ExecStream]:
        """Start `argv`; leaving the context closes the connection. ExecFailed, or Unreachable where nobody answers."""
        ...


@dataclass(frozen=True, slots=True)
class LogRequest:
    """One read of a container's log, always with timestamps. `since` is µs; the server rounds it down to a second."""

    namespace: str
    pod: str
    container: str
    follow: bool
    previous: bool = False
    since: int | None = None


class ContainerLogs(Protocol):
    """Reads container logs as raw bytes."""

    def read(self, request: LogRequest) -> AsyncIterable[bytes]:
        """Chunks as they come; ends at the end of the stream, which is no proof that the container ended.

        Raises LogNotReady (container not started), LogGone (pod or container is no more), Unreachable (cut or
        refused; resume).
        """
        ...


class LogNotReady(Exception):
    """The container has not started yet."""


class LogGone(Exception):
    """The pod, the container or its log is no more, or does not hold what was asked for."""

    def __init__(self, text: str, *, printed: int | None = None) -> None:
        """`printed` is how many bytes the step printed in all, where that is known although they are not kept."""
        super().__init__(text)
        self.printed = printed


class ClusterPort(ClusterWriter, ClusterReader, Exec, ContainerLogs, Protocol):
    """The whole cluster, for the composition root."""

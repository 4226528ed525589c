"""The store, as the engine and the use cases need it.

All writes are transactions that outlive a cancelled caller; every committed change of an execution wakes the
listeners. Status events are written in the transaction that changes the state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.testcase import TestCase
from k8s_execution.domain.verdict import Verdict

Change = Callable[[Execution, int], Execution]
"""A pure function from the present record and the store's time (µs) to the next record."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What Execute writes in one transaction. `sealed_secrets` is ciphertext; `queue_limit` 0 means none.

    `most_held` is how many environments of one cluster may be held, None for any number.
    """

    execution: Execution
    fingerprint: str
    idempotency_key: str = ""
    sealed_secrets: bytes = b""
    queue_limit: int = 0
    most_held: int | None = None


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """An execution that waits, as admission sees it."""

    id: str
    project: str
    priority: int
    created_at: int


Choice = Callable[[Sequence[QueueEntry], int], Sequence[str]]
"""Picks whom to admit (ids) from everyone who waits in one cluster, and the number of active executions there."""


class EventType(StrEnum):
    """The kinds of status event; where several fit a change, the first in this order is told."""

    CREATED = "CREATED"
    VERDICT = "VERDICT"
    PHASE_CHANGED = "PHASE_CHANGED"
    STEP_CHANGED = "STEP_CHANGED"
    UPDATED = "UPDATED"
    OTHER = "OTHER"
    """One that a newer replica wrote; never written."""

    @classmethod
    def _missing_(cls, _value: object) -> EventType:
        return cls.OTHER


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """One status event: the execution as it was after the change. `position` orders events across executions."""

    position: int
    execution_id: str
    sequence: int
    time: int
    type: EventType
    execution: Execution


@dataclass(frozen=True, slots=True)
class ExecutionFilter:
    """Which executions a listing shows; empty fields do not restrict. `id_prefix` matches the start of the id."""

    project: str = ""
    name: str = ""
    id_prefix: str = ""
    phases: frozenset[Phase] = frozenset()
    verdicts: frozenset[Verdict] = frozenset()
    labels: Mapping[str, str] | None = None


class ArtifactKind(StrEnum):
    """What a step's file is: a report, which is parsed, or anything else that it left to keep."""

    REPORT = "REPORT"
    ARTIFACT = "ARTIFACT"


@dataclass(frozen=True, slots=True)
class ArtifactEntry:
    """One file kept of a step: where it lies in the archive, its size and SHA-256."""

    path: str
    kind: ArtifactKind
    step: StepKey
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StepResult:
    """What was collected of one try of one step."""

    execution_id: str
    key: StepKey
    cases: Sequence[TestCase]
    artifacts: Sequence[ArtifactEntry]


class ExecutionReader(Protocol):
    """Reads of the store."""

    async def now(self) -> int:
        """The database's time in microseconds since the epoch."""
        ...

    async def get(self, execution_id: str) -> Execution:
        """The record; `faults.NotFound` if there is none."""
        ...

    async def list(
        self, wanted: ExecutionFilter, *, limit: int, before: tuple[int, str] | None = None
    ) -> Sequence[Execution]:
        """Newest first by (created_at, id); `before` continues after the last seen pair."""
        ...

    async def queue_position(self, execution_id: str) -> int:
        """1 for the next to be admitted; 0 if it does not wait."""
        ...

    async def events_of(self, execution_id: str, after: int, limit: int) -> Sequence[StatusEvent]:
        """Events of one execution with a sequence greater than `after`, in order."""
        ...

    async def events(self, after: int, limit: int) -> Sequence[StatusEvent]:
        """Events of all executions with a position greater than `after`, in order."""
        ...

    async def results(self, execution_id: str) -> Sequence[StepResult]:
        """All collected results of an execution, in the order of its steps."""
        ...


class ExecutionWriter(Protocol):
    """Writes of the store."""

    async def accept(self, acceptance: Acceptance) -> Execution:
        """Record a new execution with its first event; the earlier one for a repeated idempotency key.

        Raises IdempotencyConflict (same key, other fingerprint), QueueFull and HoldsFull.
        """
        ...

    async def change(
        self, execution_id: str, change: Change, *, epoch: int | None = None, revision: int | None = None
    ) -> Execution:
        """Read, apply, write with status events, in one transaction; the record after it.

        An unchanged record is not written. Raises NotFound, and Stale if `epoch` or `revision` is not the present
        one.
        """
        ...

    async def save_result(self, result: StepResult, change: Change, *, epoch: int) -> Execution:
        """The result's rows and the change of the record in one transaction; repeating it replaces the rows."""
        ...

    async def admit(self, choose: Choice, change: Change, *, owner: str) -> Sequence[str]:
        """Let `choose(queue, active)` pick whom to admit among those owned by `owner`; change them in the same txn.

        `queue` is every waiting execution of the same cluster, `active` counts those in ACTIVE phases of that
        cluster (held ones excluded).
        """
        ...

    async def hold(self, execution_id: str, change: Callable[[Execution, int], Execution], *, epoch: int) -> Execution:
        """`change(execution, taken)` and the count in one transaction.

        `taken` are the places for held environments (`domain.holding`) that others of the same cluster have.
        """
        ...

    async def sealed_secrets(self, execution_id: str) -> bytes:
        """The sealed secrets; empty from the transaction on that made the execution DONE."""
        ...


class Ownership(Protocol):
    """Who works on which execution."""

    async def adopt(self, cluster_uid: str) -> Sequence[Execution]:
        """Take every execution of this cluster that is not DONE and whose owner is dead or none; epoch + 1 each."""
        ...

    async def adopt_stranded(self, cluster_uid: str) -> Sequence[Execution]:
        """Take every execution of a *private* cluster other than this one whose owner is dead: it ended with it."""
        ...

    async def owned(self) -> Sequence[str]:
        """Ids of our own executions that are not DONE."""
        ...

    @property
    def owner(self) -> str:
        """Our own owner id."""
        ...


class Wakeups(Protocol):
    """Tells who listens that an execution's record changed; called on the event loop after each commit."""

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener(execution_id)` after each commit; the returned function ends it."""
        ...


class Store(ExecutionReader, ExecutionWriter, Ownership, Wakeups, Protocol):
    """The whole store, for the composition root."""

"""The records of the executions at work, each read again only after somebody else changed it.

An execution is looked at for every fact of the cluster that changes, several times as often as its record does; reading
and decoding the record each time was a third of what a look costs. A record kept here can be old for a moment, between
a commit and the store's word of it. What is decided on an old one is refused where it is written (by revision or
epoch: `Stale`), and whoever meets that forgets the record; an action that writes nothing may be repeated needlessly. A
word that never comes (a disk that does not answer) is made good by reading again after a while. It must not decide.
"""

from __future__ import annotations

from k8s_execution.domain.execution import Execution
from k8s_execution.ports.clock import Clock
from k8s_execution.ports.store import Change, Store

KEPT_SECONDS = 10.0


class KnownRecords:
    """Reads and writes through to the store. One looks at a key at a time (the work queue sees to it)."""

    def __init__(self, store: Store, clock: Clock) -> None:
        """Take the store; the caller passes on what it tells to `changed`."""
        self._store = store
        self._clock = clock
        self._records: dict[str, tuple[Execution, float]] = {}
        self._told: dict[str, int] = {}

    async def get(self, key: str) -> Execution:
        """The record; `faults.NotFound` if there is none."""
        known, until = self._records.get(key, (None, 0.0))
        if known is not None and self._clock.monotonic() < until:
            return known
        told = self._told.get(key, 0)
        record = await self._store.get(key)
        if self._told.get(key, 0) == told:  # else it changed while it was read
            self._keep(key, record)
        return record

    async def change(self, key: str, change: Change, *, epoch: int, revision: int | None = None) -> Execution:
        """See `ports.store.ExecutionWriter.change`. The store tells of a change before the change returns."""
        told, (before, _) = self._told.get(key, 0), self._records.get(key, (None, 0.0))
        written = await self._store.change(key, change, epoch=epoch, revision=revision)
        mine = before is not None and written.revision == before.revision + 1
        if mine and self._told.get(key, 0) == told + 1:  # of this change and of no other: nothing is newer
            self._keep(key, written)
        return written

    def changed(self, key: str) -> None:
        """What is known of it is old, also what is being read at this moment."""
        self._records.pop(key, None)
        self._told[key] = self._told.get(key, 0) + 1

    def forget(self, key: str) -> None:
        """It is not at work any more."""
        self._records.pop(key, None)
        self._told.pop(key, None)

    def _keep(self, key: str, record: Execution) -> None:
        self._records[key] = record, self._clock.monotonic() + KEPT_SECONDS

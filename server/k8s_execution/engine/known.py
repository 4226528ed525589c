"""The records of the executions at work, each read again only after the store told of a change.

An execution is looked at for every fact of the cluster that changes, several times as often as its record does; reading
and decoding the record each time was a third of what a look costs. A record kept here can be old for the moment between
another process's commit and the store's word of it. A decision made on it is written with its revision, so the store
refuses it (`Stale`), and whoever meets that drops the record. It must not write, nor decide.
"""

from __future__ import annotations

from k8s_execution.domain.execution import Execution
from k8s_execution.ports.store import Store


class KnownRecords:
    """Reads through to the store. One reader a key at a time (the work queue sees to it)."""

    def __init__(self, store: Store) -> None:
        """Take the store; the caller passes on what it tells to `changed`."""
        self._store = store
        self._records: dict[str, Execution] = {}
        self._reading: set[str] = set()

    async def get(self, key: str) -> Execution:
        """The record; `faults.NotFound` if there is none."""
        known = self._records.get(key)
        if known is not None:
            return known
        self._reading.add(key)
        try:
            record = await self._store.get(key)
            if key in self._reading:  # else it changed while it was read
                self._records[key] = record
        finally:
            self._reading.discard(key)
        return record

    def changed(self, key: str) -> None:
        """What is known of it is old, also what is being read at this moment."""
        self._records.pop(key, None)
        self._reading.discard(key)

    def forget(self, key: str) -> None:
        """It is not at work any more."""
        self._records.pop(key, None)

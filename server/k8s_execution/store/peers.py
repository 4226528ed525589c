"""Sees what other processes on the same data folder commit, and wakes our listeners for it.

A command may cancel an execution that another process works on; without this its owner would see it only at its next
timer. SQLite tells cheaply that someone else committed (`PRAGMA data_version`); which executions changed is read from
the status events. It must not write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from k8s_execution.store import reading
from k8s_execution.store.engine import data_version
from k8s_execution.store.writer import Writer

log = logging.getLogger(__name__)

LOOK_EVERY = 0.5
"""Seconds; a look without news is one PRAGMA on an open connection."""


class Peers:
    """Looks between our own commits, on the writer's connection, whose own commits do not count as news."""

    def __init__(self, engine: Engine, writer: Writer, notify: Callable[[str], None]) -> None:
        """Take the writer's engine; `notify` is called on the event loop."""
        self._engine = engine
        self._writer = writer
        self._notify = notify
        self._version: int | None = None
        self._seen = 0

    async def begin(self) -> None:
        """The first look: what is committed from here on is news."""
        await self._writer.on_thread(self._news)

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            for execution_id in await self._writer.on_thread(self._news):
                self._notify(execution_id)
            await asyncio.sleep(LOOK_EVERY)

    def _news(self) -> Sequence[str]:
        """Ids that someone changed since the last look; some may be our own, which costs a needless wake-up."""
        try:
            version = data_version(self._engine)
            if version == self._version:
                self._seen = max(self._seen, self._writer.position)
                return ()
            with self._engine.connect() as connection:
                changed, self._seen = reading.changed_since(connection, self._seen)
            first, self._version = self._version is None, version  # only now: a failed read must be done again
        except DBAPIError as error:
            log.warning("the store could not be read: %s", error.orig)
            return ()
        return () if first else changed

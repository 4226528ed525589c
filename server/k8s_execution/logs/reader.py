"""Readers of the segment store: live, late and after the end, the same batches.

A follower of a journal that this process writes is woken by the hub and mostly served from the journal's last frames
in memory; one of a journal that another process writes looks at the file twice a second. Nothing is queued for
anybody. It must not write.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TypeVar

from k8s_execution.logs import files
from k8s_execution.logs.segments import Journal, JournalStore
from k8s_execution.ports.logs import LogBatch

T = TypeVar("T")

LOOK_AGAIN = 0.5
"""Seconds between looks at a journal that another process writes, or that is not there yet."""


@dataclass(frozen=True, slots=True)
class _View:
    """An open journal; `live` is set where this process writes it and keeps the index itself."""

    fd: int
    index: files.Index
    live: Journal | None


class JournalReader:
    """Fulfils `ports.logs.LogReader`."""

    def __init__(self, store: JournalStore) -> None:
        """Read the journals of this store."""
        self._store = store

    async def read(self, execution_id: str, after: int, *, follow: bool) -> AsyncGenerator[LogBatch, None]:
        """Batches with an index greater than `after` (-1 for all); close the iterator when done with it."""
        hub = self._store.hub
        position = max(after + 1, 0)
        view: _View | None = None
        hub.joined(execution_id)
        try:
            while True:
                changed = hub.listen(execution_id)
                if view is None:
                    view = await self._open(execution_id)
                ended = view is not None and view.index.sealed
                batches = await self._next(view, position) if view is not None else []
                for batch in batches:
                    yield batch
                position += len(batches)
                if batches:
                    continue
                if ended or not follow:
                    return
                if view is not None and view.live is not None and view.index.closed:
                    _close(view)
                    view = None
                    continue
                patience = None if view is not None and view.live is not None else LOOK_AGAIN
                await asyncio.wait({changed}, timeout=patience)
        finally:
            _close(view)
            hub.left(execution_id)

    async def _next(self, view: _View, position: int) -> list[LogBatch]:
        if view.live is not None:
            batch = view.live.recent.get(position)
            if batch is not None:
                return [batch]
        if view.live is None and not view.index.sealed:
            await self._in_executor(view.index.extend, view.fd)
        if position >= len(view.index.offsets):
            return []
        return await self._in_executor(files.read_run, view.fd, view.index, position)

    async def _open(self, execution_id: str) -> _View | None:
        try:
            folder = self._store.folder(execution_id)
            fd = os.open(folder / files.JOURNAL, os.O_RDONLY)
        except (FileNotFoundError, ValueError):  # nothing was logged yet, or no execution can have that id
            return None
        live = self._store.live(execution_id)
        if live is not None:
            return _View(fd, live.index, live)
        try:
            return _View(fd, await self._in_executor(files.read_index, folder, fd), None)
        except BaseException:
            os.close(fd)
            raise

    def _in_executor(self, call: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._store.executor, call, *arguments)


def _close(view: _View | None) -> None:
    if view is not None:
        os.close(view.fd)

"""The one writer: transactions in the order they came, in a task and a thread that the store owns.

A caller that is cancelled leaves its transaction to run to its end (measured: a cancelled insert may commit), so the
wake-up after the commit is the writer's business, not the caller's. Transactions that wait together share one commit:
each runs in a savepoint of its own, so a fault takes back only its own. It must not know tables.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from k8s_execution.domain.faults import StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")
_SAVE, _KEEP, _TAKE_BACK = "SAVEPOINT job", "RELEASE SAVEPOINT job", "ROLLBACK TO SAVEPOINT job"
MOST_TOGETHER = 64
"""How many transactions share a commit at most; bounds how long the first of them waits."""


@dataclass(slots=True)
class Transaction:
    """An open transaction: its connection, its time (µs), and the ids of the executions that it changed so far.

    `position` is the position of its last status event, 0 without one.
    """

    connection: Connection
    now: int
    changed: set[str] = field(default_factory=set)
    position: int = 0


Work = Callable[[Transaction], T]
"""What a transaction does; runs on the writer's thread, so it must be free of the event loop."""


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work[Any]
    outcome: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Ended:
    """How one transaction ended. Only a committed one has `changed`."""

    value: Any = None
    fault: Exception | None = None
    changed: frozenset[str] = frozenset()
    position: int = 0


class Writer:
    """Runs write transactions in order; `notify` is called on the event loop for each changed id after the commit."""

    def __init__(self, engine: Engine, now: Callable[[], int], notify: Callable[[str], None]) -> None:
        """Start the task; `now` gives the store's time in µs. Who owns the writer watches `task` and closes it."""
        self.now = now
        self._engine = engine
        self._notify = notify
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._closed = False
        self.task = asyncio.create_task(self._run(), name="store writer")
        self.position = 0
        """The position of the last status event written here; read it on the writer's thread only."""

    async def write(self, work: Work[T]) -> T:
        """The transaction's result after its commit; its fault if it raised one, then nothing was written.

        StoreUnavailable where the database does not take it: then nothing was written either, but for a commit whose
        answer was lost, so read again before repeating.
        """
        if self._closed or self.task.done():
            raise StoreUnavailable("the store is closed")
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait(_Job(work, outcome))
        return await outcome

    async def on_thread(self, work: Callable[[], T]) -> T:
        """Run something between two commits, on the writer's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Work off what waits, then end; a cancelled caller ends nothing that was taken on."""
        self._closed = True
        self._jobs.put_nowait(None)
        await asyncio.wait({self.task})
        self._thread.shutdown(wait=False)  # it is idle: the task has ended
        if not self.task.cancelled() and (defect := self.task.exception()) is not None:
            log.error("the store's writer had ended before it was closed", exc_info=defect)

    async def _run(self) -> None:
        jobs: list[_Job] = []
        closing = False
        try:
            while not closing:
                jobs, closing = await self._next()
                for job, ended in zip(jobs, await self.on_thread(lambda: self._commit(jobs)), strict=True):  # noqa: B023 - awaited at once
                    self._settle(job, ended)
        finally:
            self._give_up(jobs)

    async def _next(self) -> tuple[list[_Job], bool]:
        """The jobs that share the next commit, and whether they are the last ones."""
        waiting: list[_Job | None] = [await self._jobs.get()]
        while not self._jobs.empty() and len(waiting) < MOST_TOGETHER:
            waiting.append(self._jobs.get_nowait())
        return [job for job in waiting if job is not None], None in waiting

    def _give_up(self, jobs: list[_Job]) -> None:
        """Leave nobody waiting where a defect of ours or a cancellation ends the task; else all were answered."""
        while not self._jobs.empty():
            job = self._jobs.get_nowait()
            jobs += [job] if job is not None else []
        for job in jobs:
            if not job.outcome.done():
                job.outcome.set_exception(StoreUnavailable("the store is closed"))

    def _commit(self, jobs: Sequence[_Job]) -> Sequence[_Ended]:
        """All jobs in one transaction of the database, each taken back alone if it faults."""
        if not jobs:
            return ()
        try:
            with self._engine.begin() as connection:
                ended = [self._attempt(connection, job) for job in jobs]
        except DBAPIError as error:
            log.warning("a write to the store failed: %s", error.orig)
            return [_Ended(fault=_unavailable(error)) for _ in jobs]
        self.position = max(self.position, *(e.position for e in ended))
        return ended

    def _attempt(self, connection: Connection, job: _Job) -> _Ended:
        transaction = Transaction(connection, self.now())
        connection.exec_driver_sql(_SAVE)  # `begin_nested` would cost a quarter of a usual transaction
        try:
            value = job.work(transaction)
        except OperationalError:
            raise  # disk full, locked, I/O error: the whole commit is in doubt, not only this job
        except Exception as fault:  # noqa: BLE001 - supervised border: a fault is its caller's, not its neighbours'
            connection.exec_driver_sql(_TAKE_BACK)
            return _Ended(fault=fault)
        connection.exec_driver_sql(_KEEP)
        return _Ended(value, None, frozenset(transaction.changed), transaction.position)

    def _settle(self, job: _Job, ended: _Ended) -> None:
        """Tell the caller, if it still waits, and wake the listeners in any case."""
        if job.outcome.cancelled():
            if ended.fault is not None:
                log.warning("a write whose caller was cancelled failed: %s", type(ended.fault).__name__)
        elif ended.fault is not None:
            job.outcome.set_exception(ended.fault)
        else:
            job.outcome.set_result(ended.value)
        for execution_id in sorted(ended.changed):
            self._notify(execution_id)


def _unavailable(error: Exception) -> StoreUnavailable:
    fault = StoreUnavailable("the store cannot write now", "try again")
    fault.__cause__ = error
    return fault

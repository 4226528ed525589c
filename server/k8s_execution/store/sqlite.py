"""The store put together: one writer, some readers, our owner lock, an eye on our peers; fulfils `ports.store.Store`.

Reads run on the executor it is given, writes on a thread of its own, so neither holds the event loop and no write
waits for a slow read. Several processes may share one data folder.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.faults import StoreUnavailable
from k8s_execution.ports.store import Acceptance, Change, Choice, ExecutionFilter, StatusEvent, StepResult
from k8s_execution.runtime.hostclock import HostClock
from k8s_execution.store import reading, writing
from k8s_execution.store.engine import open_engine
from k8s_execution.store.leases import OwnerLock
from k8s_execution.store.peers import Peers
from k8s_execution.store.upgrade import bring_up_to_date
from k8s_execution.store.writer import Work, Writer
from k8s_execution.store.writing import Expected

log = logging.getLogger(__name__)

T = TypeVar("T")
DATABASE = "executions.db"


class StoreEnded(Exception):
    """The writer or the look at our peers ended unasked: a defect of ours, after which nothing is written or heard."""


class Listeners:
    """Who is told of changes. A listener's defect is its own: it ends neither the writer nor the other listeners."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._listeners: list[Callable[[str], None]] = []

    def add(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener(execution_id)` from now on; the returned function ends it."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def tell(self, execution_id: str) -> None:
        """Call every listener."""
        for listener in tuple(self._listeners):
            try:
                listener(execution_id)
            except Exception:  # supervised border: see the class
                log.exception("a listener failed at execution %s", execution_id)


class SqlStore:
    """One data folder's store; made by `open`."""

    def __init__(
        self,
        writer: Writer,
        readers: Engine,
        executor: Executor,
        lock: OwnerLock,
        listeners: Listeners,
        watching: asyncio.Task[None],
    ) -> None:
        """Join the parts; `watching` is the task that looks at our peers."""
        self._writer = writer
        self._readers = readers
        self._executor = executor
        self._lock = lock
        self._listeners = listeners
        self._watching = watching
        self._reads: set[Future[Any]] = set()

    @staticmethod
    @asynccontextmanager
    async def open(data: Path, executor: Executor) -> AsyncIterator[SqlStore]:
        """Migrate if need be, open, and give ownership up at the end; what is queued then is still written.

        StoreUnavailable if the database cannot be opened or was written by a newer version.
        """
        data.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 - once, at start
        await bring_up_to_date(data / DATABASE, executor)
        engine, readers = open_engine(data / DATABASE, writer=True), open_engine(data / DATABASE, writer=False)
        lock, clock, listeners = OwnerLock(data / "owners"), HostClock(), Listeners()
        writer = Writer(engine, clock.now, listeners.tell)
        peers = Peers(engine, writer, listeners.tell)
        await peers.begin()
        watching = asyncio.create_task(peers.watch(), name="store peers")
        store = SqlStore(writer, readers, executor, lock, listeners, watching)
        try:
            yield store
        finally:
            watching.cancel()
            await asyncio.wait({watching})
            await writer.close()
            await store._reads_ended()
            lock.release()
            engine.dispose()
            readers.dispose()

    async def supervise(self) -> NoReturn:
        """Wait until cancelled; StoreEnded if a task of the store ends first: its process must end too, and restart."""
        ended, _ = await asyncio.wait({self._writer.task, self._watching}, return_when=asyncio.FIRST_COMPLETED)
        task = ended.pop()
        raise StoreEnded(f"the task {task.get_name()!r} ended") from None if task.cancelled() else task.exception()

    @property
    def owner(self) -> str:
        """Our own owner id."""
        return self._lock.owner

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener(execution_id)` after each commit, also of other processes; the returned function ends it."""
        return self._listeners.add(listener)

    async def now(self) -> int:
        """Microseconds since the epoch: SQLite runs inside this machine, so this one's (SQLite's own has 1 ms)."""
        return self._writer.now()

    async def get(self, execution_id: str) -> Execution:
        """See `ports.store.ExecutionReader.get`."""
        return await self._read(lambda c: reading.get(c, execution_id))

    async def list(
        self, wanted: ExecutionFilter, *, limit: int, before: tuple[int, str] | None = None
    ) -> Sequence[Execution]:
        """See `ports.store.ExecutionReader.list`."""
        return await self._read(lambda c: reading.page(c, wanted, limit, before))

    async def queue_position(self, execution_id: str) -> int:
        """See `ports.store.ExecutionReader.queue_position`."""
        return await self._read(lambda c: reading.queue_position(c, execution_id))

    async def events_of(self, execution_id: str, after: int, limit: int) -> Sequence[StatusEvent]:
        """See `ports.store.ExecutionReader.events_of`."""
        return await self._read(lambda c: reading.events_of(c, execution_id, after, limit))

    async def events(self, after: int, limit: int) -> Sequence[StatusEvent]:
        """See `ports.store.ExecutionReader.events`."""
        return await self._read(lambda c: reading.events_after(c, after, limit))

    async def results(self, execution_id: str) -> Sequence[StepResult]:
        """See `ports.store.ExecutionReader.results`."""
        return await self._read(lambda c: reading.results(c, execution_id))

    async def sealed_secrets(self, execution_id: str) -> bytes:
        """See `ports.store.ExecutionWriter.sealed_secrets`."""
        return await self._read(lambda c: reading.sealed_secrets(c, execution_id))

    async def accept(self, acceptance: Acceptance) -> Execution:
        """See `ports.store.ExecutionWriter.accept`."""
        return await self._write(lambda t: writing.accept(t, acceptance, self.owner))

    async def change(
        self, execution_id: str, change: Change, *, epoch: int | None = None, revision: int | None = None
    ) -> Execution:
        """See `ports.store.ExecutionWriter.change`; `change` runs on the writer's thread."""
        return await self._write(lambda t: writing.change(t, execution_id, change, Expected(epoch, revision)))

    async def save_result(self, result: StepResult, change: Change, *, epoch: int) -> Execution:
        """See `ports.store.ExecutionWriter.save_result`."""
        return await self._write(lambda t: writing.save_result(t, result, change, epoch))

    async def admit(self, choose: Choice, change: Change, *, owner: str) -> Sequence[str]:
        """See `ports.store.ExecutionWriter.admit`; nothing is locked where nobody of ours waits."""
        if not await self._read(lambda c: reading.waits_for(c, owner)):
            return ()
        return await self._write(lambda t: writing.admit(t, choose, change, owner=owner))

    async def hold(self, execution_id: str, change: Callable[[Execution, int], Execution], *, epoch: int) -> Execution:
        """See `ports.store.ExecutionWriter.hold`."""
        return await self._write(lambda t: writing.hold(t, execution_id, change, epoch))

    async def adopt(self, cluster_uid: str) -> Sequence[Execution]:
        """See `ports.store.Ownership.adopt`."""
        return await self._take_over(cluster_uid, own=True)

    async def adopt_stranded(self, cluster_uid: str) -> Sequence[Execution]:
        """See `ports.store.Ownership.adopt_stranded`."""
        return await self._take_over(cluster_uid, own=False)

    async def owned(self) -> Sequence[str]:
        """See `ports.store.Ownership.owned`."""
        return await self._read(lambda c: reading.owned(c, self.owner))

    async def _take_over(self, cluster_uid: str, *, own: bool) -> Sequence[Execution]:
        """Look first, lock only where somebody is dead."""
        someone = await self._read(lambda c: any(map(self._lock.is_dead, reading.other_owners(c, self.owner))))
        if not someone:
            return ()
        heir = writing.Heir(self.owner, self._lock.is_dead)
        return await self._write(lambda t: writing.take_over(t, heir, cluster_uid, own=own))

    async def _read(self, query: Callable[[Connection], T]) -> T:
        """Run a query in a snapshot of its own; StoreUnavailable where the database does not answer."""
        future = self._executor.submit(self._snapshot, query)
        self._reads.add(future)
        future.add_done_callback(self._reads.discard)
        return await asyncio.wrap_future(future)

    def _snapshot(self, query: Callable[[Connection], T]) -> T:
        try:
            with self._readers.begin() as connection:
                return query(connection)
        except DBAPIError as error:
            raise StoreUnavailable("the store cannot be read now", "try again") from error

    async def _write(self, work: Work[T]) -> T:
        return await self._writer.write(work)

    async def _reads_ended(self) -> None:
        """A read whose caller was cancelled still holds its connection until it ends."""
        for future in tuple(self._reads):
            await asyncio.wait({asyncio.wrap_future(future)})

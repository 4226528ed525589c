"""The store put together: one writer, some readers, our owner lock; fulfils `ports.store.Store`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import select, text

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.faults import StoreUnavailable
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.ports.store import Acceptance, Change, QueueEntry, StepResult
from k8s_execution.store import writing
from k8s_execution.store.engine import open_engine
from k8s_execution.store.leases import OwnerLock
from k8s_execution.store.reading import Reader
from k8s_execution.store.schema import executions
from k8s_execution.store.writer import Writer

DATABASE = "executions.db"
HEAD = "0001"
"""The newest schema revision; a test compares it with the migrations."""


class SqlStore(Reader):
    """One data folder's store; made by `open`."""

    def __init__(self, writer: Writer, reader: Reader, lock: OwnerLock, listeners: list[Callable[[str], None]]) -> None:
        """Join the parts."""
        super().__init__(reader._engine)  # noqa: SLF001 - the store is a reader of the same engine
        self._writer = writer
        self._lock = lock
        self._listeners = listeners

    @staticmethod
    @asynccontextmanager
    async def open(data: Path) -> AsyncIterator[SqlStore]:
        """Migrate if need be, open, and give ownership up at the end."""
        data.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 - once, at start
        url = f"sqlite+aiosqlite:///{data / DATABASE}"
        await _migrate(data, url)
        listeners: list[Callable[[str], None]] = []

        def notify(execution_id: str) -> None:
            for listener in tuple(listeners):
                listener(execution_id)

        writing_engine, reading_engine = open_engine(url, writer=True), open_engine(url, writer=False)
        lock = OwnerLock(data / "owners")
        writer = Writer(writing_engine, notify)
        try:
            yield SqlStore(writer, Reader(reading_engine), lock, listeners)
        finally:
            await writer.close()
            lock.release()
            await writing_engine.dispose()
            await reading_engine.dispose()

    @property
    def owner(self) -> str:
        """Our own owner id."""
        return self._lock.owner

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener(execution_id)` after each commit; the returned function ends it."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    async def accept(self, acceptance: Acceptance) -> Execution:
        """See `ports.store.ExecutionWriter.accept`."""
        return await self._writer.write(lambda c, changed: writing.accept(c, changed, acceptance, self.owner))

    async def change(
        self, execution_id: str, change: Change, *, epoch: int | None = None, revision: int | None = None
    ) -> Execution:
        """See `ports.store.ExecutionWriter.change`."""
        return await self._writer.write(
            lambda c, changed: writing.change(c, changed, execution_id, change, epoch=epoch, revision=revision)
        )

    async def save_result(self, result: StepResult, change: Change, *, epoch: int) -> Execution:
        """See `ports.store.ExecutionWriter.save_result`."""
        return await self._writer.write(lambda c, changed: writing.save_result(c, changed, result, change, epoch))

    async def admit(
        self, choose: Callable[[Sequence[QueueEntry], int], Sequence[str]], change: Change, *, owner: str
    ) -> Sequence[str]:
        """See `ports.store.ExecutionWriter.admit`; nothing is written where nobody of ours waits."""
        mine = select(executions.c.id).where(executions.c.phase == Phase.QUEUED.value, executions.c.owner == owner)
        if not await self.ids(mine.limit(1)):
            return ()
        return await self._writer.write(lambda c, changed: writing.admit(c, changed, choose, change, owner=owner))

    async def adopt(self, cluster_uid: str) -> Sequence[Execution]:
        """See `ports.store.Ownership.adopt`."""
        return await self._take_over(cluster_uid, own=True)

    async def adopt_stranded(self, cluster_uid: str) -> Sequence[Execution]:
        """See `ports.store.Ownership.adopt_stranded`."""
        return await self._take_over(cluster_uid, own=False)

    async def owned(self) -> Sequence[str]:
        """Ids of our own executions that are not DONE."""
        running = executions.c.phase != Phase.DONE.value
        return await self.ids(select(executions.c.id).where(running, executions.c.owner == self.owner))

    async def _take_over(self, cluster_uid: str, *, own: bool) -> Sequence[Execution]:
        others = select(executions.c.owner).where(
            executions.c.phase != Phase.DONE.value, executions.c.owner != self.owner
        )
        owners = await self.ids(others.distinct())
        if not any(self._lock.is_dead(owner) for owner in owners):
            return ()
        return await self._writer.write(
            lambda c, changed: writing.take_over(
                c, changed, self._lock.is_dead, self.owner, cluster_uid=cluster_uid, own=own
            )
        )


async def _migrate(data: Path, url: str) -> None:
    """Bring the schema to HEAD in a process of its own: Alembic costs 20 MB that an idle service need not keep."""
    if (data / DATABASE).exists() and await _revision(url) == HEAD:
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "k8s_execution.store.migrations", url, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    if process.returncode != 0:
        raise StoreUnavailable(f"the store's schema could not be brought up to date: {errors.decode()[-2000:]}")


async def _revision(url: str) -> str:
    engine = open_engine(url, writer=False)
    try:
        async with engine.begin() as connection:
            exists = text("select count(*) from sqlite_master where name = 'alembic_version'")
            if not (await connection.execute(exists)).scalar_one():
                return ""
            return str((await connection.execute(text("select version_num from alembic_version"))).scalar_one_or_none())
    finally:
        await engine.dispose()

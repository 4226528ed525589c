"""The writer: what was asked for is written and told, whatever becomes of the caller; a fault is its own job's."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.faults import StoreUnavailable
from k8s_execution.ports.store import ExecutionFilter
from k8s_execution.store.sqlite import SqlStore, StoreEnded
from unit.store.made import acceptance, until, warn


async def test_a_cancelled_caller_leaves_its_write_to_commit_and_wake(store: SqlStore) -> None:
    woken: list[str] = []
    end = store.subscribe(woken.append)
    wanted = [acceptance() for _ in range(100)]
    tasks = [asyncio.create_task(store.accept(a)) for a in wanted]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    await until(lambda: len(woken) == 100)
    assert {e.id for e in await store.list(ExecutionFilter(), limit=200)} == {a.execution.id for a in wanted}
    assert set(woken) == {a.execution.id for a in wanted}
    end()


async def test_listeners_are_woken_after_the_commit(store: SqlStore) -> None:
    first = await store.accept(acceptance())
    seen: list[asyncio.Task[object]] = []
    end = store.subscribe(lambda key: seen.append(asyncio.create_task(store.get(key))))
    await store.change(first.id, warn("now"))
    [after] = [await task for task in seen]
    assert after.warnings == ("now",)  # type: ignore[attr-defined]
    end()


async def test_a_listener_that_ended_is_not_woken(store: SqlStore) -> None:
    woken: list[str] = []
    end = store.subscribe(woken.append)
    end()
    end()
    await store.accept(acceptance())
    assert woken == []


async def test_a_listener_with_a_defect_harms_nobody(store: SqlStore, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_key: str) -> None:
        raise ZeroDivisionError

    woken: list[str] = []
    ends = [store.subscribe(broken), store.subscribe(woken.append)]
    first, second = [await store.accept(acceptance()) for _ in range(2)]
    assert woken == [first.id, second.id]
    assert "a listener failed" in caplog.text
    for end in ends:
        end()


async def test_what_waits_when_the_store_closes_is_still_written(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    async with SqlStore.open(tmp_path, executor) as store:
        tasks = [asyncio.create_task(store.accept(acceptance())) for _ in range(100)]
        await asyncio.sleep(0)
    assert all([(await task).revision == 1 for task in tasks])
    async with SqlStore.open(tmp_path, executor) as store:
        assert len(await store.list(ExecutionFilter(), limit=200)) == 100


async def test_a_closed_store_refuses_writes(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    async with SqlStore.open(tmp_path, executor) as store:
        pass
    with pytest.raises(StoreUnavailable):
        await store.accept(acceptance())


async def test_a_writer_that_ends_by_a_defect_leaves_nobody_waiting_and_is_told(store: SqlStore) -> None:
    def broken() -> int:
        raise ZeroDivisionError

    supervision = asyncio.create_task(store.supervise())
    store._writer.now = broken
    outcomes = await asyncio.gather(*(store.accept(acceptance()) for _ in range(100)), return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    with pytest.raises(StoreEnded) as caught:
        await asyncio.wait_for(supervision, 5)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_supervision_ends_with_its_caller_and_not_with_the_store(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    async with SqlStore.open(tmp_path, executor) as store:
        supervision = asyncio.create_task(store.supervise())
        await store.accept(acceptance())
        assert not supervision.done()
        supervision.cancel()
        await asyncio.wait({supervision})
        assert supervision.cancelled()


async def test_a_write_that_finds_the_database_locked_is_unavailable_and_the_next_one_works(store: SqlStore) -> None:
    await store._writer.on_thread(lambda: _impatient(store))
    blocker = await asyncio.to_thread(_lock, store)
    with pytest.raises(StoreUnavailable) as caught:
        await store.accept(acceptance())
    assert "locked" in str(caught.value.__cause__)
    await asyncio.to_thread(blocker.rollback)
    await asyncio.to_thread(blocker.close)
    assert (await store.accept(acceptance())).revision == 1


async def test_reads_do_not_wait_for_an_open_write_transaction(store: SqlStore) -> None:
    first = await store.accept(acceptance())
    blocker = await asyncio.to_thread(_lock, store)
    async with asyncio.timeout(5):
        assert await store.get(first.id) == first
    await asyncio.to_thread(blocker.rollback)
    await asyncio.to_thread(blocker.close)


async def test_writes_that_wait_together_share_a_commit(store: SqlStore) -> None:
    first = await store.accept(acceptance())
    commits = await store._writer.on_thread(lambda: _count_commits(store))
    await asyncio.gather(*(store.change(first.id, warn(str(n))) for n in range(50)))
    assert (await store.get(first.id)).revision == 51
    assert len(commits) < 25


async def test_the_time_that_a_change_gets_never_goes_back(store: SqlStore) -> None:
    first = await store.accept(acceptance())
    times: list[int] = []

    def note(before: Execution, now: int) -> Execution:
        times.append(now)
        return before

    for _ in range(20):
        await store.change(first.id, note)
    assert first.created_at <= times[0]
    assert times == sorted(times)
    assert times[-1] <= await store.now()


async def test_the_result_of_a_repeated_key_in_one_commit_is_the_same_execution(store: SqlStore) -> None:
    calls = [store.accept(replace(acceptance(), idempotency_key=str(n % 3))) for n in range(9)]
    assert len({e.id for e in await asyncio.gather(*calls)}) == 3


def _impatient(store: SqlStore) -> None:
    with store._writer._engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA busy_timeout=50").close()


def _lock(store: SqlStore):  # type: ignore[no-untyped-def]  # a driver connection
    import sqlite3

    path = store._readers.url.database
    assert path is not None
    blocker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN IMMEDIATE")
    return blocker


def _count_commits(store: SqlStore) -> list[object]:
    from sqlalchemy import event

    commits: list[object] = []
    event.listen(store._writer._engine, "commit", commits.append)
    return commits

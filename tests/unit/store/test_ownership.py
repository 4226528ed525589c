"""Who owns what: a dead process is known at once, its executions go to one heir, and its late writes are refused."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from k8s_execution.domain.execution import Cluster, ClusterKind
from k8s_execution.domain.faults import Stale
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.store.leases import OwnerLock
from k8s_execution.store.sqlite import SqlStore
from unit.store.made import ELSEWHERE, HERE, acceptance, entering, until, warn

TESTS = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def replica(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A real process on the folder; killed at the end."""
    script = str(Path(__file__).with_name("replica.py"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, str(folder), *arguments,
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(TESTS)},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process) -> list[str]:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return list(json.loads(await process.stdout.readline()))


async def test_what_a_killed_process_owned_is_adopted_once_and_not_before(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    async with SqlStore.open(tmp_path, executor) as one, SqlStore.open(tmp_path, executor) as two:
        async with replica(tmp_path, "accept", "3") as process:
            owner, *ids = await said(process)
            assert not await one.adopt(HERE.uid)
            process.kill()
            await process.wait()
        taken = await asyncio.gather(one.adopt(HERE.uid), two.adopt(HERE.uid))
        assert sorted(e.id for part in taken for e in part) == sorted(ids)
        assert {len(part) for part in taken} == {0, 3}
        heir = one if taken[0] else two
        assert sorted(await heir.owned()) == sorted(ids)
        assert {(e.owner, e.epoch) for part in taken for e in part} == {(heir.owner, 2)}
        with pytest.raises(Stale):
            await heir.change(ids[0], warn(), epoch=1)
        assert not (tmp_path / "owners" / owner).exists()


async def test_what_another_process_commits_wakes_our_listeners(store: SqlStore, data: Path) -> None:
    first = await store.accept(acceptance())
    woken: list[str] = []
    end = store.subscribe(woken.append)
    async with replica(data, "cancel", first.id) as process:
        assert await process.wait() == 0
    await until(lambda: first.id in woken)
    assert (await store.get(first.id)).cancel_requested
    end()


async def test_a_process_killed_while_it_writes_leaves_all_or_nothing(store: SqlStore, data: Path) -> None:
    for round_ in range(5):
        async with replica(data, "churn") as process:
            assert process.stdout is not None
            await process.stdout.readline()
            enough = await _events(store) + 20 + 7 * round_
            while await _events(store) < enough:
                pass  # each look is a read of the database
            process.kill()
    adopted = await store.adopt(HERE.uid)
    assert len(adopted) == 50
    for execution in adopted:
        events_of = await store.events_of(execution.id, 0, 100_000)
        assert [e.sequence for e in events_of] == list(range(1, execution.sequence + 1))
        assert events_of[-1].execution.warnings == execution.warnings


async def _events(store: SqlStore) -> int:
    return int(await store._read(lambda c: c.exec_driver_sql("select count(*) from events").scalar_one()))


async def test_a_closed_store_gives_its_executions_up(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    async with SqlStore.open(tmp_path, executor) as one:
        accepted = await one.accept(acceptance())
    async with SqlStore.open(tmp_path, executor) as two:
        assert [e.id for e in await two.adopt(HERE.uid)] == [accepted.id]
        assert not await two.adopt(HERE.uid)
        assert [p.name for p in (tmp_path / "owners").iterdir()] == [two.owner]


async def test_adoption_wakes_listeners_but_is_not_told_to_callers(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    async with SqlStore.open(tmp_path, executor) as one:
        accepted = await one.accept(acceptance())
    async with SqlStore.open(tmp_path, executor) as two:
        woken: list[str] = []
        end = two.subscribe(woken.append)
        [adopted] = await two.adopt(HERE.uid)
        assert woken == [accepted.id]
        assert adopted.sequence == accepted.sequence
        end()


async def test_only_who_sees_a_cluster_adopts_what_runs_there(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    real = Cluster(ClusterKind.KUBERNETES, "v1.34.0", "a-real-one")
    async with SqlStore.open(tmp_path, executor) as one:
        await one.accept(acceptance(cluster=real))
    async with SqlStore.open(tmp_path, executor) as two:
        assert not await two.adopt(HERE.uid)
        assert not await two.adopt_stranded(HERE.uid)
        assert len(await two.adopt(real.uid)) == 1


async def test_executions_of_a_simulation_that_ended_with_its_process_are_taken_over(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    async with SqlStore.open(tmp_path, executor) as one, SqlStore.open(tmp_path, executor) as two:
        await one.accept(acceptance(cluster=ELSEWHERE))
        assert not await two.adopt_stranded(HERE.uid)
    async with SqlStore.open(tmp_path, executor) as three:
        assert len(await three.adopt_stranded(HERE.uid)) == 1


async def test_what_is_done_is_nobodys_business(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    async with SqlStore.open(tmp_path, executor) as one:
        accepted = await one.accept(acceptance())
        await one.change(accepted.id, entering(Phase.DONE))
        assert await one.owned() == []
    async with SqlStore.open(tmp_path, executor) as two:
        assert not await two.adopt(HERE.uid)


def test_a_lock_is_dead_when_released_missing_or_empty(tmp_path: Path) -> None:
    one, two = OwnerLock(tmp_path), OwnerLock(tmp_path)
    assert not one.is_dead(one.owner)
    assert not one.is_dead(two.owner)
    two.release()
    assert one.is_dead(two.owner)
    assert one.is_dead("")
    assert one.is_dead("../" + one.owner)
    one.release()

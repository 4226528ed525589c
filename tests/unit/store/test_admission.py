"""Admission in one transaction: the cap holds, held environments do not count, others' executions are left alone."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import Policy
from k8s_execution.engine.admission import chooser
from k8s_execution.ports.store import ExecutionFilter
from k8s_execution.store.sqlite import SqlStore
from support import build
from unit.store.made import ELSEWHERE, acceptance, entering

ADMITTED = entering(Phase.PROVISIONING)


async def test_four_concurrent_admissions_under_a_cap_of_one_admit_one(store: SqlStore) -> None:
    for _ in range(4):
        await store.accept(acceptance())
    await asyncio.gather(*(store.admit(chooser(1), ADMITTED, owner=store.owner) for _ in range(4)))
    assert len(await store.list(ExecutionFilter(phases=frozenset({Phase.PROVISIONING})), limit=10)) == 1


async def test_two_processes_on_one_folder_keep_one_cap(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    async with SqlStore.open(tmp_path, executor) as one, SqlStore.open(tmp_path, executor) as two:
        for store in (one, two, one, two):
            await store.accept(acceptance())
        await asyncio.gather(*(s.admit(chooser(2), ADMITTED, owner=s.owner) for s in (one, two, one, two)))
        found = await one.list(ExecutionFilter(phases=frozenset({Phase.PROVISIONING})), limit=10)
        assert len(found) == 2


async def test_admission_takes_the_highest_priority_then_the_oldest(store: SqlStore) -> None:
    urgent = replace(build.specification(), policy=Policy(priority=5))
    first, second = [await store.accept(acceptance()) for _ in range(2)]
    third = await store.accept(acceptance(specification=urgent))
    assert [await store.queue_position(e.id) for e in (first, second, third)] == [2, 3, 1]
    assert await store.admit(chooser(2), ADMITTED, owner=store.owner) == [third.id, first.id]
    assert [await store.queue_position(e.id) for e in (first, second, third)] == [0, 1, 0]


async def test_a_held_environment_does_not_count_until_its_cleanup_is_asked_for(store: SqlStore) -> None:
    held = await store.accept(acceptance())
    await store.change(held.id, lambda e, now: replace(e, phase=Phase.CLEANING, hold_until=now + 10**9))
    await store.accept(acceptance())
    active: list[int] = []

    def count(_queue: object, number: int) -> list[str]:
        active.append(number)
        return []

    await store.admit(count, ADMITTED, owner=store.owner)
    await store.change(held.id, lambda e, _: replace(e, cleanup_requested=True))
    await store.admit(count, ADMITTED, owner=store.owner)
    assert active == [0, 1]


async def test_each_cluster_has_its_own_queue(store: SqlStore) -> None:
    await store.accept(acceptance())
    other = await store.accept(acceptance(cluster=ELSEWHERE))
    assert await store.queue_position(other.id) == 1
    assert len(await store.admit(chooser(1), ADMITTED, owner=store.owner)) == 2


async def test_an_owner_admits_only_its_own(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    async with SqlStore.open(tmp_path, executor) as one, SqlStore.open(tmp_path, executor) as two:
        theirs = await two.accept(acceptance())
        ours = await one.accept(acceptance())
        assert await one.admit(chooser(10), ADMITTED, owner=one.owner) == [ours.id]
        assert (await one.get(theirs.id)).phase is Phase.QUEUED


async def test_admission_is_told_as_an_event(store: SqlStore) -> None:
    first = await store.accept(acceptance())
    await store.admit(chooser(1), ADMITTED, owner=store.owner)
    assert [e.type for e in await store.events_of(first.id, 0, 10)] == ["CREATED", "PHASE_CHANGED"]

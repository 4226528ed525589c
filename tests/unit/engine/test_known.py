"""The records at work: read once, and again after each change, also one that comes while the record is being read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.faults import NotFound
from k8s_execution.engine.known import KEPT_SECONDS, KnownRecords
from support import build
from unit.engine.made import Change, ManualClock, Records


@dataclass
class SlowRecords(Records):
    """A store that answers a read, with the record as it was when it was asked, only when told to."""

    answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def get(self, execution_id: str) -> Execution:
        record = await super().get(execution_id)
        await self.answer.wait()
        return record


def known(store: Records, clock: ManualClock | None = None) -> KnownRecords:
    """Records kept of this store, told of its changes."""
    kept = KnownRecords(cast(Any, store), clock or ManualClock())
    store.subscribe(kept.changed)
    return kept


async def cancel(store: Records) -> None:
    """A change of the record."""
    await store.change(build.ID, lambda e, _now: replace(e, cancel_requested=True), epoch=1)


async def test_a_record_is_read_once_until_it_changes() -> None:
    store = Records.of(build.execution())
    kept = known(store)
    assert [(await kept.get(build.ID)).cancel_requested for _ in range(3)] == [False] * 3
    assert len(store.reads) == 1
    await cancel(store)
    assert (await kept.get(build.ID)).cancel_requested
    assert len(store.reads) == 2


async def test_a_change_while_the_record_is_read_is_not_missed() -> None:
    store = SlowRecords({build.ID: build.execution()})
    kept = known(store)
    reading = asyncio.create_task(kept.get(build.ID))
    await asyncio.sleep(0)
    await cancel(store)
    store.answer.set()
    assert not (await reading).cancel_requested
    assert (await kept.get(build.ID)).cancel_requested


async def test_what_is_forgotten_is_read_again() -> None:
    store = Records.of(build.execution())
    kept = known(store)
    await kept.get(build.ID)
    kept.forget(build.ID)
    await kept.get(build.ID)
    assert len(store.reads) == 2


async def test_what_is_not_there_is_not_kept() -> None:
    store = Records()
    kept = known(store)
    with pytest.raises(NotFound):
        await kept.get(build.ID)
    store.executions[build.ID] = build.execution()
    assert (await kept.get(build.ID)).id == build.ID


async def test_an_own_change_is_known_without_a_read() -> None:
    store = Records.of(build.execution())
    kept = known(store)
    await kept.get(build.ID)
    await kept.change(build.ID, lambda e, _now: replace(e, cancel_requested=True), epoch=1)
    assert (await kept.get(build.ID)).cancel_requested
    assert store.reads == [build.ID]


@dataclass
class ThenAnothers(Records):
    """A store in whose commit another change follows ours: both are told of before ours returns."""

    async def change(self, execution_id: str, change: Change, *, epoch: int, revision: int | None = None) -> Execution:
        ours = await super().change(execution_id, change, epoch=epoch, revision=revision)
        await super().change(execution_id, lambda e, _now: replace(e, cleanup_requested=True), epoch=epoch)
        return ours


@pytest.mark.parametrize("changed", [True, False])
async def test_what_another_changed_in_the_same_commit_is_read(changed: bool) -> None:
    """Also where ours changed nothing, so that only the other's is told."""
    store = ThenAnothers({build.ID: build.execution()})
    kept = known(store)
    await kept.get(build.ID)
    await kept.change(build.ID, lambda e, _now: replace(e, cancel_requested=changed), epoch=1)
    assert (await kept.get(build.ID)).cleanup_requested


async def test_a_record_is_read_again_after_a_while() -> None:
    """The store's word of a change may be lost."""
    store, clock = Records.of(build.execution()), ManualClock()
    kept = known(store, clock)
    await kept.get(build.ID)
    clock.time += KEPT_SECONDS
    await kept.get(build.ID)
    assert len(store.reads) == 2


async def test_a_change_that_changes_nothing_keeps_what_is_known() -> None:
    store = Records.of(build.execution())
    kept = known(store)
    await kept.get(build.ID)
    await kept.change(build.ID, lambda e, _now: e, epoch=1)
    await kept.get(build.ID)
    assert store.reads == [build.ID]

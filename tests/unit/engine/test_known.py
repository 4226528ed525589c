"""The records at work: read once, and again after each change, also one that comes while the record is being read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.faults import NotFound
from k8s_execution.engine.known import KnownRecords
from support import build
from unit.engine.made import Records


@dataclass
class SlowRecords(Records):
    """A store that answers a read, with the record as it was when it was asked, only when told to."""

    answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def get(self, execution_id: str) -> Execution:
        record = await super().get(execution_id)
        await self.answer.wait()
        return record


def known(store: Records) -> KnownRecords:
    """Records kept of this store, told of its changes."""
    kept = KnownRecords(cast(Any, store))
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
    await kept.change(build.ID, lambda e, _now: replace(e, cancel_requested=True), epoch=1)
    assert (await kept.get(build.ID)).cancel_requested
    assert store.reads == []


async def test_after_an_own_change_and_anothers_the_record_is_read() -> None:
    """Which of them came last is not known: both are told of before the own one returns."""
    store = Records.of(build.execution())
    kept = known(store)
    store.subscribe(kept.changed)  # once more, as for the change of another
    await kept.change(build.ID, lambda e, _now: replace(e, cancel_requested=True), epoch=1)
    await kept.get(build.ID)
    assert store.reads == [build.ID]


async def test_a_change_that_changes_nothing_keeps_what_is_known() -> None:
    store = Records.of(build.execution())
    kept = KnownRecords(cast(Any, store))
    await kept.get(build.ID)
    await kept.change(build.ID, lambda e, _now: e, epoch=1)
    await kept.get(build.ID)
    assert store.reads == [build.ID]

"""Status and Cleanup, with and without waiting."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from k8s_execution.domain.lifecycle import Phase
from k8s_execution.store.sqlite import SqlStore
from k8s_execution.usecases import Parts, UseCases
from unit.usecases.made import PATIENCE, call, entering, warn


async def test_status_answers_at_once_without_wait_or_when_behind(cases: UseCases) -> None:
    """A sequence greater than the caller's is news."""
    made = (await cases.execute(call())).execution
    assert (await cases.status(made.id, after_sequence=1)).execution == made
    async with asyncio.timeout(PATIENCE):
        assert (await cases.status(made.id, after_sequence=0, wait=3600)).execution == made


async def test_status_waits_for_the_next_change(cases: UseCases, parts: Parts) -> None:
    """It is held until the sequence exceeds the caller's; another execution's change does not end it."""
    made, other = [(await cases.execute(call())).execution for _ in range(2)]
    waits = asyncio.create_task(cases.status(made.id, after_sequence=1, wait=3600))
    await parts.store.change(other.id, warn)
    await cases.status(other.id)
    assert not waits.done()
    changed = await parts.store.change(made.id, warn)
    async with asyncio.timeout(PATIENCE):
        assert (await waits).execution == changed


async def test_status_answers_what_there_is_when_the_wait_is_over(cases: UseCases) -> None:
    """The same execution, no fault."""
    made = (await cases.execute(call())).execution
    async with asyncio.timeout(PATIENCE):
        assert (await cases.status(made.id, after_sequence=1, wait=0.05)).execution == made


async def test_status_of_what_is_done_does_not_wait(cases: UseCases, parts: Parts) -> None:
    """Nothing more will come."""
    made = (await cases.execute(call())).execution
    done = await parts.store.change(made.id, entering(Phase.DONE))
    async with asyncio.timeout(PATIENCE):
        assert (await cases.status(made.id, after_sequence=done.sequence, wait=3600)).execution == done


async def test_a_wait_that_is_cancelled_leaves_no_listener(cases: UseCases, parts: Parts) -> None:
    """The store's list of listeners is empty again."""
    made = (await cases.execute(call())).execution
    waits = asyncio.create_task(cases.status(made.id, after_sequence=1, wait=3600))
    store = cast(SqlStore, parts.store)
    async with asyncio.timeout(PATIENCE):
        while not store._listeners._listeners:  # noqa: ASYNC110 - the store has no event for it
            await asyncio.sleep(0)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert store._listeners._listeners == []


@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.PROVISIONING, Phase.TESTING])
async def test_cleanup_asks_for_cancellation_of_what_waits_or_runs(cases: UseCases, parts: Parts, phase: Phase) -> None:
    """One event; asking again changes nothing more."""
    made = (await cases.execute(call())).execution
    if phase is not Phase.QUEUED:
        made = await parts.store.change(made.id, entering(phase))
    first = (await cases.cleanup(made.id)).execution
    assert (first.cancel_requested, first.cleanup_requested, first.sequence) == (True, True, made.sequence + 1)
    assert (await cases.cleanup(made.id)).execution == first


@pytest.mark.parametrize("phase", [Phase.COLLECTING, Phase.CLEANING])
async def test_cleanup_does_not_cancel_what_has_ended(cases: UseCases, parts: Parts, phase: Phase) -> None:
    """A held environment goes, its verdict stays."""
    made = (await cases.execute(call())).execution
    await parts.store.change(made.id, entering(phase))
    view = await cases.cleanup(made.id)
    assert (view.execution.cancel_requested, view.execution.cleanup_requested) == (False, True)


async def test_cleanup_waits_until_done(cases: UseCases, parts: Parts) -> None:
    """Through all phases on the way; of what is DONE it is no change."""
    made = (await cases.execute(call())).execution
    waits = asyncio.create_task(cases.cleanup(made.id, wait=3600))
    for phase in (Phase.COLLECTING, Phase.CLEANING, Phase.DONE):
        await parts.store.change(made.id, entering(phase))
    async with asyncio.timeout(PATIENCE):
        done = (await waits).execution
    assert done.phase is Phase.DONE
    assert (await cases.cleanup(made.id)).execution == done


async def test_cleanup_answers_where_it_stands_when_the_wait_is_over(cases: UseCases) -> None:
    """Not done yet, no fault."""
    made = (await cases.execute(call())).execution
    async with asyncio.timeout(PATIENCE):
        view = await cases.cleanup(made.id, wait=0.05)
    assert view.execution.phase is Phase.QUEUED

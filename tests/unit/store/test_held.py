"""Held environments have a cap of their own: it holds under concurrency, and who finds no place is told so."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from k8s_execution.domain import holding
from k8s_execution.domain.execution import Execution
from k8s_execution.domain.faults import HoldsFull
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import CleanupPolicy, Policy
from k8s_execution.ports.store import Acceptance
from k8s_execution.store.sqlite import SqlStore
from support import build
from unit.store.made import ELSEWHERE, acceptance, entering, execution

LATER = build.START + 10**15


def wanting(policy: CleanupPolicy, limit: int = 2, **given: object) -> Acceptance:
    """The acceptance of a plan with this clean-up policy, where so many environments may be held."""
    specification = build.specification(policy=Policy(cleanup=policy))
    return replace(acceptance(specification=specification, **given), most_held=limit)


async def failed(store: SqlStore) -> Execution:
    """An execution that wants to be held because it failed."""
    accepted = await store.accept(wanting(CleanupPolicy.ON_SUCCESS))
    return await store.change(accepted.id, entering(Phase.CLEANING))


async def held(store: SqlStore, made: Execution, limit: int = 2) -> bool:
    """Whether it is held when it asks."""
    change = partial(holding.hold, until=LATER, limit=limit)
    asked = await store.hold(made.id, lambda e, taken: change(e, taken=taken), epoch=made.epoch)
    return holding.place(asked) is holding.Place.HELD


async def test_a_plan_with_hold_is_refused_where_all_places_are_taken(store: SqlStore) -> None:
    """It names field, value, rule and way out; of ten at once exactly two are taken."""
    calls = (store.accept(wanting(CleanupPolicy.HOLD)) for _ in range(10))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    refused = [o for o in outcomes if isinstance(o, HoldsFull)]
    assert len(refused) == 8
    problem = refused[0].problems[0]
    assert (problem.field, problem.value, problem.rule) == ("policy.cleanup", "HOLD", "policy.held_environments")
    assert "K8S_EXECUTION_MAX_HELD_ENVIRONMENTS" in problem.hint
    assert "end a held one with Cleanup" in problem.hint


@pytest.mark.parametrize("policy", [CleanupPolicy.ALWAYS, CleanupPolicy.ON_SUCCESS])
async def test_other_plans_are_taken_also_then(store: SqlStore, policy: CleanupPolicy) -> None:
    """Most of them pass and are never held."""
    for _ in range(2):
        await store.accept(wanting(CleanupPolicy.HOLD))
    await store.accept(wanting(policy))


async def test_a_failed_execution_is_held_only_while_a_place_is_left(store: SqlStore) -> None:
    """Of five at once two are; the others are cleaned and say why."""
    made = [await failed(store) for _ in range(5)]
    assert sum(await asyncio.gather(*(held(store, e) for e in made))) == 2
    found = [await store.get(e.id) for e in made]
    told = [e.warnings for e in found if holding.place(e) is holding.Place.NONE]
    assert [len(w) for w in told] == [1, 1, 1]
    assert "the environment was not held" in told[0][0]
    assert "K8S_EXECUTION_MAX_HELD_ENVIRONMENTS" in told[0][0]


async def test_a_promised_place_is_kept_for_its_plan(store: SqlStore) -> None:
    """Failed executions do not take it away, and it is held when it asks."""
    promised = await store.accept(wanting(CleanupPolicy.HOLD, limit=1))
    assert not await held(store, await failed(store), limit=1)
    assert await held(store, await store.change(promised.id, entering(Phase.CLEANING)), limit=1)


@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.CLEANING])
async def test_a_cleanup_gives_the_place_back(store: SqlStore, phase: Phase) -> None:
    """At once, not only when the environment is gone."""
    first = await store.accept(wanting(CleanupPolicy.HOLD, limit=1))
    if phase is Phase.CLEANING:
        assert await held(store, await store.change(first.id, entering(phase)), limit=1)
    await store.change(first.id, lambda e, _now: replace(e, cleanup_requested=True))
    await store.accept(wanting(CleanupPolicy.HOLD, limit=1))


async def test_whose_cleanup_was_asked_for_meanwhile_is_not_held_and_not_warned(store: SqlStore) -> None:
    """The decision to hold was made before the request came."""
    await store.accept(wanting(CleanupPolicy.HOLD, limit=1))
    late = await failed(store)
    await store.change(late.id, lambda e, _now: replace(e, cleanup_requested=True))
    assert not await held(store, late, limit=1)
    found = await store.get(late.id)
    assert (found.hold_until, found.warnings) == (None, ())


async def test_the_end_gives_the_place_back(store: SqlStore) -> None:
    """Also of one that was never held."""
    first = await store.accept(wanting(CleanupPolicy.HOLD, limit=1))
    await store.change(first.id, entering(Phase.DONE))
    await store.accept(wanting(CleanupPolicy.HOLD, limit=1))


async def test_each_cluster_has_places_of_its_own(store: SqlStore) -> None:
    """An environment elsewhere takes nothing here."""
    await store.accept(wanting(CleanupPolicy.HOLD, limit=1))
    await store.accept(wanting(CleanupPolicy.HOLD, limit=1, cluster=ELSEWHERE))


async def test_two_processes_on_one_folder_keep_one_cap(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    """The count and the place are one transaction."""
    async with SqlStore.open(tmp_path, executor) as one, SqlStore.open(tmp_path, executor) as two:
        calls = (s.accept(wanting(CleanupPolicy.HOLD)) for s in (one, two, one, two))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(o, HoldsFull) for o in outcomes) == 2


def test_no_place_at_all_may_be_allowed() -> None:
    """Then HOLD is always refused."""
    specification = build.specification(policy=Policy(cleanup=CleanupPolicy.HOLD))
    with pytest.raises(HoldsFull):
        holding.check(execution(specification=specification), 0, 0)

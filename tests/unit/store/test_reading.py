"""Listings, filters and results: stable pages, parameters only, rows as they were given."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from k8s_execution.domain.execution import StepKey
from k8s_execution.domain.faults import Stale
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import StepKind
from k8s_execution.domain.testcase import TestCase, TestStatus
from k8s_execution.domain.verdict import Verdict
from k8s_execution.ports.store import ArtifactEntry, ArtifactKind, ExecutionFilter, StepResult
from k8s_execution.store.sqlite import SqlStore
from support import build
from unit.store.made import acceptance, entering, warn

EVERYTHING = ExecutionFilter()


async def ids(store: SqlStore, wanted: ExecutionFilter) -> list[str]:
    return [e.id for e in await store.list(wanted, limit=100)]


async def test_pages_are_newest_first_and_stay_stable_while_new_ones_arrive(store: SqlStore) -> None:
    accepted = [(await store.accept(acceptance())).id for _ in range(7)]
    seen: list[str] = []
    before: tuple[int, str] | None = None
    while page := await store.list(EVERYTHING, limit=3, before=before):
        seen += [e.id for e in page]
        before = (page[-1].created_at, page[-1].id)
        await store.accept(acceptance())
    assert seen == accepted[::-1]


async def test_of_one_moment_the_id_decides_the_order(store: SqlStore) -> None:
    accepted = [(await store.accept(acceptance())).id for _ in range(5)]
    at = (await store.get(accepted[0])).created_at
    await store._writer.write(lambda t: t.connection.exec_driver_sql("update executions set created_at = ?", (at,)))
    first = [e.id for e in await store.list(EVERYTHING, limit=2)]
    rest = [e.id for e in await store.list(EVERYTHING, limit=9, before=(at, first[-1]))]
    assert first + rest == sorted(accepted, reverse=True)


async def test_filters_narrow_and_combine(store: SqlStore) -> None:
    plain = (await store.accept(acceptance())).id
    specification = replace(build.specification(), name="shop", project="p2", labels={"branch": "main", "pr": "7"})
    shop = (await store.accept(acceptance(specification=specification))).id
    await store.change(shop, entering(Phase.PROVISIONING))
    await store.change(shop, lambda e, _: replace(e, verdict=Verdict.PASSED))
    for wanted in (
        ExecutionFilter(name="shop"),
        ExecutionFilter(project="p2"),
        ExecutionFilter(phases=frozenset({Phase.PROVISIONING, Phase.DONE})),
        ExecutionFilter(verdicts=frozenset({Verdict.PASSED})),
        ExecutionFilter(labels={"branch": "main"}),
        ExecutionFilter(labels={"branch": "main", "pr": "7"}, project="p2"),
        ExecutionFilter(id_prefix=shop[:20]),
    ):
        assert await ids(store, wanted) == [shop], wanted
    assert await ids(store, ExecutionFilter(labels={"branch": "main", "pr": "8"})) == []
    assert set(await ids(store, EVERYTHING)) == {plain, shop}


@pytest.mark.parametrize("text", ["%", "_", "' or 1=1 --", '"; drop table executions; --', "\\", "A" * 300])
async def test_filters_take_text_as_text(store: SqlStore, text: str) -> None:
    await store.accept(acceptance())
    for wanted in (
        ExecutionFilter(project=text),
        ExecutionFilter(name=text),
        ExecutionFilter(id_prefix=text),
        ExecutionFilter(labels={text: text}),
    ):
        assert await ids(store, wanted) == []
    assert len(await ids(store, EVERYTHING)) == 1


async def test_the_prefix_of_an_id_respects_case(store: SqlStore) -> None:
    accepted = await store.accept(acceptance())
    assert await ids(store, ExecutionFilter(id_prefix=accepted.id)) == [accepted.id]
    assert await ids(store, ExecutionFilter(id_prefix=accepted.id.upper())) == []


def result(execution_id: str, key: StepKey, *names: str) -> StepResult:
    """Cases in the order of these names, artifacts by path."""
    cases = [TestCase("suite", "class", n, TestStatus.FAILED, 0.25, "f.py", "no\n", "é\0") for n in names]
    return StepResult(
        execution_id,
        key,
        cases,
        [ArtifactEntry(f"{key.name}/{n}", ArtifactKind.REPORT, key, 5, "ab") for n in sorted(names)],
    )


async def test_results_come_back_in_the_order_of_the_steps(store: SqlStore) -> None:
    setup, api, unit = (
        StepKey(StepKind.SETUP, "migrate"),
        StepKey(StepKind.SUITE, "api"),
        StepKey(StepKind.SUITE, "unit"),
    )
    plan = build.specification(build.hook("migrate"), build.suite("api"), build.suite("unit"))
    accepted = await store.accept(acceptance(specification=plan, steps=build.execution(plan).steps))
    wanted = {key: result(accepted.id, key, "b", "a") for key in (unit, setup, api)}
    for one in wanted.values():
        await store.save_result(one, warn(one.key.name), epoch=1)
    assert {r.key: r for r in await store.results(accepted.id)} == wanted
    expected = [s.key for s in accepted.steps]
    assert [r.key for r in await store.results(accepted.id)] == expected


async def test_saving_a_result_again_replaces_its_rows(store: SqlStore) -> None:
    accepted = await store.accept(acceptance())
    key = accepted.steps[0].key
    await store.save_result(result(accepted.id, key, "a", "b", "c"), warn(), epoch=1)
    again = result(accepted.id, key, "b")
    await store.save_result(again, lambda e, _: e, epoch=1)
    assert await store.results(accepted.id) == [again]


async def test_a_step_that_left_nothing_is_a_result_too(store: SqlStore) -> None:
    accepted = await store.accept(acceptance())
    empty = StepResult(accepted.id, accepted.steps[0].key, [], [])
    await store.save_result(empty, warn(), epoch=1)
    assert await store.results(accepted.id) == [empty]


async def test_a_result_with_an_old_epoch_writes_nothing(store: SqlStore) -> None:
    accepted = await store.accept(acceptance())
    with pytest.raises(Stale):
        await store.save_result(result(accepted.id, accepted.steps[0].key, "a"), warn(), epoch=0)
    assert await store.results(accepted.id) == []
    assert (await store.get(accepted.id)).warnings == ()


async def test_what_a_refused_job_wrote_is_taken_back_and_its_neighbours_stay(store: SqlStore) -> None:
    """They share one commit; the refused one has deleted the rows of the earlier result before it is refused."""
    accepted, other = [await store.accept(acceptance()) for _ in range(2)]
    key = accepted.steps[0].key
    kept = result(accepted.id, key, "a")
    await store.save_result(kept, warn(), epoch=1)
    late = store.save_result(StepResult(accepted.id, key, [], []), warn(), epoch=0)
    jobs = [store.change(other.id, warn("before")), late, store.change(other.id, warn("after"))]
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert [isinstance(o, Stale) for o in outcomes] == [False, True, False]
    assert await store.results(accepted.id) == [kept]
    assert (await store.get(other.id)).warnings == ("before", "after")


async def test_events_are_read_in_pages_without_loss(store: SqlStore) -> None:
    first = await store.accept(acceptance())
    for number in range(7):
        await store.change(first.id, warn(str(number)))
    seen: list[int] = []
    while page := await store.events(seen[-1] if seen else 0, 3):
        seen += [e.position for e in page]
    assert len(seen) == 8

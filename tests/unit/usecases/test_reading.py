"""Watch, listings, results, artifacts and logs: gap-free, stable pages, cursors that are ours only."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from k8s_execution.domain.execution import StepKey
from k8s_execution.domain.faults import (
    CursorInvalid,
    NotFound,
)
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import StepKind
from k8s_execution.domain.testcase import TestCase, TestStatus
from k8s_execution.domain.verdict import Verdict
from k8s_execution.ports.logs import LogBatch, LogStream
from k8s_execution.ports.store import ArtifactEntry, ArtifactKind, ExecutionFilter, StepResult
from k8s_execution.usecases import Limits, LogFilter, Parts, UseCases
from support import build
from unit.usecases.made import EVERYTHING, Batches, call, collect, data, entering, named, warn


async def test_watch_is_gap_free_while_events_come_in(cases: UseCases, parts: Parts) -> None:
    """Every sequence once, in order, and it ends with DONE."""
    made = (await cases.execute(call())).execution
    watcher = asyncio.create_task(collect(cases, made.id, "", 10_000))
    await asyncio.gather(*(parts.store.change(made.id, warn) for _ in range(150)))
    await parts.store.change(made.id, entering(Phase.DONE))
    events = await watcher
    assert [e.sequence for e, _ in events] == list(range(1, 153))
    assert events[-1][0].execution.phase is Phase.DONE


async def test_watch_goes_on_after_its_cursor(cases: UseCases, parts: Parts) -> None:
    """From any event; after the last of a DONE execution it ends at once."""
    made = (await cases.execute(call())).execution
    for _ in range(3):
        await parts.store.change(made.id, warn)
    await parts.store.change(made.id, entering(Phase.DONE))
    events = await collect(cases, made.id, "", 100)
    for index, (_, cursor) in enumerate(events):
        rest = await collect(cases, made.id, cursor, 100)
        assert rest == events[index + 1 :]


async def test_watch_of_all_is_gap_free_across_executions(cases: UseCases, parts: Parts) -> None:
    """Each execution's sequences are dense; a reader that comes back misses nothing and sees nothing twice."""
    ids = [(await cases.execute(call())).execution.id for _ in range(3)]
    first = await collect(cases, "", "", 2)
    watcher = asyncio.create_task(collect(cases, "", first[-1][1], 61))
    await asyncio.gather(*(parts.store.change(ids[n % 3], warn) for n in range(60)))
    events = [e for e, _ in [*first, *(await watcher)]]
    for key in ids:
        assert [e.sequence for e in events if e.execution_id == key] == list(range(1, 22))


async def test_watch_of_what_is_not_there_is_not_found(cases: UseCases) -> None:
    """Before the first event."""
    with pytest.raises(NotFound):
        await collect(cases, "nobody", "", 1)


async def test_pages_stay_stable_while_new_ones_arrive(cases: UseCases) -> None:
    """Newest first; each of those that were there once."""
    before = [(await cases.execute(named(n))).execution.id for n in range(5)]
    seen: list[str] = []
    token = ""
    for number in range(3):
        page = await cases.list_executions(EVERYTHING, 2, token)
        seen += [v.execution.id for v in page.executions]
        token = page.next_token
        await cases.execute(named(10 + number))
    assert (seen, token) == (before[::-1], "")


@pytest.mark.parametrize(
    "other",
    [
        ExecutionFilter(project="shop"),
        ExecutionFilter(phases=frozenset({Phase.QUEUED})),
        ExecutionFilter(labels={"branch": "main"}),
        ExecutionFilter(name="plan"),
    ],
)
async def test_a_page_token_holds_only_with_its_own_filter(cases: UseCases, other: ExecutionFilter) -> None:
    """Else the next page would go on in another listing, and leave out or repeat; the page size may change."""
    for number in range(3):
        await cases.execute(named(number))
    token = (await cases.list_executions(EVERYTHING, 1, "")).next_token
    with pytest.raises(CursorInvalid) as refused:
        await cases.list_executions(other, 1, token)
    problem = refused.value.problems[0]
    assert (problem.field, problem.rule) == ("page_token", "page_token.listing")
    with pytest.raises(CursorInvalid):
        await cases.list_active(EVERYTHING, 1, token)
    assert len((await cases.list_executions(EVERYTHING, 2, token)).executions) == 2


async def test_active_are_those_that_wait_or_have_an_environment(cases: UseCases, parts: Parts) -> None:
    """Not those that are DONE, unless asked for."""
    waiting, running, done = [(await cases.execute(named(n))).execution.id for n in range(3)]
    await parts.store.change(running, entering(Phase.TESTING))
    await parts.store.change(done, lambda e, _: replace(e, phase=Phase.DONE, verdict=Verdict.PASSED))
    page = await cases.list_active(EVERYTHING, 50, "")
    assert [v.execution.id for v in page.executions] == [running, waiting]
    page = await cases.list_executions(ExecutionFilter(verdicts=frozenset({Verdict.PASSED})), 50, "")
    assert [v.execution.id for v in page.executions] == [done]


async def test_cursors_of_others_or_altered_are_refused(cases: UseCases) -> None:
    """Of another execution, another stream, another listing, or with any character changed."""
    one, two = [(await cases.execute(call())).execution.id for _ in range(2)]
    ((_, mine),) = await collect(cases, one, "", 1)
    ((_, all_),) = await collect(cases, "", "", 1)
    token = (await cases.list_executions(EVERYTHING, 1, "")).next_token
    altered = mine[:-1] + ("A" if mine[-1] != "A" else "B")
    for execution_id, cursor in [
        (two, mine),
        ("", mine),
        (one, all_),
        (one, token),
        (one, altered),
        (one, "x"),
        (one, "ä"),
    ]:
        with pytest.raises(CursorInvalid):
            await collect(cases, execution_id, cursor, 1)
    for wrong in (mine, token[:-1], token + "A", "!"):
        with pytest.raises(CursorInvalid):
            await cases.list_executions(EVERYTHING, 1, wrong)
    with pytest.raises(CursorInvalid):
        await cases.results(one, 10, mine)
    with pytest.raises(CursorInvalid):
        await anext(cases.logs(one, mine, follow=False, wanted=LogFilter()))


def case(name: str, details: str = "") -> TestCase:
    """A test case that passed."""
    return TestCase("suite", "class", name, TestStatus.PASSED, details=details)


async def test_results_are_paged_in_plan_order(cases: UseCases, parts: Parts) -> None:
    """All cases once, whatever order the suites ended in."""
    made = (await cases.execute(call(build.specification(build.suite("a"), build.suite("b"))))).execution
    for name in ("b", "a"):
        key = StepKey(StepKind.SUITE, name)
        kept = [ArtifactEntry(f"{name}/x", ArtifactKind.ARTIFACT, key, 1, "00")]
        result = StepResult(made.id, key, [case(f"{name}{n}") for n in range(5)], kept)
        await parts.store.save_result(result, warn, epoch=1)
    seen: list[str] = []
    token, pages = "", 0
    while token or not pages:
        found = await cases.results(made.id, 3, token)
        seen += [c.name for c in found.cases]
        token, pages = found.next_token, pages + 1
    assert seen == [f"{s}{n}" for s in "ab" for n in range(5)]
    assert pages == 4
    assert [r.key.name for r in found.steps] == ["a", "b"]
    assert [a.path for r in found.steps for a in r.artifacts] == ["a/x", "b/x"]


async def test_a_page_of_results_is_bounded_by_its_text(cases: UseCases, parts: Parts) -> None:
    """Large cases make short pages, never empty ones."""
    made = (await cases.execute(call())).execution
    big = [case(f"c{n}", "x" * 500_000) for n in range(3)]
    await parts.store.save_result(StepResult(made.id, made.steps[0].key, big, ()), warn, epoch=1)
    first = await cases.results(made.id, 100)
    second = await cases.results(made.id, 100, first.next_token)
    assert ([c.name for c in first.cases], [c.name for c in second.cases]) == (["c0"], ["c1"])


async def test_an_artifact_is_what_was_kept(cases: UseCases, parts: Parts) -> None:
    """What it is and its bytes; neither another path nor one outside is found."""
    made = (await cases.execute(call())).execution
    await parts.archive.put(made.id, "steps/unit/report.xml", data(b"<x/>"))
    stored, chunks = await cases.artifact(made.id, "steps/unit/report.xml")
    assert (stored.bytes, b"".join([c async for c in chunks])) == (4, b"<x/>")
    for path in ("steps/unit", "../x", "/etc/passwd", ""):
        with pytest.raises(NotFound):
            await cases.artifact(made.id, path)
    with pytest.raises(NotFound):
        await cases.artifact("nobody", "steps/unit/report.xml")


async def test_logs_resume_after_their_cursor_whatever_the_filter(parts: Parts) -> None:
    """A cursor is a place in the execution's order, not in the filtered stream."""
    one, two = LogStream("pod-1", "step", step="a"), LogStream("pod-2", "step", step="b")
    log = Batches(tuple(LogBatch(n, (one, two)[n % 2], n) for n in range(6)))
    cases = UseCases(replace(parts, logs=log), Limits())
    made = (await cases.execute(call())).execution
    read = [(b.index, c) async for b, c in cases.logs(made.id, "", follow=False, wanted=LogFilter())]
    assert [n for n, _ in read] == list(range(6))
    wanted = LogFilter(steps=frozenset({"b"}))
    rest = [b.index async for b, _ in cases.logs(made.id, read[2][1], follow=False, wanted=wanted)]
    assert rest == [3, 5]

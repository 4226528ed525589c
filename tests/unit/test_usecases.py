"""The use cases over the real store, archive, sealer and cursors; only cluster, manifests and logs are stand-ins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.faults import (
    CursorInvalid,
    FailedPrecondition,
    IdempotencyConflict,
    NotFound,
    QueueFull,
    TooLarge,
    ValidationFailed,
)
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import BundleSource, Quota, Specification, StepKind
from k8s_execution.domain.testcase import TestCase, TestStatus
from k8s_execution.domain.verdict import Verdict
from k8s_execution.evidence.archive import LocalArchive
from k8s_execution.logs.cursor import SignedCursors
from k8s_execution.manifests.check import Checker
from k8s_execution.ports.cluster import ClusterReader
from k8s_execution.ports.logs import LogBatch, LogStream
from k8s_execution.ports.manifests import Body, ManifestSource
from k8s_execution.ports.store import ArtifactEntry, ExecutionFilter, StatusEvent, StepResult
from k8s_execution.runtime.sealing import KeySealer
from k8s_execution.store.sqlite import SqlStore
from k8s_execution.usecases import ExecuteCall, Limits, LogFilter, Parts, UseCases
from support import build

PATIENCE = 30.0
EVERYTHING = ExecutionFilter()


class NamesOnly:
    """Manifests of which only the names are there: one object a call."""

    def namespace(self, execution: Execution) -> Body:
        return {"kind": "Namespace", "name": execution.namespace}

    def foundation(self, execution: Execution, secrets: Mapping[str, str]) -> list[Body]:
        return [{"kind": "Secret", "data": dict(secrets)}]

    def application(self, execution: Execution, name: str) -> list[Body]:
        return [{"kind": "Deployment", "name": name}]

    def step(self, execution: Execution, key: StepKey) -> Body:
        return {"kind": "Job", "name": key.name}


@dataclass
class Batches:
    """A log of these batches, all there is."""

    batches: tuple[LogBatch, ...] = ()

    async def read(self, execution_id: str, after: int, *, follow: bool) -> AsyncIterator[LogBatch]:
        for batch in self.batches:
            if batch.index > after:
                yield batch


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """The service's bounded pool."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
async def parts(tmp_path: Path, executor: ThreadPoolExecutor) -> AsyncIterator[Parts]:
    """Everything the use cases work with; the cluster is known by its identity only."""
    sealer = KeySealer(bytes(32))
    manifests: ManifestSource = NamesOnly()
    async with SqlStore.open(tmp_path / "data", executor) as store:
        yield Parts(
            store=store,
            archive=LocalArchive(tmp_path / "archive", executor, bundle_limit=1000),
            logs=Batches(),
            cursors=SignedCursors(sealer),
            sealer=sealer,
            checker=Checker(),
            manifests=manifests,
            cluster=cast(ClusterReader, SimpleNamespace(identity=build.CLUSTER)),
        )


@pytest.fixture
def cases(parts: Parts) -> UseCases:
    """The use cases with a queue of at most 10."""
    return UseCases(parts, Limits(queue=10))


def call(spec: Specification | None = None, key: str = "", **secrets: str) -> ExecuteCall:
    """An Execute of a plan; the plainest one if none is given."""
    chosen = spec or build.specification()
    if secrets:
        chosen = replace(chosen, environment=replace(chosen.environment, secrets=tuple(secrets)))
    return ExecuteCall(chosen, secrets, key)


def named(number: int) -> ExecuteCall:
    """An Execute of a plan with a name of its own."""
    return call(replace(build.specification(), name=f"plan-{number}"))


def entering(phase: Phase) -> Callable[[Execution, int], Execution]:
    """A change that enters a phase."""
    return lambda execution, _now: replace(execution, phase=phase)


def warn(execution: Execution, _now: int) -> Execution:
    """A change that only adds a warning."""
    return replace(execution, warnings=(*execution.warnings, "w"))


async def data(*parts: bytes) -> AsyncIterator[bytes]:
    """These bytes as a stream."""
    for part in parts:
        yield part


async def test_execute_answers_what_is_stored(cases: UseCases, parts: Parts) -> None:
    """Id, namespace, cluster, steps and its place in the queue; secrets are sealed, not in the record."""
    view = await cases.execute(call(TOKEN="hunter22"))
    execution = view.execution
    assert execution.namespace == f"quality-fabric-{execution.id}"
    assert (execution.cluster, execution.phase, view.queue_position) == (build.CLUSTER, Phase.QUEUED, 1)
    assert [s.key.name for s in execution.steps] == ["unit"]
    assert await parts.store.get(execution.id) == execution
    assert "hunter22" not in repr(execution)
    sealed = await parts.store.sealed_secrets(execution.id)
    assert parts.sealer.open(execution.id, sealed) == {"TOKEN": "hunter22"}


async def test_execute_twice_with_one_key_is_one_execution(cases: UseCases) -> None:
    """Also many times at once."""
    views = await asyncio.gather(*(cases.execute(call(key="k", TOKEN="hunter22")) for _ in range(10)))
    assert len({v.execution.id for v in views}) == 1
    assert len((await cases.list_executions(EVERYTHING, 50, "")).executions) == 1


async def test_one_key_for_two_bodies_is_a_conflict(cases: UseCases) -> None:
    """Another plan or another secret is another body."""
    await cases.execute(call(key="k", TOKEN="hunter22"))
    with pytest.raises(IdempotencyConflict):
        await cases.execute(call(key="k", TOKEN="hunter23"))
    with pytest.raises(IdempotencyConflict):
        await cases.execute(call(build.specification(build.suite("other")), key="k", TOKEN="hunter22"))


async def test_a_wrong_plan_is_refused_with_all_problems_and_nothing_is_stored(cases: UseCases) -> None:
    """Those of the fields' rules, those of the plan, and the bundle that is not there."""
    spec = build.specification(build.suite(after=("nobody",)), source=BundleSource("b-" + "0" * 26))
    with pytest.raises(ValidationFailed) as refused:
        await cases.execute(call(spec))
    fields = {p.field for p in refused.value.problems}
    assert {"test_plan.source.bundle.id", "test_plan.suites[0].after[0]"} <= fields
    assert (await cases.list_executions(EVERYTHING, 50, "")).executions == []


async def test_an_uploaded_bundle_can_be_used(cases: UseCases) -> None:
    """And one over the limit is refused."""
    stored = await cases.upload_bundle(data(b"tar", b"gz"))
    view = await cases.execute(call(build.specification(source=BundleSource(stored.path))))
    assert view.execution.specification.test_plan.source == BundleSource(stored.path)
    with pytest.raises(TooLarge):
        await cases.upload_bundle(data(b"x" * 1001))


async def test_the_queue_has_its_limit(cases: UseCases) -> None:
    """Ten wait, in the order they came."""
    views = [await cases.execute(call()) for _ in range(10)]
    assert [v.queue_position for v in views] == list(range(1, 11))
    with pytest.raises(QueueFull):
        await cases.execute(call())


async def test_without_a_cluster_there_is_only_history(cases: UseCases, parts: Parts) -> None:
    """Execute and the sweep say so; reads work."""
    view = await cases.execute(call())
    history = UseCases(replace(parts, cluster=None), Limits())
    with pytest.raises(FailedPrecondition, match="history"):
        await history.execute(call())
    with pytest.raises(FailedPrecondition):
        await history.sweep(dry_run=True)
    assert (await history.status(view.execution.id)).execution == view.execution


async def test_validate_shows_objects_and_stores_nothing(cases: UseCases) -> None:
    """Secret values are masked."""
    report = await cases.validate(call(TOKEN="hunter22"))
    assert report.problems == ()
    assert [o["kind"] for o in report.objects] == ["Namespace", "Secret", "Job"]
    assert report.objects[1]["data"] == {"TOKEN": "***"}
    assert report.quota
    assert (await cases.list_executions(EVERYTHING, 50, "")).executions == []


async def test_validate_sums_a_plan_that_only_lacks_room(cases: UseCases) -> None:
    """The problem and the arithmetic; no objects."""
    spec = build.specification()
    small = replace(spec, environment=replace(spec.environment, quota=Quota(cpu="1m")))
    report = await cases.validate(call(small))
    assert report.problems
    assert report.objects == ()
    assert any(not q.sufficient for q in report.quota)


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


async def collect(cases: UseCases, execution_id: str, cursor: str, count: int) -> list[tuple[StatusEvent, str]]:
    """The first events of a watch; fewer if it ends."""
    found: list[tuple[StatusEvent, str]] = []
    async with asyncio.timeout(PATIENCE), aclosing(cases.watch(execution_id, cursor)) as stream:  # type: ignore[type-var]  # a generator
        async for pair in stream:
            found.append(pair)
            if len(found) == count:
                break
    return found


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
        kept = [ArtifactEntry(f"{name}/x", "FILE", key, 1, "00")]
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

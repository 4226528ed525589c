"""Following through cuts, ends and rotations: the stored log is the truth, or says what is missing."""

from __future__ import annotations

import asyncio
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8s_execution.domain.facts import ContainerState, PodFact
from k8s_execution.domain.redaction import Masker
from k8s_execution.logs.collector import LogManager
from k8s_execution.logs.hub import Hub
from k8s_execution.logs.run import Pace
from k8s_execution.logs.segments import JournalStore
from k8s_execution.ports.logs import LogBatch, LogCollector, LogSummary
from unit.logs.conditions import until
from unit.logs.scripted import BASE, End, Read, ScriptedLogs, container, pod, stamp, stored
from unit.logs.test_segments import read

FAST = Pace(first_retry=0.001, longest_retry=0.005, quiet=0.05, drained=0.02, stalled=1.0, settle=0.02)
RUNNING = pod(container())
ENDED = pod(container(ContainerState.TERMINATED, exit_code=0))
NOTHING = Masker(())


def numbered(count: int, *, same: int = 3) -> list[tuple[int, bytes]]:
    return [(BASE + i // same, b"line %d" % i) for i in range(count)]


async def collect(
    store: JournalStore, logs: ScriptedLogs, *pods: PodFact, cap: int = 1 << 30, masker: Masker = NOTHING
) -> tuple[list[LogBatch], LogSummary]:
    """Observe the pods one after another, each once the log was read again, then seal."""
    async with asyncio.timeout(20), LogManager(logs, store, cap=cap, pace=FAST) as manager:
        for seen in pods:
            manager.observe("x1", [seen], masker)
            before = len(logs.requests)
            await until(partial(read_again, manager, logs, before))
        summary = await manager.seal("x1", pods[-1:], 5)
    return await read(store, "x1"), summary


def all_ended(manager: LogManager) -> bool:
    """Whether tails were started and none is left."""
    follows = manager._executions["x1"].follows
    return bool(follows) and not any(f.open for f in follows.values())


def read_again(manager: LogManager, logs: ScriptedLogs, before: int) -> bool:
    """Whether the log was read since, or there is nothing more to read."""
    return len(logs.requests) > before or all_ended(manager)


def content(batches: list[LogBatch]) -> list[tuple[int, bytes]]:
    return [(line.time, line.data) for b in batches for line in b.lines]


def gaps(batches: list[LogBatch]) -> list[str]:
    return [b.gap.reason for b in batches if b.gap]


def contiguous(batches: list[LogBatch]) -> bool:
    """Dense indexes, dense sequences per stream, nothing after an end."""
    at: dict[object, int] = {}
    ended: set[object] = set()
    for number, batch in enumerate(batches):
        if batch.index != number or batch.stream in ended or batch.first_sequence != at.get(batch.stream, 0):
            return False
        at[batch.stream] = batch.first_sequence + len(batch.lines)
        if batch.end:
            ended.add(batch.stream)
    return ended == set(at)


async def test_a_finished_container_is_read_whole(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(1000))
    batches, summary = await collect(store, logs, ENDED)
    assert content(batches) == logs.truth
    assert contiguous(batches) and summary.gaps == () and summary.lines == 1000


async def test_an_end_of_stream_is_no_end_of_log(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(30), [Read(10), Read(10), Read(20, end=End.CUT), Read(25)])
    batches, _ = await collect(store, logs, RUNNING, RUNNING, ENDED)
    assert content(batches) == logs.truth and contiguous(batches)


async def test_lines_that_appear_after_the_end_was_known_are_kept(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(30), [Read(10, late=True), Read(29, late=True)])
    batches, _ = await collect(store, logs, ENDED)
    assert content(batches) == logs.truth


async def test_a_last_line_without_newline_is_kept_and_flagged(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(3), unterminated=True)
    batches, summary = await collect(store, logs, ENDED)
    assert [line.partial for b in batches for line in b.lines] == [False, False, True]
    assert summary.bytes == len(b"line 0\nline 1\nline 2")


@pytest.mark.parametrize("cuts", [(70_000, 140_000, 10), (65_567, 65_568, 131_200, 250_000), (200_100, 200_200)])
async def test_long_lines_go_on_in_the_middle_after_a_cut(store: JournalStore, cuts: tuple[int, ...]) -> None:
    secret = "s3cr3t-" * 9
    line = (b"ab" * 32_750 + secret.encode()) * 3
    logs = ScriptedLogs([(BASE, line), (BASE, line), (BASE + 1, b"short")], [Read(3, at, End.CUT, 999) for at in cuts])
    batches, summary = await collect(store, logs, *[RUNNING] * len(cuts), ENDED, masker=Masker([secret]))
    text = b"".join(x.data + b"\n" * (not x.partial) for b in batches for x in b.lines)
    masked = line.replace(secret.encode(), b"***")
    assert text == masked + b"\n" + masked + b"\nshort\n" and contiguous(batches)
    assert summary.bytes == len(text)


@pytest.mark.parametrize("cut", [8, 40])
async def test_an_answer_that_is_cut_without_a_word_is_no_end(store: JournalStore, cut: int) -> None:
    """In the middle of a stamp, or of a line: what looks like a last line without a newline is read again."""
    whole = len(b"".join(stamp(t) + d + b"\n" for t, d in numbered(9)))
    logs = ScriptedLogs(numbered(20), [Read(9), Read(20, bytes=whole + cut, late=True)])
    batches, summary = await collect(store, logs, RUNNING, ENDED)
    assert content(batches) == logs.truth and summary.gaps == ()


async def test_a_rotation_with_loss_is_a_gap(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(30, same=1), [Read(10), Read(25, rotated=15)], rotated=15)
    batches, summary = await collect(store, logs, RUNNING, ENDED)
    assert content(batches) == logs.truth[:10] + logs.truth[15:]
    assert gaps(batches) == ["LOG_ROTATED"] and contiguous(batches) and len(summary.gaps) == 1
    assert [b.gap.from_sequence for b in batches if b.gap] == [10]


async def test_a_pod_that_is_gone_is_a_gap(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(30), [Read(10, end=End.CUT), Read(0, end=End.GONE)])
    batches, summary = await collect(store, logs, RUNNING)
    assert content(batches) == logs.truth[:10] and gaps(batches) == ["LOG_GONE"]
    assert summary.gaps == ("LOG_GONE: pod-1/application run 0",)


async def test_a_container_that_is_not_started_yet_is_waited_for(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(3), [Read(0, end=End.NOT_READY), Read(0, end=End.NOT_READY)])
    batches, _ = await collect(store, logs, RUNNING, ENDED)
    assert content(batches) == logs.truth


async def test_a_silent_follow_of_a_dead_container_is_given_up(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(20), [Read(10, end=End.HANG)])
    batches, _ = await collect(store, logs, RUNNING, ENDED)
    assert content(batches) == logs.truth and not gaps(batches)


async def test_a_frozen_follow_is_opened_again(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(20), [Read(10, end=End.HANG), Read(15, end=End.HANG)])
    async with asyncio.timeout(20), LogManager(logs, store, cap=1 << 30, pace=FAST) as manager:
        manager.observe("x1", [RUNNING], NOTHING)
        await until(lambda: stored(store) >= 15)


async def test_sealing_reads_a_running_container_to_its_present_end(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(20), [Read(5, end=End.HANG)])
    batches, summary = await collect(store, logs, RUNNING)
    assert content(batches) == logs.truth and batches[-1].end and summary.gaps == ()


async def test_what_cannot_be_read_in_time_is_a_gap(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(20), [Read(5)] + [Read(0, end=End.CUT)] * 10_000)
    async with asyncio.timeout(20), LogManager(logs, store, cap=1 << 30, pace=FAST) as manager:
        manager.observe("x1", [RUNNING], NOTHING)
        await until(lambda: stored(store) >= 5)
        summary = await manager.seal("x1", [ENDED], 0.05)
    assert summary.gaps == ("LOG_TIMEOUT: pod-1/application run 0",) and summary.lines == 5


async def test_the_cap_is_an_explicit_gap_and_ends_reading(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(50_000, same=1), [Read(50_000, chunk=4096)])
    batches, summary = await collect(store, logs, ENDED, cap=100_000)
    assert gaps(batches) == ["LOG_TRUNCATED"] and batches[-1].end and contiguous(batches)
    assert 100_000 <= summary.bytes < 300_000 and content(batches) == logs.truth[: summary.lines]


async def test_secrets_are_masked_before_they_are_stored(store: JournalStore, tmp_path: Path) -> None:
    logs = ScriptedLogs([(BASE + i, b"the key is s3cr3t-value, yes") for i in range(100)], [Read(100, chunk=1)])
    batches, _ = await collect(store, logs, ENDED, masker=Masker(["s3cr3t-value"]))
    assert {d for _, d in content(batches)} == {b"the key is ***, yes"}
    assert b"s3cr3t" not in (tmp_path / "x1" / "journal").read_bytes()


async def test_the_run_before_is_read_when_a_restart_is_seen_late(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(5), previous=numbered(7))
    restarted = pod(container(ContainerState.TERMINATED, restarts=1, identity="c://1", last="c://0", exit_code=0))
    batches, _ = await collect(store, logs, restarted)
    assert [content([b for b in batches if b.stream.restart == n]) for n in (0, 1)] == [logs.previous, logs.truth]


async def test_runs_that_are_gone_are_gaps(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(5), previous=numbered(7))
    batches, _ = await collect(store, logs, pod(container(restarts=2, identity="c://2", last="c://1")))
    assert [b.stream.restart for b in batches if b.gap] == [0]


async def test_a_read_that_meets_the_next_run_is_not_stored_as_this_one(store: JournalStore) -> None:
    """The container ends and is started again before facts tell: the follow's second read answers with run 1."""
    logs = ScriptedLogs([(BASE + 10**9 + i, b"second %d" % i) for i in range(4)], previous=numbered(6))
    first = pod(container())
    second = pod(container(ContainerState.TERMINATED, restarts=1, identity="c://1", last="c://0", exit_code=0))
    truth = logs.truth
    logs.script = [Read(4)]
    logs.truth = numbered(4)

    def restart(request: int) -> None:
        if request == 2:
            logs.truth = truth

    logs.on_request = restart
    batches, summary = await collect(store, logs, first, second)
    assert content([b for b in batches if b.stream.restart == 0]) == numbered(6)
    assert content([b for b in batches if b.stream.restart == 1]) == truth and summary.gaps == ()


async def test_a_restart_while_the_journal_is_sealed_is_no_rotation(store: JournalStore) -> None:
    """The follow hangs at line 4 of run 0; the seal's read meets run 1, and facts tell of it only then."""
    logs = ScriptedLogs(numbered(6), [Read(4, end=End.HANG)], previous=numbered(6))
    second = pod(container(ContainerState.TERMINATED, restarts=1, identity="c://1", last="c://0", exit_code=0))
    async with asyncio.timeout(20), LogManager(logs, store, cap=1 << 30, pace=Pace(settle=10.0)) as manager:
        manager.observe("x1", [pod(container())], NOTHING)
        await until(lambda: stored(store) >= 4)
        logs.truth = [(BASE + 10**9, b"second")]
        before = len(logs.requests)
        sealing = asyncio.create_task(manager.seal("x1", [pod(container())], 10))
        await until(lambda: len(logs.requests) > before)
        manager.observe("x1", [second], NOTHING)
        summary = await sealing
    batches = await read(store, "x1")
    assert content([b for b in batches if b.stream.restart == 0]) == numbered(6) and summary.gaps == ()


async def test_a_run_whose_follow_ended_with_it_is_whole_though_the_node_keeps_it_no_more(store: JournalStore) -> None:
    """A crash loop: read to its end, and both logs that the API still has are of later runs."""
    logs = ScriptedLogs(numbered(4), [Read(4)])
    waits = pod(container(ContainerState.WAITING, restarts=1, identity="c://1", last="c://1"))

    def crash(request: int) -> None:
        logs.truth = numbered(4) if request == 1 else [(BASE + 10**10, b"second")]

    logs.on_request = crash
    batches, summary = await collect(store, logs, RUNNING, waits)
    assert [content([b for b in batches if b.stream.restart == n]) for n in (0, 1)] == [numbered(4), logs.truth]
    assert summary.gaps == ()


async def test_a_read_of_the_run_before_that_meets_a_later_run_is_not_stored(store: JournalStore) -> None:
    """Run 1 ended while facts still said that it ran: `previous` answers with it."""
    logs = ScriptedLogs(numbered(4), [Read(4)], previous=[(BASE + 10**10, b"second")])
    again = pod(container(restarts=1, identity="c://1", last="c://0"))

    def crash(request: int) -> None:
        logs.truth = numbered(4) if request == 1 else [(BASE + 2 * 10**10, b"third")]

    logs.on_request = crash
    batches, summary = await collect(store, logs, RUNNING, again)
    assert content([b for b in batches if b.stream.restart == 0]) == numbered(4) and summary.gaps == ()


async def test_lines_written_after_a_run_had_ended_are_not_that_runs(store: JournalStore) -> None:
    """Nothing was read of run 0; what the node has as the run before was written after its end."""
    logs = ScriptedLogs([(BASE + 2 * 10**10, b"third")], previous=[(BASE + 10**10, b"second")])
    late = pod(container(restarts=1, identity="c://1", last="c://0", last_finished_at=BASE // 1000))
    batches, summary = await collect(store, logs, late)
    assert not content([b for b in batches if b.stream.restart == 0])
    assert summary.gaps == ("LOG_GONE: pod-1/application run 0",)


async def test_a_later_run_that_printed_one_line_without_a_newline_is_not_this_one(store: JournalStore) -> None:
    """Nothing was read of run 0, and what the node has as the run before is that one line."""
    logs = ScriptedLogs([(BASE + 2 * 10**10, b"third")], previous=[(BASE + 10**10, b"second")], unterminated=True)
    late = pod(container(restarts=1, identity="c://1", last="c://0", last_finished_at=BASE // 1000))
    batches, summary = await collect(store, logs, late)
    assert not content([b for b in batches if b.stream.restart == 0])
    assert summary.gaps == ("LOG_GONE: pod-1/application run 0",)


async def test_an_end_after_which_the_node_did_not_answer_proves_nothing(store: JournalStore) -> None:
    """A kubelet that dies ends the follow as if the container had ended."""
    logs = ScriptedLogs(numbered(4), [Read(4), Read(4, end=End.CUT), Read(4, end=End.CUT)])
    waits = pod(container(ContainerState.WAITING, restarts=1, identity="c://1", last="c://1"))

    def crash(request: int) -> None:
        logs.truth = numbered(4) if request <= 2 else [(BASE + 10**10, b"second")]

    logs.on_request = crash
    _, summary = await collect(store, logs, RUNNING, RUNNING, waits)
    assert summary.gaps == ("LOG_GONE: pod-1/application run 0",)


async def test_a_fault_of_one_tail_is_its_own(store: JournalStore, caplog: pytest.LogCaptureFixture) -> None:
    logs = ScriptedLogs(numbered(20), [Read(5)])

    def broken(request: int) -> None:
        if request == 2:
            raise KeyError("a defect")

    logs.on_request = broken
    batches, _ = await collect(store, logs, RUNNING, ENDED)
    assert content(batches) == logs.truth and "following pod-1/application failed" in caplog.text


async def test_forgetting_keeps_what_was_read_and_another_goes_on(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(20), [Read(7, end=End.HANG)])
    async with asyncio.timeout(20), LogManager(logs, store, cap=1 << 30, pace=Pace()) as manager:
        manager.observe("x1", [RUNNING], NOTHING)
        await until(lambda: stored(store) >= 7)
        await manager.forget("x1")
        assert manager.unread("x1") == frozenset()
    batches, _ = await collect(store, logs, ENDED)
    assert content(batches) == logs.truth and contiguous(batches)


async def test_streams_of_an_earlier_owner_whose_pods_are_gone_end_with_a_gap(store: JournalStore) -> None:
    logs = ScriptedLogs(numbered(5), [Read(5, end=End.HANG)])
    async with asyncio.timeout(20), LogManager(logs, store, cap=1 << 30, pace=Pace()) as manager:
        manager.observe("x1", [RUNNING], NOTHING)
        await until(lambda: stored(store) >= 5)
    async with LogManager(logs, store, cap=1 << 30, pace=FAST) as manager:
        summary = await manager.seal("x1", [], 1)
        assert await manager.seal("x1", [], 1) == summary
    assert summary.gaps == ("LOG_GONE: pod-1/application run 0",)


async def test_an_execution_that_never_had_a_pod_can_be_sealed(store: JournalStore) -> None:
    async with LogManager(ScriptedLogs([]), store, cap=1, pace=FAST) as manager:
        assert (await manager.seal("x1", [], 1)).lines == 0


async def test_logs_are_not_stored_without_a_masker(store: JournalStore) -> None:
    async with LogManager(ScriptedLogs([]), store, cap=1, pace=FAST) as manager:
        with pytest.raises(ValueError, match="observe"):
            await manager.seal("x1", [ENDED], 1)


ends = st.sampled_from([End.EOF, End.CUT, End.HANG])
reads = st.tuples(
    st.floats(0, 1), st.one_of(st.none(), st.integers(0, 3000)), ends, st.integers(1, 500), st.floats(0, 1)
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(1, 5), st.lists(reads, max_size=8), st.booleans())
def test_any_cuts_and_rotations_without_loss_give_the_truth(
    count: int, same: int, plan: list[tuple[float, int | None, End, int, float]], unterminated: bool
) -> None:
    truth = [(BASE + 10**8 * (i // same), b"%d " % i + b"x" * (i % 7 * 10)) for i in range(count)]
    logs = ScriptedLogs(truth, unterminated=unterminated)
    shares = sorted(share for share, *_ in plan)
    for share, (_, size, end, chunk, rotate) in zip(shares, plan, strict=True):
        logs.script.append(Read(int(share * count), size, end, chunk, rotate=rotate))

    async def run() -> list[LogBatch]:
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
            store = JournalStore(Path(folder), pool, Hub())
            steps = [pod(container(), step="s")] * (1 + len(plan) // 2)
            batches, summary = await collect(store, logs, *steps, _ended_step())
            assert summary.gaps == ()
            return batches

    batches = asyncio.run(run())
    assert content(batches) == truth and contiguous(batches)


def _ended_step() -> PodFact:
    return pod(container(ContainerState.TERMINATED, exit_code=0), step="s")


def test_the_manager_is_a_log_collector(store: JournalStore) -> None:
    async def check() -> None:
        manager = LogManager(ScriptedLogs([]), store, cap=1)
        collector: LogCollector = manager
        await collector.forget("x1")
        assert manager.unread("x1") == frozenset()

    asyncio.run(check())

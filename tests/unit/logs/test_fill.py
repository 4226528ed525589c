"""Gaps filled from a step's output file: exactly what was rotated away, or a gap where that is not certain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8s_execution.domain.facts import ContainerState, PodFact
from k8s_execution.domain.redaction import Masker
from k8s_execution.logs.collector import LogManager
from k8s_execution.logs.fill import stamped
from k8s_execution.logs.framing import Framer
from k8s_execution.logs.run import Pace
from k8s_execution.logs.segments import JournalStore
from k8s_execution.ports.cluster import ExecFailed, LogGone
from k8s_execution.ports.logs import LogBatch
from unit.logs.conditions import until
from unit.logs.scripted import BASE, End, Read, ScriptedLogs, container, pod, stamp, stored
from unit.logs.test_framing import flat
from unit.logs.test_segments import read
from unit.logs.test_tail import all_ended, contiguous, gaps

FAST = Pace(first_retry=0.001, longest_retry=0.005, quiet=0.05, drained=0.02, stalled=1.0, settle=0.02, look=0.002)
RUNNING = pod(replace(container(name="step"), started_at=BASE // 1000), step="s")
ENDED = pod(container(ContainerState.TERMINATED, name="step", exit_code=0), step="s")
TRUTH = [(BASE + i * 10**8, b"2026-01-01T00:00:00Z INFO %d" % i) for i in range(30)]


@dataclass
class File:
    """The output file as the collector shows it; `fault` ends every read."""

    data: bytes
    fault: Exception | None = None
    reads: int = 0
    size: int = 50

    async def read(self, seen: PodFact, offset: int) -> AsyncIterator[bytes]:
        self.reads += 1
        for at in range(offset, len(self.data), self.size):
            yield self.data[at : at + self.size]
        if self.fault is not None:
            raise self.fault


def raw(lines: list[tuple[int, bytes]]) -> bytes:
    return b"".join(d + b"\n" for _, d in lines)


async def collect(store: JournalStore, logs: ScriptedLogs, file: File) -> list[LogBatch]:
    async with asyncio.timeout(20), LogManager(logs, store, cap=1 << 30, pace=FAST, fill=file.read) as manager:
        manager.observe("x1", [RUNNING], Masker(()))
        await until(lambda: file.reads > 1 or len(logs.requests) > 2 or all_ended(manager))
        await manager.seal("x1", [ENDED], 5)
    return await read(store, "x1")


def rotated() -> ScriptedLogs:
    return ScriptedLogs(TRUTH, [Read(10), Read(25, rotated=15)], rotated=15)


async def test_what_was_rotated_away_is_read_from_the_file(store: JournalStore) -> None:
    batches = await collect(store, rotated(), File(raw(TRUTH)))
    assert b"".join(line.data + b"\n" for b in batches for line in b.lines) == raw(TRUTH)
    assert gaps(batches) == [] and contiguous(batches)


async def test_lines_that_only_the_file_has_get_the_time_of_the_line_before(store: JournalStore) -> None:
    batches = await collect(store, rotated(), File(raw(TRUTH)))
    assert [line.time for b in batches for line in b.lines] == [
        *(time for time, _ in TRUTH[:10]),
        *[TRUTH[9][0]] * 5,
        *(time for time, _ in TRUTH[15:]),
    ]


async def test_a_file_that_is_not_the_log_is_not_believed(store: JournalStore) -> None:
    batches = await collect(store, rotated(), File(b"other\n" + raw(TRUTH)))
    assert gaps(batches) == ["LOG_ROTATED"] and contiguous(batches)
    assert [line.data for b in batches for line in b.lines] == [d for _, d in TRUTH[:10] + TRUTH[15:]]


async def test_a_file_that_is_shorter_than_the_log_is_not_believed(store: JournalStore) -> None:
    assert gaps(await collect(store, rotated(), File(raw(TRUTH[:5])))) == ["LOG_ROTATED"]


async def test_a_file_that_ends_behind_the_hole_fills_it(store: JournalStore) -> None:
    """Its limit was reached later: the log goes on from there."""
    batches = await collect(store, rotated(), File(raw(TRUTH[:20]), LogGone("truncated")))
    assert [line.data for b in batches for line in b.lines] == [d for _, d in TRUTH] and not gaps(batches)


async def test_a_collector_that_cannot_be_reached_is_a_gap(store: JournalStore) -> None:
    batches = await collect(store, rotated(), File(b"", ExecFailed("no route")))
    assert gaps(batches) == ["LOG_ROTATED"] and batches[-1].end


async def test_a_last_line_without_newline_comes_from_the_file_too(store: JournalStore) -> None:
    batches = await collect(store, rotated(), File(raw(TRUTH) + b"no newline"))
    last = [line for b in batches for line in b.lines][-1]
    assert (last.data, last.partial) == (b"no newline", True)


async def test_another_owner_goes_on_in_the_file(store: JournalStore) -> None:
    logs = ScriptedLogs(TRUTH, [Read(10, end=End.HANG)])
    async with asyncio.timeout(20), LogManager(logs, store, cap=1 << 30, pace=Pace()) as manager:
        manager.observe("x1", [RUNNING], Masker(()))
        await until(lambda: stored(store) >= 10)
    batches = await collect(store, ScriptedLogs(TRUTH, [Read(25, rotated=15)], rotated=15), File(raw(TRUTH)))
    assert b"".join(line.data + b"\n" for b in batches for line in b.lines) == raw(TRUTH) and not gaps(batches)


async def test_another_owner_goes_on_in_the_file_within_a_line(store: JournalStore) -> None:
    """The last byte that is stored is no newline then."""
    truth = [(BASE, b"x" * 200_000), *TRUTH[1:]]
    logs = ScriptedLogs(truth, [Read(1, bytes=150_000, end=End.HANG)])
    async with asyncio.timeout(20), LogManager(logs, store, cap=1 << 30, pace=Pace()) as manager:
        manager.observe("x1", [RUNNING], Masker(()))
        await until(lambda: stored(store) >= 2)
    batches = await collect(store, ScriptedLogs(truth, [Read(20, rotated=10)], rotated=10), File(raw(truth), size=9999))
    found = b"".join(line.data + b"\n" * (not line.partial) for b in batches for line in b.lines)
    assert found == raw(truth) and not gaps(batches)


async def late(store: JournalStore, logs: ScriptedLogs, file: File) -> list[LogBatch]:
    """A step that had ended before it was first seen."""
    async with asyncio.timeout(20), LogManager(logs, store, cap=1 << 30, pace=FAST, fill=file.read) as manager:
        manager.observe("x1", [ENDED], Masker(()))
        await manager.seal("x1", [ENDED], 5)
    return await read(store, "x1")


async def test_a_beginning_that_was_rotated_away_is_read_from_the_file(store: JournalStore) -> None:
    batches = await late(store, ScriptedLogs(TRUTH, rotated=20), File(raw(TRUTH)))
    lines = [line for b in batches for line in b.lines]
    assert [line.data for line in lines] == [d for _, d in TRUTH] and not gaps(batches) and contiguous(batches)
    assert [line.time for line in lines] == [TRUTH[20][0]] * 20 + [time for time, _ in TRUTH[20:]]


async def test_a_whole_log_seen_late_is_taken_from_the_log(store: JournalStore) -> None:
    batches = await late(store, ScriptedLogs(TRUTH), File(raw(TRUTH)))
    assert [(line.time, line.data) for b in batches for line in b.lines] == TRUTH and not gaps(batches)


async def test_a_log_seen_late_that_lacks_lines_of_the_file_goes_on_in_the_file(store: JournalStore) -> None:
    """All lines are the same, so the beginning looks right; their number tells."""
    same = [(time, b"same") for time, _ in TRUTH]
    batches = await late(store, ScriptedLogs(same, rotated=20), File(raw(same)))
    assert [line.data for b in batches for line in b.lines] == [b"same"] * 30
    assert not gaps(batches) and contiguous(batches)


LOUD = [(BASE + i * 10**6, b"%06d " % i + b"x" * 90) for i in range(30_000)]


def loud(*holes: tuple[int, int]) -> ScriptedLogs:
    """Three megabytes at once, of which the log lacks ranges of lines."""
    kept = [line for i, line in enumerate(LOUD) if not any(a <= i < b for a, b in holes)]
    return ScriptedLogs(kept, [Read(len(kept))])


def holds(batches: list[LogBatch], lines: list[tuple[int, bytes]]) -> bool:
    """Whether these are the lines, in order; a difference of thousands of lines is not worth printing."""
    return [line.data for b in batches for line in b.lines] == [data for _, data in lines]


async def follow_whole(store: JournalStore, logs: ScriptedLogs, file: File) -> list[LogBatch]:
    """Follow while the container runs, until it has been read once; then it ends."""
    async with asyncio.timeout(60), LogManager(logs, store, cap=1 << 30, pace=FAST, fill=file.read) as manager:
        manager.observe("x1", [RUNNING], Masker(()))
        await until(lambda: len(logs.requests) > 1 or file.reads > 3 or all_ended(manager))
        await manager.seal("x1", [ENDED], 60)
    return await read(store, "x1")


@pytest.mark.parametrize("holes", [((9_000, 9_001),), ((7_000, 12_000),), ((1_500, 1_600), (5_000, 20_000))])
async def test_lines_rotated_away_in_the_middle_of_a_follow_are_put_in_their_place(
    store: JournalStore, holes: tuple[tuple[int, int], ...]
) -> None:
    batches = await follow_whole(store, loud(*holes), File(raw(LOUD), size=1 << 16))
    lines = [line for b in batches for line in b.lines]
    assert holds(batches, LOUD) and not gaps(batches) and contiguous(batches)
    lost = {i for a, b in holes for i in range(a, b)}
    assert all(line.time == time for i, (line, (time, _)) in enumerate(zip(lines, LOUD, strict=True)) if i not in lost)


async def test_a_hole_that_the_file_cannot_fill_is_a_gap_and_what_follows_is_kept(store: JournalStore) -> None:
    """The file ends before the hole does: its limit was reached."""
    file = File(raw(LOUD[:8_000]), LogGone("truncated", printed=len(raw(LOUD))), size=1 << 16)
    batches = await follow_whole(store, loud((7_000, 12_000)), file)
    assert holds(batches, LOUD[:8_000] + LOUD[12_000:])
    assert gaps(batches) == ["LOG_ROTATED"] and contiguous(batches)


async def test_a_follow_that_is_behind_and_lost_nothing_is_stored_as_it_is(store: JournalStore) -> None:
    batches = await follow_whole(store, loud(), File(raw(LOUD), size=1 << 16))
    assert holds(batches, LOUD) and [line.time for b in batches for line in b.lines] == [t for t, _ in LOUD]
    assert not gaps(batches)


async def test_a_beginning_lost_within_a_moment_is_noticed_though_the_first_chunk_is_small(store: JournalStore) -> None:
    quick = [(BASE + i * 10**4, data) for i, (_, data) in enumerate(LOUD)]
    logs = ScriptedLogs(quick, [Read(len(quick), rotated=9_000, chunk=1_000)], rotated=9_000)
    batches = await follow_whole(store, logs, File(raw(LOUD), size=1 << 16))
    assert holds(batches, LOUD) and not gaps(batches)


async def test_an_answer_that_is_always_cut_is_completed_from_the_file(store: JournalStore) -> None:
    whole = len(b"".join(stamp(t) + d + b"\n" for t, d in TRUTH[:9]))
    logs = ScriptedLogs(TRUTH, [Read(9), *[Read(30, bytes=whole + 8, late=True)] * 50])
    batches = await follow_whole(store, logs, File(raw(TRUTH)))
    assert [line.data for b in batches for line in b.lines] == [d for _, d in TRUTH] and not gaps(batches)


async def test_lines_beyond_what_the_file_keeps_are_taken_from_the_log(store: JournalStore) -> None:
    """Behind the file's limit nothing can be looked up; at the end the number of bytes printed is right."""
    twice = [(time + k * 40 * 10**9, data) for k in range(4) for time, data in LOUD]
    file = File(raw(LOUD), LogGone("truncated", printed=len(raw(twice))), size=1 << 16)
    batches = await follow_whole(store, ScriptedLogs(twice, [Read(len(twice))]), file)
    assert holds(batches, twice) and not gaps(batches)


async def test_a_line_torn_by_a_rotation_makes_the_file_the_only_source(store: JournalStore) -> None:
    """The node glued the halves of two lines: the file does not have such a line."""
    torn = ScriptedLogs([*LOUD[:9_000], (LOUD[9_000][0], b"torn"), *LOUD[9_500:]], [Read(29_501)])
    batches = await follow_whole(store, torn, File(raw(LOUD), size=1 << 16))
    assert holds(batches, LOUD)
    assert not gaps(batches) and contiguous(batches)


async def test_a_file_that_goes_on_and_was_cut_at_its_limit_is_a_gap(store: JournalStore) -> None:
    """The log ends early, the file later, and the step had printed more than that."""
    file = File(raw(TRUTH[:20]), LogGone("truncated", printed=len(raw(TRUTH))))
    torn = ScriptedLogs([*TRUTH[:9], (TRUTH[9][0], b"torn"), *TRUTH[12:13]], [Read(11)])
    batches = await collect(store, torn, file)
    assert gaps(batches) and contiguous(batches)


async def test_a_short_log_that_lacks_the_end_of_the_file_goes_on_in_the_file(store: JournalStore) -> None:
    """The runtime was away when the step printed its last lines: nobody wrote them into the log."""
    batches = await collect(store, ScriptedLogs(TRUTH[:11], [Read(11)]), File(raw(TRUTH)))
    assert [line.data for b in batches for line in b.lines] == [d for _, d in TRUTH]
    assert not gaps(batches) and contiguous(batches)


async def test_what_only_the_file_has_is_not_older_than_the_step(store: JournalStore) -> None:
    """No line of the log tells a time."""
    ended = pod(replace(ENDED.containers[0], started_at=BASE // 1000), step="s")
    file = File(raw(TRUTH))
    async with asyncio.timeout(20), LogManager(ScriptedLogs([]), store, cap=1 << 30, pace=FAST, fill=file.read) as logs:
        logs.observe("x1", [ended], Masker(()))
        await logs.seal("x1", [ended], 5)
    lines = [line for b in await read(store, "x1") for line in b.lines]
    assert [(line.time, line.data) for line in lines] == [(BASE, data) for _, data in TRUTH]


async def test_a_file_that_cannot_be_looked_at_changes_nothing(store: JournalStore) -> None:
    batches = await late(store, ScriptedLogs(TRUTH), File(b"", ExecFailed("released")))
    assert [line.data for b in batches for line in b.lines] == [d for _, d in TRUTH] and not gaps(batches)


async def test_a_look_that_takes_longer_than_a_read_may_be_silent_does_not_end_the_read(
    store: JournalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the same would be read again and again, and nothing stored."""
    monkeypatch.setattr("k8s_execution.logs.fill.CHECK_SECONDS", 0.3)
    looks = []

    async def silent(seen: PodFact, offset: int) -> AsyncIterator[bytes]:
        looks.append(offset)
        await asyncio.Event().wait()
        yield b""

    pace = replace(FAST, stalled=0.2)
    async with (
        asyncio.timeout(60),
        LogManager(ScriptedLogs(TRUTH), store, cap=1 << 30, pace=pace, fill=silent) as manager,
    ):
        manager.observe("x1", [ENDED], Masker(()))
        await manager.seal("x1", [ENDED], 15)
    batches = await read(store, "x1")
    assert [line.data for b in batches for line in b.lines] == [d for _, d in TRUTH] and not gaps(batches)
    assert len(looks) == 2, "one before the lines are stored, one at the end"


async def test_a_log_longer_than_the_file_is_held_against_the_number_of_bytes_printed(store: JournalStore) -> None:
    """The file holds too little to compare with; the agent counted what was printed."""
    short = File(raw(TRUTH[:5]), LogGone("truncated", printed=len(raw(TRUTH)) + 100))
    batches = await late(store, ScriptedLogs(TRUTH), short)
    assert [line.data for b in batches for line in b.lines] == [d for _, d in TRUTH]
    assert gaps(batches) == ["LOG_ROTATED"]


async def test_a_whole_log_longer_than_the_file_has_no_gap(store: JournalStore) -> None:
    short = File(raw(TRUTH[:5]), LogGone("truncated", printed=len(raw(TRUTH))))
    assert not gaps(await late(store, ScriptedLogs(TRUTH), short))


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 300), st.integers(1, 60))
def test_the_file_in_the_logs_form_is_the_same_bytes(data: bytes, offset: int, size: int) -> None:
    offset = min(offset, len(data))
    offset = data.rfind(b"\n", 0, offset) + 1

    async def file(begin: int) -> AsyncIterator[bytes]:
        for at in range(begin, len(data), size):
            yield data[at : at + size]

    async def rows() -> bytes:
        framer = Framer(Masker(()).cut)
        found = []
        async for chunk in stamped(file, offset, data[max(0, offset - 20) : offset], BASE):
            found += flat(framer.feed(chunk))
        found += flat(framer.finish())
        assert {t for t, *_ in found} <= {BASE}
        return b"".join(d + b"\n" * newline for _, d, _, _, newline in found)

    assert asyncio.run(rows()) == data[offset:]

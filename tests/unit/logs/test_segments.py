"""The journal on disk: what was appended is there, whatever happened to the process."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from k8s_execution.logs import files
from k8s_execution.logs.gaps import GapReason
from k8s_execution.logs.reader import JournalReader
from k8s_execution.logs.resume import Token
from k8s_execution.logs.segments import Journal, JournalStore
from k8s_execution.ports.logs import LogBatch, LogGap, LogLine, LogLines, LogReader, LogStream

STREAM = LogStream(pod="p", container="c", application="api", attempt=2, shard=1, restart=3)
OTHER = LogStream(pod="p", container="d")


def write(journal: Journal, *data: bytes, partial: tuple[int, ...] = (), stream: LogStream = STREAM) -> None:
    lines = LogLines.of(LogLine(100 + i, line, i in partial) for i, line in enumerate(data))
    journal.append_lines(stream, lines, Token(99 + len(data), 1, 0, 99 + len(data)))


async def read(store: JournalStore, execution_id: str, after: int = -1, *, follow: bool = False) -> list[LogBatch]:
    reader: LogReader = JournalReader(store)
    return [b async for b in reader.read(execution_id, after, follow=follow)]


async def test_batches_are_read_back_as_written(store: JournalStore) -> None:
    journal = await store.open("x1")
    write(journal, b"a\x00\r", b"", b"\xff", partial=(2,))
    journal.append_gap(STREAM, GapReason.ROTATED)
    write(journal, b"z")
    journal.append_end(STREAM)
    lines = LogLines.of([LogLine(100, b"a\x00\r"), LogLine(101, b""), LogLine(102, b"\xff", partial=True)])
    expected = [
        LogBatch(0, STREAM, 0, lines),
        LogBatch(1, STREAM, 3, gap=LogGap(3, 2, "LOG_ROTATED")),
        LogBatch(2, STREAM, 3, LogLines.of([LogLine(100, b"z")])),
        LogBatch(3, STREAM, 4, end=True),
    ]
    assert await read(store, "x1") == expected
    await store.close("x1")
    assert await read(store, "x1") == expected
    assert await read(store, "x1", 1) == expected[2:]


async def test_state_comes_back_after_a_crash(store: JournalStore, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x1")
    write(journal, b"one", b"two")
    write(journal, b"other", stream=OTHER)
    journal.append_end(OTHER)
    before = (dict(journal.streams), journal.lines, journal.bytes, list(journal.index.offsets))
    journal.close()
    after = Journal(tmp_path / "x1")
    assert (after.streams, after.lines, after.bytes, list(after.index.offsets)) == before
    after.close()


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 20, -1])
async def test_a_torn_last_frame_is_cut_off(store: JournalStore, tmp_path: Path, kept: int) -> None:
    journal = Journal(tmp_path / "x1")
    write(journal, b"whole")
    end = journal.index.end
    write(journal, b"torn")
    journal.close()
    size = (tmp_path / "x1" / "journal").stat().st_size
    os.truncate(tmp_path / "x1" / "journal", size - 1 if kept < 0 else end + kept)
    assert [line.data for b in await read(store, "x1") for line in b.lines] == [b"whole"]
    journal = await store.open("x1")
    assert (journal.index.end, journal.state(STREAM).next_sequence) == (end, 1)
    write(journal, b"again")
    assert [b.first_sequence for b in await read(store, "x1")] == [0, 1]
    await store.close("x1")


async def test_a_damaged_last_frame_is_cut_off(store: JournalStore, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x1")
    write(journal, b"whole")
    write(journal, b"damaged")
    journal.close()
    path = tmp_path / "x1" / "journal"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    await store.open("x1")
    assert [line.data for b in await read(store, "x1") for line in b.lines] == [b"whole"]
    await store.close("x1")


async def test_the_seal_holds_totals_and_the_documented_digest(store: JournalStore) -> None:
    journal = await store.open("x1")
    write(journal, b"a", b"b")
    write(journal, b"c", b"d", partial=(1,), stream=OTHER)
    journal.append_gap(OTHER, GapReason.GONE)
    summary = await store.seal("x1")
    assert (summary.lines, summary.bytes, summary.gaps) == (4, 7, ("LOG_GONE: p/d run 0",))
    assert summary.sha256 == hashlib.sha256(b"a\nb\nc\nd").hexdigest()
    await store.close("x1")


async def test_sealing_again_after_a_crash_gives_the_same(store: JournalStore, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x1")
    write(journal, b"a")
    summary = journal.seal()
    journal.close()
    for sidecar in (files.INDEX, files.SUMMARY):
        (tmp_path / "x1" / sidecar).unlink()
    batches = await read(store, "x1", follow=True)
    journal = Journal(tmp_path / "x1")
    assert (journal.seal(), (tmp_path / "x1" / files.SUMMARY).exists()) == (summary, True)
    journal.close()
    assert await read(store, "x1", follow=True) == batches


async def test_nothing_is_appended_after_the_seal(store: JournalStore) -> None:
    journal = await store.open("x1")
    await store.seal("x1")
    with pytest.raises(ValueError, match="sealed"):
        write(journal, b"late")
    await store.close("x1")


async def test_a_second_writer_is_refused(store: JournalStore, tmp_path: Path) -> None:
    await store.open("x1")
    with pytest.raises(BlockingIOError):
        Journal(tmp_path / "x1")
    await store.close("x1")


async def test_an_opening_that_is_cancelled_leaves_no_lock(store: JournalStore, executor: ThreadPoolExecutor) -> None:
    gate = threading.Event()
    for _ in range(2):
        executor.submit(gate.wait)
    opening = asyncio.create_task(store.open("x1"))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    gate.set()
    async with asyncio.timeout(10):
        while True:
            try:
                await store.open("x1")
                break
            except BlockingIOError:
                await asyncio.sleep(0.001)
    await store.close("x1")


async def test_a_full_disk_leaves_whole_frames_only(store: JournalStore, tmp_path: Path, executor: object) -> None:
    journal = Journal(tmp_path / "x1")
    write(journal, b"fits")
    end = journal.index.end
    full, saved = os.open("/dev/full", os.O_WRONLY), os.dup(journal._fd)
    os.dup2(full, journal._fd)
    with pytest.raises(OSError, match=r"No space left|Invalid argument"):
        write(journal, b"does not")
    os.dup2(saved, journal._fd)
    os.close(saved)
    os.close(full)
    assert (journal.index.end, journal.state(STREAM).next_sequence) == (end, 1)
    write(journal, b"fits again")
    journal.close()
    assert [line.data for b in await read(store, "x1") for line in b.lines] == [b"fits", b"fits again"]


@pytest.mark.parametrize("bad", ["../x", "", "a/b", ".", "x\n", "x\x00"])
async def test_what_is_no_execution_id_has_no_logs(store: JournalStore, bad: str) -> None:
    assert await read(store, bad) == []


async def test_a_cursor_beyond_the_end_reads_nothing(store: JournalStore) -> None:
    journal = await store.open("x1")
    write(journal, b"a")
    assert await read(store, "x1", 5) == []
    await store.seal("x1")
    assert await read(store, "x1", 5, follow=True) == []
    await store.close("x1")

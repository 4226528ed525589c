"""Live, late and after the end: the same batches."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import pytest

from k8s_execution.logs import files
from k8s_execution.logs import reader as reader_module
from k8s_execution.logs.hub import Hub
from k8s_execution.logs.reader import JournalReader
from k8s_execution.logs.segments import RECENT_BYTES, JournalStore
from k8s_execution.ports.logs import LogBatch
from unit.logs.conditions import until
from unit.logs.test_segments import STREAM, read, write


async def follow(store: JournalStore, into: list[LogBatch]) -> None:
    async for batch in JournalReader(store).read("x1", -1, follow=True):
        into.append(batch)  # noqa: PERF401 - others watch the list grow


async def test_live_late_and_after_the_end_are_identical(store: JournalStore) -> None:
    journal = await store.open("x1")
    live: list[LogBatch] = []
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow(store, live))
        for number in range(300):
            write(journal, b"%d" % number, b"x" * 5000)
            store.hub.wake("x1")
            if number == 150:
                late: list[LogBatch] = []
                tasks.create_task(follow(store, late))
            if number % 50 == 0:
                await asyncio.sleep(0)
        journal.append_end(STREAM)
        await store.seal("x1")
    assert journal.bytes > RECENT_BYTES
    await store.close("x1")
    after = await read(store, "x1")
    assert [b.index for b in after] == list(range(301))
    assert live == late == after


async def test_a_follower_waits_for_a_journal_that_is_not_there_yet(store: JournalStore) -> None:
    live: list[LogBatch] = []
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow(store, live))
        await asyncio.sleep(0)
        journal = await store.open("x1")
        write(journal, b"first")
        store.hub.wake("x1")
        await store.seal("x1")
    await store.close("x1")
    assert [line.data for b in live for line in b.lines] == [b"first"]


async def test_a_follower_goes_on_when_another_process_takes_over(
    store: JournalStore, tmp_path: Path, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "LOOK_AGAIN", 0.01)
    journal = await store.open("x1")
    write(journal, b"ours")
    live: list[LogBatch] = []
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow(store, live))
        await until(lambda: bool(live))
        await store.close("x1")
        other = JournalStore(tmp_path, executor, Hub())
        write(await other.open("x1"), b"theirs")
        await other.seal("x1")
        await other.close("x1")
    assert [line.data for b in live for line in b.lines] == [b"ours", b"theirs"]


async def test_a_reader_that_stops_leaves_nothing_open(store: JournalStore) -> None:
    journal = await store.open("x1")
    write(journal, b"a")
    async with aclosing(JournalReader(store).read("x1", -1, follow=True)) as batches:
        await anext(batches)
    assert store.hub.followers == 0
    await store.close("x1")


async def test_a_slow_follower_holds_nobody(store: JournalStore) -> None:
    journal = await store.open("x1")
    async with aclosing(JournalReader(store).read("x1", -1, follow=True)) as slow:
        write(journal, b"0")
        first = await anext(slow)
        for number in range(1, 50):
            write(journal, b"%d" % number)
        await store.seal("x1")
        assert len(await read(store, "x1", follow=True)) == 50
        rest = [b async for b in slow]
    assert [b.index for b in (first, *rest)] == list(range(50))
    await store.close("x1")


async def test_a_slow_reader_of_short_lines_holds_few_of_them(store: JournalStore) -> None:
    """What one read of the file decodes is held while the reader takes its time."""
    journal = await store.open("x1")
    for _ in range(60):
        write(journal, *[b"%d" % number for number in range(1000)])
    await store.seal("x1")
    fd = os.open(store.folder("x1") / files.JOURNAL, os.O_RDONLY)
    try:
        held = files.read_run(fd, journal.index, 0)
    finally:
        os.close(fd)
        await store.close("x1")
    assert 1 <= len(held) < 60 and sum(len(batch.lines) for batch in held) <= 30_000

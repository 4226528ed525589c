"""Lines held back until the file says that none is missing before them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from k8s_execution.domain.redaction import Masker
from k8s_execution.logs.batching import Batcher
from k8s_execution.logs.fill import StepFile
from k8s_execution.logs.framing import Lines
from k8s_execution.logs.proving import HELD, Proving
from k8s_execution.logs.resume import START, Resume
from k8s_execution.logs.segments import JournalStore
from k8s_execution.ports.logs import LogStream

COUNT = 1000


async def test_short_lines_are_held_back_for_what_they_take_in_memory(store: JournalStore) -> None:
    """An empty line is one byte of the file, and some sixty of memory."""

    async def file(offset: int) -> AsyncIterator[bytes]:
        yield b"\n"

    async def pause() -> None:
        raise AssertionError("the file can be read")

    journal = await store.open("x1")
    stream = LogStream("pod-1", "step")
    batcher = Batcher(journal, stream, Masker(()), cap=1 << 30, interval=lambda: 60.0, wake=lambda: None)
    proving, resume, most = Proving(batcher, START, StepFile(file), pause), Resume(START, overlaps=False), 0
    for _ in range(HELD // 16 // COUNT):
        piece = Lines([1] * COUNT, [b""] * COUNT)
        resume.new(piece)
        resume.token = await proving.take(piece, resume.token, hold=True)
        most = max(most, resume.token.raw - proving.stored.raw)
    batcher.close()
    await store.close("x1")
    assert COUNT < most < HELD // 32

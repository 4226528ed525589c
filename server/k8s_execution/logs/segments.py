"""The segment store on disk: one append-only journal per execution.

`<root>/<execution id>/journal` holds frames (`records`), each appended by one `write`, so what was appended survives
a SIGKILL of the process; the disk is forced at the seal. A torn last frame is cut off when the journal is opened for
writing, and where each stream goes on is read back from the frames. One process writes a journal (a file lock says
so), any may read it. It must not follow containers (`tail`) nor serve readers (`reader`).
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import threading
from collections import deque
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from k8s_execution.logs import files
from k8s_execution.logs.hub import Hub
from k8s_execution.logs.records import END, GAP, SEAL, Record, encode, gap_note
from k8s_execution.logs.resume import START, Token
from k8s_execution.ports.logs import LogBatch, LogLines, LogStream, LogSummary

RECENT_BYTES = 512 * 1024
"""How much of a journal's end is kept in memory for live followers."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_NOBODY = LogStream(pod="", container="")


@dataclass(frozen=True, slots=True)
class StreamState:
    """How far one stream is in the journal: the next line's sequence, where its log goes on, whether it has ended."""

    next_sequence: int = 0
    token: Token = START
    ended: bool = False


class Recent:
    """The last batches of a live journal, as they are in the file."""

    def __init__(self) -> None:
        """Nothing kept."""
        self._batches: deque[tuple[LogBatch, int]] = deque()
        self._bytes = 0

    def add(self, batch: LogBatch, size: int) -> None:
        """Keep a batch whose frame has `size` bytes, and forget the oldest over the bound."""
        self._batches.append((batch, size))
        self._bytes += size
        while self._bytes > RECENT_BYTES and len(self._batches) > 1:
            self._bytes -= self._batches.popleft()[1]

    def get(self, number: int) -> LogBatch | None:
        """The batch of that number, if it is still kept."""
        place = number - self._batches[0][0].index if self._batches else -1
        return self._batches[place][0] if 0 <= place < len(self._batches) else None


class Journal:
    """One execution's journal, open for writing. Appends happen on the event loop, everything else in the executor."""

    def __init__(self, folder: Path) -> None:
        """Open or make it and read back its state; blocks. BlockingIOError if another process writes it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.index = files.Index()
        self.recent = Recent()
        self.streams: dict[LogStream, StreamState] = {}
        self.lines = 0
        self.bytes = 0
        self.summary: LogSummary | None = None
        self._closing = threading.Lock()  # a cancelled caller leaves its seal running in the executor
        self._fd = os.open(folder / files.JOURNAL, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._recover()
        except BaseException:
            os.close(self._fd)
            raise

    def state(self, stream: LogStream) -> StreamState:
        """How far a stream is; a fresh state for an unknown one."""
        return self.streams.get(stream, StreamState())

    def append_lines(self, stream: LogStream, lines: LogLines, token: Token) -> None:
        """Append lines (already masked); `token` is where the stream goes on behind them."""
        state = self.state(stream)
        self._append(Record(0, stream, state.next_sequence, token, lines))

    def append_gap(self, stream: LogStream, reason: str) -> None:
        """Append a gap of an unknown number of lines."""
        state = self.state(stream)
        note = gap_note(state.next_sequence - 1, reason)
        self._append(Record(GAP, stream, state.next_sequence, state.token, LogLines(), note))

    def append_end(self, stream: LogStream) -> None:
        """Append the end of a stream; nothing is appended to it afterwards."""
        state = self.state(stream)
        if not state.ended:
            self._append(Record(END, stream, state.next_sequence, state.token, LogLines()))

    def seal(self) -> LogSummary:
        """Totals and digest over all that was appended, the seal frame, all of it forced to the disk; blocks."""
        with self._closing:
            return self.summary or self._seal()

    def _seal(self) -> LogSummary:
        summary = files.digest(self._fd)
        note = json.dumps(asdict(summary)).encode()
        frame = encode(Record(SEAL, _NOBODY, 0, Token(), LogLines(), note))
        files.append(self._fd, frame, self.index.end)
        os.fsync(self._fd)
        self.index.end += len(frame)
        files.write_sidecars(self.folder, self.index, summary)
        self.summary = summary
        self.index.sealed = True
        return summary

    def close(self) -> None:
        """Give up the file and its lock; waits for a seal that is under way, so it may block."""
        with self._closing:
            if not self.index.closed:
                self.index.closed = True
                os.close(self._fd)

    def _append(self, record: Record) -> None:
        if self.summary is not None or self.index.closed:
            raise ValueError("the log journal is sealed or closed")
        frame = encode(record)
        files.append(self._fd, frame, self.index.end)
        begin = self.index.end
        self.recent.add(record.batch(len(self.index.offsets)), len(frame))
        # The end before the offset: a reader's thread that sees the offset may read up to the end.
        self.index.end += len(frame)
        self.index.offsets.append(begin)
        self._account(record)

    def _account(self, record: Record) -> None:
        count = len(record.lines)
        self.lines += count
        self.bytes += record.lines.raw_bytes
        state = StreamState(record.first_sequence + count, record.token)
        self.streams[record.stream] = replace(state, ended=True) if record.flags & END else state

    def _recover(self) -> None:
        for begin, end, record in files.frames(self._fd):
            self.index.end = end
            if record.flags & SEAL:
                note = json.loads(record.note)
                self.summary = LogSummary(note["lines"], note["bytes"], note["sha256"], tuple(note["gaps"]))
                self.index.sealed = True
                break
            self.index.offsets.append(begin)
            self._account(record)
        if self.summary is not None:
            # Again, because the process may have been killed between the seal frame and its sidecars.
            files.write_sidecars(self.folder, self.index, self.summary)
        elif self.index.end < os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, self.index.end)


class JournalStore:
    """The journals below one folder, and which of them this process writes."""

    def __init__(self, root: Path, executor: Executor, hub: Hub) -> None:
        """`executor` runs what blocks; `hub` is woken at every append, seal and close."""
        self.root = root
        self.executor = executor
        self.hub = hub
        self._live: dict[str, Journal] = {}

    def folder(self, execution_id: str) -> Path:
        """Where an execution's journal lies; ValueError for what cannot be an id."""
        if _ID.fullmatch(execution_id) is None:
            raise ValueError("not an execution id")
        return self.root / execution_id

    def live(self, execution_id: str) -> Journal | None:
        """The journal, if this process writes it."""
        return self._live.get(execution_id)

    async def open(self, execution_id: str) -> Journal:
        """Open for writing; BlockingIOError while another process writes it. One caller at a time per execution."""
        journal = self._live.get(execution_id)
        if journal is None:
            loop = asyncio.get_running_loop()
            opening = loop.run_in_executor(self.executor, Journal, self.folder(execution_id))
            try:
                journal = await asyncio.shield(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(_close_unclaimed)
                raise
            self._live[execution_id] = journal
        return journal

    async def seal(self, execution_id: str) -> LogSummary:
        """Seal an open journal and wake its followers."""
        loop = asyncio.get_running_loop()
        summary = await loop.run_in_executor(self.executor, self._live[execution_id].seal)
        self.hub.wake(execution_id)
        return summary

    async def close(self, execution_id: str) -> None:
        """Close a journal that this process wrote; its readers go on from the file."""
        journal = self._live.pop(execution_id, None)
        if journal is not None:
            await asyncio.get_running_loop().run_in_executor(self.executor, journal.close)
            self.hub.wake(execution_id)


def _close_unclaimed(opening: asyncio.Future[Journal]) -> None:
    """Whoever opened the journal has gone meanwhile; its lock must not stay."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()

"""A container's log: one stamped file per generation, rotated by size, read by offset.

Every line is stored as the kubelet prints it with `timestamps=true` (30 characters of RFC 3339 with nine digits and a
space before the line), prepared once when it is written, so that serving is copying. The stamp is the time at which
the node read the output. stdout and stderr of a container are one pipe, so their order is the order of writing (a
difference: a real runtime reads them apart). Like a kubelet, the node looks at a log's size only now and then; a log is
read from its newest file only, and a follower that has read a file to its end goes on with the newest: what was rotated
twice before it came is lost to it (pkg/kubelet/logs/container_log_manager.go; cri-client/pkg/logs, `ReadLogs`).

Must not know pods, HTTP or how processes are started.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

STAMP = 31  # length of "2026-11-24T09:00:00.123456789Z "
READ = 256 * 1024


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a log begins a new file: the kubelet's containerLogMaxSize, -MaxFiles and -MonitorInterval (s)."""

    max_bytes: int = 10 * 1024 * 1024
    max_files: int = 5
    interval: float = 10.0


DEFAULT_ROTATION = Rotation()


@dataclass(frozen=True, slots=True)
class Query:
    """What of a log is wanted, as in PodLogOptions. `since` is in seconds since the epoch, whole seconds as in life."""

    follow: bool = False
    timestamps: bool = False
    since: float | None = None
    tail_lines: int | None = None
    limit_bytes: int | None = None


def stamp(nanoseconds: int) -> bytes:
    """The line prefix for a time: kubelet's RFC3339NanoFixed in UTC, and a space."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z ".encode()


class ContainerLog:
    """The log of one run of a container. Written by one pump, read by any number of readers on the same event loop."""

    def __init__(self, folder: Path, rotation: Rotation = DEFAULT_ROTATION) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.rotation = rotation
        self.generation = 0
        self.ended = False
        self._size = 0
        self._open_line = False
        self._looked = time.monotonic()
        self._file = os.open(self.path(0), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._waiters: set[asyncio.Future[None]] = set()

    def path(self, generation: int) -> Path:
        """The file of a generation."""
        return self.folder / f"{generation}.log"

    def write(self, output: bytes) -> None:
        """Append output as it came from the process; lines may arrive in pieces."""
        self._rotate_if_full()
        if output:
            self._append(output)
            self._wake()

    def _append(self, output: bytes) -> None:
        prefix = stamp(time.time_ns())
        ends = output.endswith(b"\n")
        body = output[:-1] if ends else output
        stamped = (b"" if self._open_line else prefix) + body.replace(b"\n", b"\n" + prefix) + (b"\n" if ends else b"")
        self._open_line = not ends
        os.write(self._file, stamped)
        self._size += len(stamped)

    def close(self) -> None:
        """The process has ended and all its output is written."""
        if not self.ended:
            self.ended = True
            os.close(self._file)
            self._wake()

    def discard(self) -> None:
        """Forget all output (of a sandbox that could not start its command)."""
        os.ftruncate(self._file, 0)
        self._size, self._open_line = 0, False

    def _rotate_if_full(self) -> None:
        """Begin a new file, but only between lines; called when something is about to be written."""
        now = time.monotonic()
        if now - self._looked < self.rotation.interval:
            return
        self._looked = now
        if self._size < self.rotation.max_bytes or self._open_line:
            return
        os.close(self._file)
        self.generation += 1
        self._size = 0
        self._file = os.open(self.path(self.generation), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.path(self.generation - self.rotation.max_files).unlink(missing_ok=True)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def _written(self) -> None:
        """Wait for the next write or the end."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def read(self, query: Query) -> AsyncGenerator[bytes, None]:
        """The wanted bytes in large pieces. Ends at the end of the log, when following only after the container's."""
        left = query.limit_bytes
        async for piece in self._pieces(query):
            if left is not None:
                piece = piece[:left]
                left -= len(piece)
            if piece:
                yield piece
            if left == 0:
                return

    async def _pieces(self, query: Query) -> AsyncGenerator[bytes, None]:
        reader = _Reader(self, self.generation)
        strip = _Strip()
        try:
            reader.seek(query)
            while True:
                ended, newest = self.ended, self.generation
                if chunk := reader.read():
                    yield chunk if query.timestamps else strip(chunk)
                    await asyncio.sleep(0)
                elif newest > reader.generation and query.follow:
                    reader.open(newest)
                elif ended or not query.follow:
                    return
                else:
                    await self._written()
        finally:
            reader.close()


class _Reader:
    """One reader's open file; it stays readable after the writer has gone on to the next."""

    def __init__(self, log: ContainerLog, generation: int) -> None:
        self._log = log
        self._file = -1
        self.open(generation)

    def open(self, generation: int) -> None:
        """Go on with this generation's file."""
        self.close()
        self.generation = generation
        self._file = os.open(self._log.path(generation), os.O_RDONLY)

    def seek(self, query: Query) -> None:
        """Go to where the query begins."""
        os.lseek(self._file, _start(self._file, query), os.SEEK_SET)

    def read(self) -> bytes:
        """The next piece; empty at the present end."""
        return os.read(self._file, READ)

    def close(self) -> None:
        """Close the file, if one is open."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class _Strip:
    """Takes the stamps off a stream of chunks that may be cut anywhere."""

    def __init__(self) -> None:
        self._skip = STAMP  # how much of the stamp at the head of the next chunk is still to drop

    def __call__(self, chunk: bytes) -> bytes:
        lines = chunk.split(b"\n")
        first = lines[0]
        head, tail = first[self._skip :], lines[1:]
        if not tail:
            self._skip = max(0, self._skip - len(first))
            return head
        self._skip = max(0, STAMP - len(tail[-1]))
        return b"\n".join([head, *[line[STAMP:] for line in tail]])


def _start(file: int, query: Query) -> int:
    """The offset at which reading begins."""
    size = os.fstat(file).st_size
    start = 0
    if query.since is not None:
        start = _since_offset(file, size, stamp(int(query.since) * 1_000_000_000)[:STAMP])
    if query.tail_lines is not None:
        start = max(start, _tail_offset(file, size, query.tail_lines))
    return start


def _since_offset(file: int, size: int, wanted: bytes) -> int:
    """The first line whose stamp is not before the wanted one: a binary search, since stamps only grow."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        line = _line_at_or_after(file, middle, size)
        if line < high and os.pread(file, STAMP, line) < wanted:
            low = line + 1
        else:
            high = middle
    return _line_at_or_after(file, low, size)


def _line_at_or_after(file: int, offset: int, size: int) -> int:
    """The start of the first line that begins at this offset or later."""
    if offset == 0:
        return 0
    at = offset - 1
    while at < size:
        chunk = os.pread(file, 65536, at)
        if not chunk:
            break
        if (found := chunk.find(b"\n")) >= 0:
            return at + found + 1
        at += len(chunk)
    return size


def _tail_offset(file: int, size: int, lines: int) -> int:
    """Where the last `lines` lines begin; an unfinished last line counts."""
    if lines <= 0:
        return size
    at, wanted = size, lines
    if size and os.pread(file, 1, size - 1) == b"\n":
        wanted += 1
    while at > 0:
        begin = max(0, at - 65536)
        chunk = os.pread(file, at - begin, begin)
        count = chunk.count(b"\n")
        if count >= wanted:
            position = len(chunk)
            for _ in range(wanted):
                position = chunk.rfind(b"\n", 0, position)
            return begin + position + 1
        wanted -= count
        at = begin
    return 0

"""A step's output file in place of its log, where the node rotated lines away before they were read.

The agent merges a step's two streams, so file and log are equal byte for byte (docs/agent.md, Output): the file from
the offset of what is stored is exactly what follows it. That is checked before it is believed, by the bytes before
the offset. It must not run anything in pods: the reading function is given; nor put the two together (`merge`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from enum import Enum, auto

from k8s_execution.logs.framing import Fragment, Piece
from k8s_execution.ports.cluster import ExecFailed, LogGone, Unreachable

SECOND = 1_000_000_000
CHECK_SECONDS = 20.0
"""How long a look at the file may take; the log goes on without it, and then a loss is not noticed."""

ReadFrom = Callable[[int], AsyncIterator[bytes]]
"""The output file from a byte offset to its present end; ExecFailed if cut, LogGone if it does not hold the rest."""


class NotTheSame(Exception):
    """The file is not what the log was."""


class Place(Enum):
    """What the file has at an offset up to which lines are stored or read."""

    END = auto()
    """The same bytes before it and nothing behind: the output's present end."""
    INSIDE = auto()
    """The same bytes before it, and more behind."""
    OTHER = auto()
    """Other bytes, or the offset is not where the lines end."""
    SHORT = auto()
    """The same bytes as far as it goes, which is not so far."""
    BEYOND = auto()
    """The step printed more than the file keeps, and the offset is behind what it keeps."""
    UNKNOWN = auto()
    """It cannot be read."""


class StepFile:
    """The output file of the step that a tail follows. `last` are the last bytes stored, as far as they are known."""

    def __init__(self, read: ReadFrom) -> None:
        """`read` reaches the pod."""
        self._read = read
        self.last = b"\n"

    def rest(self, offset: int, time: int) -> AsyncGenerator[bytes, None]:
        """What follows the offset, in the log's form (`stamped`)."""
        return stamped(self._read, offset, self.last if offset else b"", time)

    def behind(self, offset: int) -> AsyncGenerator[bytes, None]:
        """The bytes behind the offset; NotTheSame unless the last bytes stored stand before it."""
        before = self.last if offset else b""
        return _behind(self._read(offset - len(before)), before)

    async def place(self, offset: int, last: bytes | None = None, *, end: bool = False) -> Place:
        """Whether the file has `last` (else the last bytes stored) before the offset, and what comes then.

        Behind what the file keeps there is nothing to compare; at the `end` the agent's count of all bytes tells.
        """
        before = (self.last if last is None else last) if offset else b""
        try:
            found = await self._some(offset - len(before), len(before) + 1)
        except LogGone as gone:
            if not end:
                return Place.BEYOND
            if gone.printed is None:
                return Place.UNKNOWN
            return Place.OTHER if offset < gone.printed else Place.END
        if found is None:
            return Place.UNKNOWN
        if len(found) > len(before):
            return Place.INSIDE if found.startswith(before) else Place.OTHER
        if found == before:
            return Place.END
        return Place.SHORT if before.startswith(found) else Place.OTHER

    async def _some(self, offset: int, size: int) -> bytes | None:
        """The first `size` bytes from an offset, or all there are; None where they cannot be had; LogGone."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return (await _beginning(self._read(offset), size))[:size]
        except (ExecFailed, Unreachable, TimeoutError):
            return None


async def _beginning(chunks: AsyncIterator[bytes], size: int) -> bytes:
    found = b""
    try:
        async for chunk in chunks:
            found += chunk
            if len(found) >= size:
                break
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
    return found


def raw_bytes(pieces: Sequence[Piece], *, last: bool = False) -> bytes:
    """What the pieces were in the log, newlines included; with `last` only the last line of each."""
    parts: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, Fragment):
            parts.append(piece.data + b"\n" * piece.newline)
        else:
            parts += [data + b"\n" for data in (piece.data[-1:] if last else piece.data)]
    return b"".join(parts)


def first_time(pieces: Sequence[Piece]) -> int:
    """The time of the first line, in ns."""
    return pieces[0].time if isinstance(pieces[0], Fragment) else pieces[0].times[0]


def last_time(pieces: Sequence[Piece]) -> int:
    """The time of the last line, in ns."""
    return pieces[-1].time if isinstance(pieces[-1], Fragment) else pieces[-1].times[-1]


async def stamped(read: ReadFrom, offset: int, before: bytes, time: int) -> AsyncGenerator[bytes, None]:
    """The file from `offset` on, in the form of a log read with timestamps, every line at `time` (ns).

    NotTheSame unless the bytes `before` stand right before the offset.
    """
    stamp = _stamp(time)
    begins = True
    async with aclosing(_behind(read(offset - len(before)), before)) as chunks:
        async for chunk in chunks:
            yield (stamp if begins else b"") + chunk[:-1].replace(b"\n", b"\n" + stamp) + chunk[-1:]
            begins = chunk.endswith(b"\n")


async def _behind(chunks: AsyncIterator[bytes], before: bytes) -> AsyncGenerator[bytes, None]:
    """What follows the bytes `before`, with which the chunks must begin."""
    known = b""
    try:
        async for chunk in chunks:
            if len(known) < len(before):
                known += chunk
                chunk = known[len(before) :]
                _compare(known, before)
            if chunk:
                yield chunk
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
    if len(known) < len(before):
        raise NotTheSame


def _compare(known: bytes, before: bytes) -> None:
    if not before.startswith(known[: len(before)]):
        raise NotTheSame


def _stamp(time: int) -> bytes:
    seconds, nanoseconds = divmod(time, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z ".encode()

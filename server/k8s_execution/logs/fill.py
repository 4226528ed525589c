"""A step's output file in place of its log, where the node rotated lines away before they were read.

The agent merges a step's two streams, so file and log are equal byte for byte (docs/agent.md, Output): the file from
the offset of what is stored is exactly what follows it. That is checked before it is believed, by the bytes before
the offset. The file has no times: its lines get that of the line before. It must not run anything in pods: the
reading function is given.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime

SECOND = 1_000_000_000

ReadFrom = Callable[[int], AsyncIterator[bytes]]
"""The output file from a byte offset to its present end; ExecFailed if cut, LogGone if it does not hold the rest."""


class NotTheSame(Exception):
    """The file is not what the log was."""


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

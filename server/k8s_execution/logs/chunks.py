"""The chunks of one read, which can be waited for a while without giving the read up.

It must not know what chunks are: framing and storing are the tail's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable


class Chunks:
    """One reader, one call at a time; `aclose` ends the read."""

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        """Nothing is asked of the source yet."""
        self._source = source
        self._chunks = aiter(source)
        self._waiting: asyncio.Task[bytes | None] | None = None

    async def next(self) -> bytes | None:
        """The next chunk, None at the end, or the source's error."""
        if self._waiting is None:
            return await anext(self._chunks, None)
        chunk = await self._waiting
        self._waiting = None
        return chunk

    async def ready(self, seconds: float) -> bool:
        """Whether the next chunk, the end or an error is there within so many seconds; `next` then gives it."""
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._one())
        await asyncio.wait({self._waiting}, timeout=seconds)
        return self._waiting.done()

    async def aclose(self) -> None:
        """End the read, whatever it is doing."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
            await asyncio.wait({waiting})
            if not waiting.cancelled():
                waiting.exception()  # seen: the read is over
        if isinstance(self._source, AsyncGenerator):
            await self._source.aclose()

    async def _one(self) -> bytes | None:
        return await anext(self._chunks, None)

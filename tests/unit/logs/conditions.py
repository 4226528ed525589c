"""Waiting on conditions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Return as soon as the condition holds; TimeoutError if it does not in that time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is about code that does not know it is waited for
            await asyncio.sleep(0.001)

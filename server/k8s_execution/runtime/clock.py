"""Process time as the operating system gives it; fulfils `ports.clock.Clock`."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Monotonic time and real sleeping."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

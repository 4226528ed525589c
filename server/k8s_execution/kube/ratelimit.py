"""A token bucket with two priorities: what frees resources never waits behind what uses them.

Ordinary requests need a whole token; urgent ones (deletes) may borrow up to one burst ahead. It must not know what a
request is. Apart from `client` so that its arithmetic is tested with a false clock.
"""

from __future__ import annotations

import asyncio

from k8s_execution.ports.clock import Clock


class RateLimiter:
    """At most `rate` requests a second in the long run, `burst` at once."""

    def __init__(self, rate: float, burst: int, clock: Clock) -> None:
        """Start with a full bucket."""
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._tokens = self._burst
        self._filled_at = clock.monotonic()
        # asyncio.Lock wakes in order of arrival, so each class is served first come, first served.
        self._turns = {False: asyncio.Lock(), True: asyncio.Lock()}

    async def acquire(self, *, urgent: bool = False) -> None:
        """Wait for the right to send one request."""
        floor = -self._burst if urgent else 0.0
        async with self._turns[urgent]:
            while True:
                self._fill()
                missing = floor + 1 - self._tokens
                if missing <= 0:
                    break
                await self._clock.sleep(missing / self._rate)
            self._tokens -= 1

    def _fill(self) -> None:
        now = self._clock.monotonic()
        # A sleep may end a hair early; the small surplus keeps the loop above from spinning on rounding.
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate + 1e-9)
        self._filled_at = now

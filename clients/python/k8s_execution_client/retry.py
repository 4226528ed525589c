"""How long and how often to try again when the service does not answer.

A service that has never answered is most likely not there: that is said soon. One that has answered before is most
likely being restarted: runs live longer than the process that serves them, so a client waits for it to come back.
No I/O except the sleep itself.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

FIRST_PATIENCE = 3.0
PATIENCE = 90.0
FIRST_DELAY = 0.1
MAX_DELAY = 2.0


@dataclass(slots=True)
class Patience:
    """One row of failures without an answer between them; seconds throughout."""

    known: bool
    limit: float | None = None
    _began: float | None = field(default=None, init=False)
    _delay: float = field(default=FIRST_DELAY, init=False)

    def answered(self) -> None:
        """The service answered: the next failure begins a new row."""
        self.known = True
        self._began = None
        self._delay = FIRST_DELAY

    async def wait(self) -> bool:
        """Wait before the next try; False when the patience is over."""
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        limit = self.limit if self.limit is not None else (PATIENCE if self.known else FIRST_PATIENCE)
        if now - self._began >= limit:
            return False
        await asyncio.sleep(self._delay * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, guards nothing
        self._delay = min(self._delay * 2, MAX_DELAY)
        return True

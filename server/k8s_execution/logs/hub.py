"""Wakes live followers: one shared future per execution, no queue per follower.

Who waits takes the future *before* looking at the journal, so nothing that is appended between the look and the wait
is missed. It must not hold log data: followers read the journal, so a slow one costs only itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter


class Hub:
    """The wake-ups of one process; used on the event loop only."""

    def __init__(self) -> None:
        """No one waits."""
        self._futures: dict[str, asyncio.Future[None]] = {}
        self._followers: Counter[str] = Counter()

    @property
    def followers(self) -> int:
        """How many live followers there are, over all executions."""
        return self._followers.total()

    def joined(self, execution_id: str) -> None:
        """A follower begins; the flush interval grows with their number."""
        self._followers[execution_id] += 1

    def left(self, execution_id: str) -> None:
        """A follower ends."""
        self._followers[execution_id] -= 1
        if self._followers[execution_id] <= 0:
            del self._followers[execution_id]
            self._futures.pop(execution_id, None)

    def listen(self, execution_id: str) -> asyncio.Future[None]:
        """The future that the next wake-up sets; shared, so wait for it with `asyncio.wait`, never cancel it."""
        future = self._futures.get(execution_id)
        if future is None:
            future = self._futures[execution_id] = asyncio.get_running_loop().create_future()
        return future

    def wake(self, execution_id: str) -> None:
        """Something was appended, sealed or closed."""
        future = self._futures.pop(execution_id, None)
        if future is not None and not future.done():
            future.set_result(None)

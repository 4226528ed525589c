"""A queue of keys: duplicates merge, one worker a key, the sooner timer wins, backoff apart.

Level-triggered work: a key says *what* to look at, never why. A key that is added while a worker holds it is given
out once more after `done`. It must not know what keys mean.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol


class Clock(Protocol):
    """What the queue needs of time."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        ...


@dataclass(slots=True)
class WorkQueue:
    """Keys to work on. `base` and `cap` bound the backoff of failed keys, in seconds."""

    clock: Clock
    base: float = 0.2
    cap: float = 30.0
    _due: dict[str, float] = field(default_factory=dict)
    _heap: list[tuple[float, str]] = field(default_factory=list)
    _held: set[str] = field(default_factory=set)
    _failures: dict[str, int] = field(default_factory=dict)
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    _alarm: asyncio.TimerHandle | None = None

    def add(self, key: str, delay: float = 0.0) -> None:
        """Give the key out after `delay` seconds; an earlier time already set stays."""
        due = self.clock.monotonic() + delay
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        self._call_for_next()

    async def get(self) -> str:
        """The next key that is due and not held by a worker; the caller must call `done` for it."""
        while (key := self._take()) is None:
            await self._wait()
        self._call_for_next()
        return key

    def done(self, key: str) -> None:
        """The worker is through with the key; its backoff starts anew."""
        self._failures.pop(key, None)
        self._release(key)

    def failed(self, key: str) -> None:
        """The worker could not finish: give the key out again after a growing delay."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self._release(key)
        self.add(key, min(self.cap, self.base * 2 ** min(failures - 1, 16)))

    def forget(self, key: str) -> None:
        """Drop all timers and backoff of a key."""
        self._due.pop(key, None)
        self._failures.pop(key, None)

    def _release(self, key: str) -> None:
        self._held.discard(key)
        if key in self._due:
            heapq.heappush(self._heap, (self._due[key], key))
            self._call_for_next()

    def _call_for_next(self) -> None:
        """Have a waiting worker take the next free key: now, or when it is due. One alarm serves all workers."""
        due = self._next_due()
        if due is None or not self._waiting:
            return
        wait = due - self.clock.monotonic()
        if wait <= 0:
            self._wake_one()
            return
        loop = asyncio.get_running_loop()
        if self._alarm is not None:
            if self._alarm.when() <= loop.time() + wait:
                return
            self._alarm.cancel()
        self._alarm = loop.call_later(wait, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._call_for_next()

    def _wake_one(self) -> None:
        """One waiting worker looks again; waking all of them for each key costs more than the work itself."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _wait(self) -> None:
        """Until woken."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._call_for_next()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._call_for_next()  # it was meant for us; another must go
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            self._rest()

    def _rest(self) -> None:
        """Leave no alarm behind where no worker waits; whoever waits next sets it again."""
        if self._alarm is not None and not self._waiting:
            self._alarm.cancel()
            self._alarm = None

    def _take(self) -> str | None:
        """The key that is due, now held; None if none is."""
        due = self._next_due()
        if due is None or due > self.clock.monotonic():
            return None
        _, key = heapq.heappop(self._heap)
        del self._due[key]
        self._held.add(key)
        return key

    def _next_due(self) -> float | None:
        """When the next free key is due; what was superseded, or is held and pushed again later, is dropped."""
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) == due and key not in self._held:
                return due
            heapq.heappop(self._heap)
        return None

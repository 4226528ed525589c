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

    def add(self, key: str, delay: float = 0.0) -> None:
        """Give the key out after `delay` seconds; an earlier time already set stays."""
        due = self.clock.monotonic() + delay
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        self._wake_one()

    async def get(self) -> str:
        """The next key that is due and not held by a worker; the caller must call `done` for it."""
        while True:
            key, wait = self._next()
            if key is not None:
                self._wake_one()  # somebody must watch the timers that are left
                return key
            await self._sleep(wait)

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
            self._wake_one()

    def _wake_one(self) -> None:
        """One waiting worker looks again; waking all of them for each key costs more than the work itself."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _sleep(self, seconds: float | None) -> None:
        """Until woken, or until the next timer is due."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await asyncio.wait({waiter}, timeout=seconds)
        except asyncio.CancelledError:
            if waiter.done():
                self._wake_one()  # it was meant for us; another must go
            raise
        finally:
            if not waiter.done():
                self._waiting.remove(waiter)

    def _next(self) -> tuple[str | None, float | None]:
        now = self.clock.monotonic()
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) != due or key in self._held:
                heapq.heappop(self._heap)  # superseded, or pushed again by `_release`
                continue
            if due > now:
                return None, due - now
            heapq.heappop(self._heap)
            del self._due[key]
            self._held.add(key)
            return key, None
        return None, None

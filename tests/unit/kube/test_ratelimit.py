"""The token bucket and its two priorities."""

from __future__ import annotations

import asyncio

from k8s_execution.kube.ratelimit import RateLimiter
from unit.kube.conftest import FalseClock


async def test_a_burst_passes_and_then_the_rate_holds() -> None:
    """Ten at once, then one every tenth of a second."""
    clock = FalseClock()
    limiter = RateLimiter(10, 10, clock)
    for _ in range(10):
        await limiter.acquire()
    assert clock.now == 1000.0
    for _ in range(10):
        await limiter.acquire()
    assert round(clock.now - 1000.0, 3) == 1.0


async def test_a_delete_does_not_wait_for_an_empty_bucket() -> None:
    """Urgent requests borrow; ordinary ones pay it back first."""
    clock = FalseClock()
    limiter = RateLimiter(10, 5, clock)
    for _ in range(5):
        await limiter.acquire()
    for _ in range(5):
        await limiter.acquire(urgent=True)
    assert clock.now == 1000.0
    await limiter.acquire()
    assert round(clock.now - 1000.0, 3) == 0.6


async def test_borrowing_has_an_end() -> None:
    """Deletes are limited too, in the long run to the same rate."""
    clock = FalseClock()
    limiter = RateLimiter(10, 5, clock)
    for _ in range(20):
        await limiter.acquire(urgent=True)
    assert round(clock.now - 1000.0, 3) == 1.0


async def test_waiting_ordinary_requests_do_not_hold_up_a_delete() -> None:
    """A queue of creates is overtaken."""
    clock = FalseClock()
    limiter = RateLimiter(1, 1, clock)
    await limiter.acquire()
    order: list[str] = []

    async def ask(name: str, urgent: bool) -> None:
        await limiter.acquire(urgent=urgent)
        order.append(name)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask("create 1", False))
        tasks.create_task(ask("create 2", False))
        tasks.create_task(ask("delete", True))
    assert order[0] == "delete"

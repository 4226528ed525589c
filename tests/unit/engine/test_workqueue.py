"""The queue of keys: merging, one worker a key, the sooner timer, backoff."""

from __future__ import annotations

import asyncio

from k8s_execution.engine.workqueue import WorkQueue


class ManualClock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        """Start at zero."""
        self.time = 0.0

    def monotonic(self) -> float:
        """The time set last."""
        return self.time


async def ready(queue: WorkQueue) -> str | None:
    """The key that is due now, None if there is none."""
    task = asyncio.ensure_future(queue.get())
    for _ in range(3):
        await asyncio.sleep(0)
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


async def test_duplicates_merge() -> None:
    """A key that is added twice is given out once."""
    queue = WorkQueue(ManualClock())
    queue.add("a")
    queue.add("a")
    assert await ready(queue) == "a"
    queue.done("a")
    assert await ready(queue) is None


async def test_a_held_key_is_given_out_again_after_done() -> None:
    """What happens while a worker looks is not lost, and no second worker gets the key."""
    queue = WorkQueue(ManualClock())
    queue.add("a")
    assert await ready(queue) == "a"
    queue.add("a")
    assert await ready(queue) is None
    queue.done("a")
    assert await ready(queue) == "a"


async def test_the_sooner_timer_wins() -> None:
    """A later timer does not push an earlier one back, an earlier one replaces a later."""
    clock = ManualClock()
    queue = WorkQueue(clock)
    queue.add("a", 10.0)
    queue.add("a", 2.0)
    queue.add("a", 5.0)
    clock.time = 2.0
    assert await ready(queue) == "a"
    queue.done("a")
    clock.time = 20.0
    assert await ready(queue) is None


async def test_backoff_grows_and_ends_with_success() -> None:
    """Each failure doubles the pause; `done` starts anew."""
    clock = ManualClock()
    queue = WorkQueue(clock, base=1.0)
    for pause in (1.0, 2.0, 4.0):
        queue.add("a")
        assert await ready(queue) == "a"
        queue.failed("a")
        assert await ready(queue) is None
        clock.time += pause
    assert await ready(queue) == "a"
    queue.done("a")
    queue.add("a")
    assert await ready(queue) == "a"
    queue.failed("a")
    clock.time += 1.0
    assert await ready(queue) == "a"

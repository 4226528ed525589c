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


class LoopClock:
    """The event loop's own clock."""

    def monotonic(self) -> float:
        """Seconds of the loop."""
        return asyncio.get_running_loop().time()


async def waiting(queue: WorkQueue, count: int) -> list[asyncio.Task[str]]:
    """Workers that wait for a key."""
    tasks = [asyncio.create_task(queue.get()) for _ in range(count)]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def ended(tasks: list[asyncio.Task[str]]) -> None:
    """Cancel those that still wait."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_every_key_finds_one_of_many_waiting_workers() -> None:
    """One key wakes one worker, and none is forgotten."""
    queue = WorkQueue(ManualClock())
    tasks = await waiting(queue, 8)
    for key in "abcde":
        queue.add(key)
    async with asyncio.timeout(60):
        found = [await task for task in asyncio.as_completed(tasks[:5])]
    assert sorted(found) == list("abcde")
    await ended(tasks)


async def test_a_worker_that_is_cancelled_when_it_was_woken_leaves_the_key_to_another() -> None:
    """Its wake-up goes on to the next."""
    queue = WorkQueue(ManualClock())
    first, second = await waiting(queue, 2)
    queue.add("a")
    first.cancel()
    async with asyncio.timeout(60):
        assert await second == "a"
    await ended([first])


async def test_a_timer_is_watched_though_the_worker_that_heard_of_it_took_another_key() -> None:
    """A later key is given out in time also if nothing else happens."""
    queue = WorkQueue(LoopClock())
    tasks = await waiting(queue, 2)
    queue.add("later", 0.05)
    queue.add("now")
    async with asyncio.timeout(60):
        assert sorted(await asyncio.gather(*tasks)) == ["later", "now"]


async def test_a_key_that_is_free_again_wakes_a_worker() -> None:
    """It was added while somebody held it."""
    queue = WorkQueue(ManualClock())
    queue.add("a")
    assert await ready(queue) == "a"
    (task,) = await waiting(queue, 1)
    queue.add("a")
    queue.done("a")
    async with asyncio.timeout(60):
        assert await task == "a"


async def test_a_key_that_is_due_sooner_moves_the_alarm() -> None:
    """All workers wait for a later one."""
    queue = WorkQueue(LoopClock())
    tasks = await waiting(queue, 2)
    queue.add("later", 300.0)
    queue.add("soon", 0.05)
    async with asyncio.timeout(60):
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == ["soon"]
    await ended(tasks)

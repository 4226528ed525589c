"""Operations beside the loop: one of a name at a time, a pause after a failure, an end that is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from k8s_execution.domain.faults import Stale
from k8s_execution.engine.operations import Operations
from k8s_execution.ports.cluster import Unreachable
from unit.engine.made import ManualClock


@dataclass(slots=True)
class Bench:
    """Operations on a clock of their own, and the wake-ups they asked for."""

    operations: Operations
    clock: ManualClock
    wakes: list[tuple[str, float]] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with asyncio.TaskGroup() as group:
        clock = ManualClock()
        wakes: list[tuple[str, float]] = []
        stale: list[str] = []
        operations = Operations(group, clock, lambda key, delay: wakes.append((key, delay)), stale.append)
        made = Bench(operations, clock, wakes, stale)
        yield made
        await made.operations.close()


async def settled(bench: Bench, wakes: int) -> None:
    """Until so many wake-ups were asked for."""
    async with asyncio.timeout(5):
        while len(bench.wakes) < wakes:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)


async def test_an_operation_that_runs_is_not_started_again(bench: Bench) -> None:
    started: list[int] = []
    go_on = asyncio.Event()

    async def work(failures: int) -> None:
        started.append(failures)
        await go_on.wait()

    for _ in range(3):
        bench.operations.start("e", "collect", work)
    bench.operations.start("e", "seal", work)
    go_on.set()
    await settled(bench, 2)
    assert started == [0, 0]
    assert bench.wakes == [("e", 0.0), ("e", 0.0)]


async def test_a_failed_operation_waits_longer_each_time_and_is_told_how_often_it_failed(bench: Bench) -> None:
    told: list[int] = []

    async def work(failures: int) -> None:
        told.append(failures)
        if failures < 2:
            raise Unreachable("no answer")

    for expected in ((0.5,), (0.5, 1.0), (0.5, 1.0, 0.0)):
        bench.operations.start("e", "collect", work)
        await settled(bench, len(expected))
        assert tuple(delay for _, delay in bench.wakes) == expected
        bench.clock.time += expected[-1]
    assert told == [0, 1, 2]


async def test_an_operation_is_not_started_before_its_pause_is_over(bench: Bench) -> None:
    started: list[int] = []

    async def work(failures: int) -> None:
        started.append(failures)
        raise Unreachable("no answer")

    bench.operations.start("e", "collect", work)
    await settled(bench, 1)
    bench.operations.start("e", "collect", work)
    assert started == [0]
    assert bench.wakes == [("e", 0.5), ("e", 0.5)]


async def test_a_defect_is_contained_and_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async def work(_failures: int) -> None:
        raise ZeroDivisionError

    bench.operations.start("e", "collect", work)
    await settled(bench, 1)
    assert "met a defect" in caplog.text


async def test_a_record_that_moved_on_is_no_failure(bench: Bench) -> None:
    async def work(_failures: int) -> None:
        raise Stale("another epoch")

    bench.operations.start("e", "collect", work)
    await settled(bench, 1)
    assert bench.wakes == [("e", 0.0)]
    assert bench.stale == ["e"]


async def test_what_is_to_happen_once_does_not_happen_again(bench: Bench) -> None:
    started: list[int] = []

    async def work(failures: int) -> None:
        started.append(failures)

    bench.operations.start("e", "stop", work, once=True)
    await settled(bench, 1)
    bench.operations.start("e", "stop", work, once=True)
    assert started == [0]


async def test_closing_waits_until_every_operation_has_cleaned_up(bench: Bench) -> None:
    ended: list[str] = []
    running = asyncio.Event()

    async def work(_failures: int) -> None:
        try:
            running.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    bench.operations.start("e", "collect", work)
    await running.wait()
    await bench.operations.close()
    assert ended == ["cleaned up"]

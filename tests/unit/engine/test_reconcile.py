"""The dull loop: what wakes it, whose executions it works on, and that one key's trouble is that key's alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from k8s_execution.domain.execution import Cluster, ClusterKind, Execution
from k8s_execution.domain.faults import Stale
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.verdict import Code
from k8s_execution.engine.known import KnownRecords
from k8s_execution.engine.operations import Operations
from k8s_execution.engine.reconcile import Reconciler
from k8s_execution.engine.workqueue import WorkQueue
from k8s_execution.ports.cluster import Unreachable
from k8s_execution.runtime.clock import SystemClock
from k8s_execution.runtime.threads import Threads
from support import build
from unit.engine.made import Creations, Engine, Records

PATIENCE = 60.0
OTHER = "b" * len(build.ID)


@dataclass
class Loop:
    """A loop that runs over stand-ins."""

    engine: Engine
    queue: WorkQueue = field(default_factory=lambda: WorkQueue(SystemClock(), base=0.01, cap=0.05))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Until the context is left; the loop has ended then."""
        async with asyncio.TaskGroup() as group:
            tools, clock = self.engine.tools(), SystemClock()
            records = KnownRecords(tools.store, clock)
            operations = Operations(group, clock, self.queue.add, records.forget)
            task = group.create_task(Reconciler(tools, self.queue, operations, records).run(workers=2))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.wait({task})
                await operations.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the loop does."""
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.005)

    def execution(self, key: str = build.ID) -> Execution:
        """As it is stored now."""
        return self.engine.store.executions[key]


@pytest.fixture
def threads() -> Iterator[Threads]:
    """The pool."""
    with ThreadPoolExecutor(2) as pool:
        yield Threads(pool)


def loop(threads: Threads, *executions: Execution, **answers: list[Exception]) -> Loop:
    """A loop over these executions; `answers` are what creates of a kind meet first."""
    return Loop(Engine(threads, Records.of(*executions), Creations(answers)))


def cancelled(**given: object) -> Execution:
    """One that waits and was cancelled: the next look ends it."""
    return build.execution(None, Phase.QUEUED, cancel_requested=True, **given)


def beginning(**given: object) -> Execution:
    """One in PROVISIONING without a namespace: the next look makes it."""
    nothing = {"namespace_uid": "", "expires_at": None, "foundation_created": False}
    return build.execution(None, Phase.PROVISIONING, **{**nothing, **given})


async def test_a_change_of_the_record_is_looked_at(threads: Threads) -> None:
    """The store wakes the loop after each commit, and the loop's own writes wake it again."""
    made = loop(threads, build.execution())
    async with made.running():
        await made.until(lambda: bool(made.engine.store.listeners))
        await made.engine.store.change(build.ID, lambda e, _now: replace(e, cancel_requested=True), epoch=1)
        await made.until(lambda: made.execution().phase is Phase.COLLECTING)
    failure = made.execution().failure
    assert failure is not None
    assert failure.code is Code.CANCELLED_BY_USER


async def test_a_fact_of_the_cluster_is_looked_at(threads: Threads) -> None:
    """Whatever it is: the loop looks at everything anew."""
    made = loop(threads, cancelled())
    async with made.running():
        await made.until(lambda: bool(made.engine.cluster.listeners))
        for listener in made.engine.cluster.listeners:
            listener(build.ID)
        await made.until(lambda: made.execution().phase is Phase.COLLECTING)


async def test_listeners_go_with_the_loop(threads: Threads) -> None:
    """Else a stopped replica would be told for ever."""
    made = loop(threads, cancelled())
    async with made.running():
        await made.until(lambda: bool(made.engine.store.listeners and made.engine.cluster.listeners))
    assert (made.engine.store.listeners, made.engine.cluster.listeners) == ([], [])


async def test_executions_of_others_are_left_alone(threads: Threads) -> None:
    """And keys that no row accounts for, which are the sweep's."""
    made = loop(threads, cancelled(owner="another"), cancelled(id=OTHER))
    made.queue.add(build.ID)
    made.queue.add("nobody's")
    made.queue.add(OTHER)
    async with made.running():
        await made.until(lambda: made.execution(OTHER).phase is Phase.COLLECTING)
        await made.until(lambda: {build.ID, "nobody's"} <= set(made.engine.store.reads))
    assert made.execution() == cancelled(owner="another")


async def test_a_silent_cluster_is_asked_again_after_a_pause(
    threads: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    """Until it answers; each time is told."""
    made = loop(threads, beginning(), Namespace=[Unreachable("no answer")] * 3)
    made.queue.add(build.ID)
    with caplog.at_level(logging.WARNING):
        async with made.running():
            await made.until(lambda: bool(made.execution().namespace_uid))
    assert made.engine.cluster.created[:4] == ["Namespace"] * 4
    assert caplog.text.count(f"execution {build.ID} waits: no answer") == 3


async def test_a_record_that_moved_on_is_read_again_at_once(threads: Threads) -> None:
    """Another writer was first: decide anew, without a pause and without a word."""
    made = loop(threads, cancelled())
    made.engine.store.faults = [Stale("another revision")]
    made.queue.add(build.ID)
    async with made.running():
        await made.until(lambda: made.execution().phase is Phase.COLLECTING)
    assert made.engine.store.reads[:2] == [build.ID, build.ID]


async def test_a_defect_in_one_execution_does_not_end_the_others(
    threads: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and tried again."""
    made = loop(threads, beginning(), cancelled(id=OTHER), Namespace=[ZeroDivisionError("a defect")])
    made.queue.add(build.ID)
    made.queue.add(OTHER)
    async with made.running():
        await made.until(lambda: made.execution(OTHER).phase is Phase.COLLECTING)
        await made.until(lambda: bool(made.execution().namespace_uid))
    assert f"execution {build.ID} met a defect" in caplog.text


async def test_an_execution_of_a_cluster_that_is_gone_is_ended(threads: Threads) -> None:
    """A simulated cluster that died with its process: nothing of it is asked for."""
    elsewhere = Cluster(ClusterKind.SIMULATED, "v1", "another-uid", private=True)
    made = loop(threads, build.execution(phase=Phase.TESTING, cluster=elsewhere))
    made.queue.add(build.ID)
    async with made.running():
        await made.until(lambda: made.execution().failure is not None)
    failure = made.execution().failure
    assert failure is not None
    assert failure.code is Code.CLUSTER_LOST
    assert made.engine.cluster.created == []


async def test_what_is_done_is_forgotten_once(threads: Threads) -> None:
    """Later wake-ups of it, which the cluster's last facts bring, do nothing."""
    made = loop(threads, build.execution(phase=Phase.CLEANING, namespace_deleted=True))
    made.queue.add(build.ID)
    async with made.running():
        await made.until(lambda: made.execution().phase is Phase.DONE and bool(made.engine.logs.forgotten))
        reads = len(made.engine.store.reads)
        made.queue.add(build.ID)
        await made.until(lambda: len(made.engine.store.reads) > reads)
        await made.until(lambda: not made.queue._held)
    assert set(made.engine.logs.forgotten) == {build.ID}
    assert len(made.engine.logs.forgotten) <= 2


async def test_a_fact_without_a_change_of_the_record_costs_no_read(threads: Threads) -> None:
    """A cluster tells several facts for each change of the record."""
    made = loop(threads, build.execution(None, Phase.QUEUED))
    async with made.running():
        await made.until(lambda: bool(made.engine.cluster.listeners))
        for looks in range(5):
            made.engine.cluster.listeners[0](build.ID)
            await made.until(lambda: made.engine.logs.looks > looks)  # noqa: B023 - awaited at once
    assert made.engine.store.reads == [build.ID]

"""The dull loop: take a key, read the record and the facts, decide, write, act, look again later.

Several workers share one queue; a key is held by one at a time. A worker contains the faults of its key; the loop
itself ends only with the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.facts import Observed
from k8s_execution.domain.faults import Fault, NotFound, Stale
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.engine.actions import Plan
from k8s_execution.engine.actuate import Actuator
from k8s_execution.engine.decide import decide
from k8s_execution.engine.known import KnownRecords
from k8s_execution.engine.operations import Operations
from k8s_execution.engine.tools import Tools
from k8s_execution.engine.workqueue import WorkQueue
from k8s_execution.ports.cluster import Unreachable

log = logging.getLogger(__name__)

WORKERS = 64
"""Keys at work side by side. A worker mostly waits for the API server, which answers slowly when many start at once."""


class Reconciler:
    """Works off executions that this replica owns."""

    def __init__(self, tools: Tools, queue: WorkQueue, operations: Operations, records: KnownRecords) -> None:
        """Take the adapters, the queue of keys, the place where operations run, and the records at work."""
        self._tools = tools
        self._queue = queue
        self._known = records
        self._actuator = Actuator(tools, operations, records)

    async def run(self, workers: int = WORKERS) -> None:
        """Work until cancelled."""
        unsubscribe = self._subscribe()
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(workers):
                    group.create_task(self._work(), name=f"reconcile worker {number}")
        finally:
            unsubscribe()

    def _subscribe(self) -> Callable[[], None]:
        from_store = self._tools.store.subscribe(self._changed)
        from_cluster = self._tools.cluster.subscribe(self._queue.add)

        def cancel() -> None:
            from_store()
            from_cluster()

        return cancel

    def _changed(self, key: str) -> None:
        self._known.changed(key)
        self._queue.add(key)

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._look(key)
                self._queue.done(key)
            except Stale:
                self._known.forget(key)
                self._queue.done(key)
                self._queue.add(key)
            except (Unreachable, Fault) as fault:
                log.warning("execution %s waits: %s", key, fault)
                self._known.forget(key)
                self._queue.failed(key)
            except Exception:  # a supervised border: one execution's defect must not end the others
                log.exception("execution %s met a defect", key)
                self._known.forget(key)
                self._queue.failed(key)

    async def _look(self, key: str) -> None:
        try:
            execution = await self._known.get(key)
        except NotFound:
            return  # an object with our label that no row accounts for: the sweep's business
        if execution.owner != self._tools.store.owner or (
            execution.phase is Phase.DONE and not self._tools.maskers.knows(key)
        ):
            self._known.forget(key)
            return
        now = await self._tools.store.now()
        observed = self._observe(execution)
        self._tools.logs.observe(key, observed.pods, await self._tools.maskers.load(execution))
        plan = decide(execution, replace(observed, unread=self._tools.logs.unread(key)), now)
        execution = await self._record(execution, plan)
        await self._actuator.run(execution, plan.actions)
        if execution.phase is Phase.DONE:
            self._tools.maskers.forget(key)
            self._known.forget(key)
            self._queue.forget(key)
        elif plan.wake_at is not None:
            self._queue.add(key, max(0.05, (plan.wake_at - now) / 1e6))

    def _observe(self, execution: Execution) -> Observed:
        cluster = self._tools.cluster
        if execution.cluster.uid != cluster.identity.uid:
            return Observed(synced=True, cluster_lost=True)
        return replace(
            cluster.observe(execution.id),
            events=self._actuator.events(execution.id),
        )

    async def _record(self, execution: Execution, plan: Plan) -> Execution:
        if plan.execution == execution:
            return execution
        return await self._known.change(
            execution.id, lambda _current, _now: plan.execution, epoch=execution.epoch, revision=execution.revision
        )

"""Whose executions are ours: adoption of those whose owner is dead, and admission of those that wait.

Two supervised loops, woken by changes and by a slow timer; what they find goes to the work queue as keys. A store that
does not answer for a while (a full disk, a lock) is waited for; any other fault ends the loop, and with it the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.faults import StoreUnavailable
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.engine import admission
from k8s_execution.engine.ending import enter
from k8s_execution.ports.clock import Clock
from k8s_execution.ports.store import Choice, Store

log = logging.getLogger(__name__)

ADOPT_EVERY = 2.0
ADMIT_EVERY = 5.0
ADMIT_PAUSE = 0.02
"""Between two looks for who waits: every change of any execution asks for one, and one serves all of 20 ms."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Adopts and admits for one replica. `wake` puts an execution on the work queue."""

    store: Store
    clock: Clock
    cluster_uid: str
    wake: Callable[[str], None]

    async def adopt_for_ever(self) -> None:
        """Take what a dead owner left, now and every few seconds; executions of a vanished simulation too."""
        for key in await self.store.owned():
            self.wake(key)
        while True:
            try:
                await self._adopt()
            except StoreUnavailable as fault:
                log.warning("nothing can be adopted now: %s", fault)
            await self.clock.sleep(ADOPT_EVERY)

    async def admit_for_ever(self, cap: int) -> None:
        """Let waiting executions in while the cap has room."""
        changed = asyncio.Event()
        unsubscribe = self.store.subscribe(lambda _key: changed.set())
        choose = admission.chooser(cap)
        try:
            while True:
                changed.clear()
                await self._admit(choose)
                await self.clock.sleep(ADMIT_PAUSE)
                await self._wait(changed)
        finally:
            unsubscribe()

    async def _adopt(self) -> None:
        for execution in await self.store.adopt(self.cluster_uid):
            self.wake(execution.id)
        for execution in await self.store.adopt_stranded(self.cluster_uid):
            self.wake(execution.id)

    async def _admit(self, choose: Choice) -> None:
        try:
            await self.store.admit(choose, _admitted, owner=self.store.owner)
        except StoreUnavailable as fault:
            log.warning("nobody can be admitted now: %s", fault)

    async def _wait(self, changed: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(ADMIT_EVERY):
                await changed.wait()
        except TimeoutError:
            pass  # another process that shares the store may have freed room


def _admitted(execution: Execution, now: int) -> Execution:
    return enter(execution, Phase.PROVISIONING, now) if execution.phase is Phase.QUEUED else execution

"""Long operations of executions: one of a name at a time, retried with backoff, never waited for by the loop.

An operation is level-triggered like the rest: a decision asks for it as long as it is needed, a running one is not
started again, one that failed is not started before its pause is over. Its success shows in the record it writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from k8s_execution.domain.faults import Fault, NotFound, Stale
from k8s_execution.ports.clock import Clock
from k8s_execution.ports.cluster import ExecFailed, Unreachable

log = logging.getLogger(__name__)

Work = Callable[[int], Awaitable[None]]
"""The operation; its argument counts the failures so far, so that it can settle for less at last."""


@dataclass(slots=True)
class _State:
    task: asyncio.Task[None] | None = None
    failures: int = 0
    not_before: float = 0.0
    settled: bool = False


@dataclass(slots=True)
class Operations:
    """The operations of all executions; tasks live in `group`, `wake(key, delay)` asks for another look.

    `stale(key)` is told of a write that was refused because the record had moved on, before the look.
    """

    group: asyncio.TaskGroup
    clock: Clock
    wake: Callable[[str, float], None]
    stale: Callable[[str], None]
    base: float = 0.5
    cap: float = 10.0
    _states: dict[str, dict[str, _State]] = field(default_factory=dict)

    def start(self, key: str, name: str, work: Work, *, once: bool = False) -> None:
        """Start the operation unless it runs, pauses after a failure, or (with `once`) succeeded before."""
        state = self._states.setdefault(key, {}).setdefault(name, _State())
        if state.task is not None or (once and state.settled):
            return
        pause = state.not_before - self.clock.monotonic()
        if pause > 0:
            self.wake(key, pause)
            return
        state.task = self.group.create_task(self._run(key, name, state, work), name=f"{name} of {key}")

    def forget(self, key: str) -> None:
        """Cancel and forget everything of an execution that is done or no longer ours."""
        for state in self._states.pop(key, {}).values():
            if state.task is not None and state.task is not asyncio.current_task():
                state.task.cancel()

    async def close(self) -> None:
        """Cancel and forget everything, and wait until it has ended: this replica stops working."""
        running = [s.task for states in self._states.values() for s in states.values() if s.task is not None]
        for key in list(self._states):
            self.forget(key)
        if running:
            await asyncio.wait(running)

    async def _run(self, key: str, name: str, state: _State, work: Work) -> None:
        try:
            await work(state.failures)
            state.failures, state.settled = 0, True
            self.wake(key, 0.0)
        except (Stale, NotFound):
            self.stale(key)
            self.wake(key, 0.0)  # another owner or a newer record: the next look decides
        except (ExecFailed, Unreachable, Fault, OSError) as fault:
            self._failed(key, name, state, fault)
        except Exception as defect:  # a supervised border: one operation's defect must not end the others
            log.exception("operation %s of %s met a defect", name, key)
            self._failed(key, name, state, defect)
        finally:
            state.task = None

    def _failed(self, key: str, name: str, state: _State, fault: Exception) -> None:
        state.failures += 1
        pause = min(self.cap, self.base * 2 ** min(state.failures - 1, 8))
        state.not_before = self.clock.monotonic() + pause
        log.warning("operation %s of %s failed (%d times): %s", name, key, state.failures, fault)
        self.wake(key, pause)

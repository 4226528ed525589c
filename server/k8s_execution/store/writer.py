"""The one writer: transactions one after another, in a task that the store owns.

A caller that is cancelled leaves its transaction to run to its end (measured: a cancelled insert may commit), so the
wake-up after the commit is the writer's business, not the caller's. It must not know tables.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from k8s_execution.domain.faults import Fault, Stale, StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")
Changed = set[str]
"""Ids of the executions that a transaction changed; filled by the transaction, told after its commit."""

Transaction = Callable[[AsyncConnection, Changed], Awaitable[T]]
_Job = tuple[Transaction[Any], "asyncio.Future[Any]"]


class Writer:
    """Runs write transactions in order; `notify` is called for each changed execution after the commit."""

    def __init__(self, engine: AsyncEngine, notify: Callable[[str], None]) -> None:
        """Start with an empty queue; `run` works it off."""
        self._engine = engine
        self._notify = notify
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._run(), name="store writer")

    async def write(self, transaction: Transaction[T]) -> T:
        """The transaction's result after its commit; its fault if it raised one, then nothing was written."""
        if self._task.done():
            raise StoreUnavailable("the store is closed")
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait((transaction, outcome))
        return await asyncio.shield(outcome)

    async def close(self) -> None:
        """Work off what is queued, then end."""
        self._jobs.put_nowait(None)
        await self._task

    async def _run(self) -> None:
        while (job := await self._jobs.get()) is not None:
            transaction, outcome = job
            changed: Changed = set()
            try:
                async with self._engine.begin() as connection:
                    result = await transaction(connection, changed)
            except (Fault, Stale) as fault:
                _settle(outcome, fault)
                continue
            except (OperationalError, DBAPIError) as error:
                log.warning("a write transaction failed: %s", type(error).__name__)
                unavailable = StoreUnavailable("the store cannot write now", "try again")
                unavailable.__cause__ = error
                _settle(outcome, unavailable)
                continue
            except Exception as defect:  # noqa: BLE001 - supervised border: a defect is its caller's, not the next one's
                _settle(outcome, defect)
                continue
            if not outcome.done():
                outcome.set_result(result)
            for execution_id in changed:
                self._notify(execution_id)


def _settle(outcome: asyncio.Future[Any], fault: Exception) -> None:
    outcome.set_exception(fault)
    outcome.exception()  # a caller that was cancelled never asks; the fault is not "never retrieved"

"""Follows one execution to its end: events and logs side by side, and what Ctrl-C means meanwhile.

The first SIGINT or SIGTERM asks the service to cancel and clean up and goes on following; the second leaves.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import CLEANING, DONE, Execution
from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_service_pb2 import StreamLogsRequest
from k8s_execution_client.cli.border import say
from k8s_execution_client.cli.log_lines import LogLines
from k8s_execution_client.cli.progress import Progress
from k8s_execution_client.client import ExecutionClient

LOGS_AFTER_END = 10.0
Ended = Callable[[Execution], bool]


class Interrupts:
    """Counts signals; `next` waits for the next one."""

    def __init__(self) -> None:
        """None came yet."""
        self._waiting: asyncio.Queue[None] = asyncio.Queue()

    async def next(self) -> None:
        """Return when a signal came that was not returned before."""
        await self._waiting.get()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """SIGINT and SIGTERM are counted instead of ending the process."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self._waiting.put_nowait, None)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


def is_over(execution: Execution) -> bool:
    """DONE."""
    return execution.phase == DONE


def has_verdict(execution: Execution) -> bool:
    """The verdict is fixed; the environment may still be there."""
    return execution.phase in {CLEANING, DONE}


async def follow(client: ExecutionClient, execution_id: str, ended: Ended, interrupts: Interrupts) -> bool:
    """Tell events and logs on stderr until `ended`; False when the user left before."""
    events = asyncio.create_task(_events(client, execution_id, ended), name="events")
    logs = asyncio.create_task(_logs(client, execution_id), name="logs")
    stopper = asyncio.create_task(_interrupted(client, execution_id, interrupts), name="interrupts")
    try:
        await asyncio.wait({events, stopper}, return_when=asyncio.FIRST_COMPLETED)
        if not events.done():
            stopper.result()
            return False
        events.result()
        done, _ = await asyncio.wait({logs, stopper}, timeout=LOGS_AFTER_END, return_when=asyncio.FIRST_COMPLETED)
        if logs in done:
            logs.result()
        return True
    finally:
        await _end(events, logs, stopper)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _events(client: ExecutionClient, execution_id: str, ended: Ended) -> None:
    progress = Progress(say)
    async with aclosing(client.watch(execution_id)) as events:
        async for event in events:
            progress.event(event)
            if ended(event.execution):
                return


async def _logs(client: ExecutionClient, execution_id: str) -> None:
    lines = LogLines(lambda line: say(line.removesuffix("\n")), say, prefix=True)
    request = StreamLogsRequest(execution_id=execution_id, follow=True)
    async with aclosing(client.stream_logs(request)) as batches:
        async for batch in batches:
            lines.batch(batch)


async def _interrupted(client: ExecutionClient, execution_id: str, interrupts: Interrupts) -> None:
    """Return at the second signal."""
    await interrupts.next()
    say("cancelling and cleaning up; once more leaves it to the service")
    asking = asyncio.create_task(client.cleanup(execution_id), name="cleanup")
    second = asyncio.create_task(interrupts.next(), name="second signal")
    try:
        await asyncio.wait({asking, second}, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            asking.result()
            await second
    finally:
        await _end(asking, second)

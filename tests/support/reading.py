"""Reading an execution's log in tests: the whole of it, one step's lines, or up to a line that says where a run is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from k8s_execution.domain import naming
from support.service import PATIENCE, Service


async def step_lines(service: Service, execution_id: str) -> list[str]:
    """What the steps' own containers wrote, from the log that is kept."""
    batches = [b async for b in service.logs(execution_id, follow=False)]
    return [line.text for b in batches if b.stream.container == naming.STEP_CONTAINER for line in b.lines]


def difference(lines: Sequence[str], expected: Sequence[str]) -> str:
    """Where the first of two long logs leaves the other, in a line; empty if it does not."""
    if lines == expected:
        return ""
    at = next(
        (i for i, (a, b) in enumerate(zip(lines, expected, strict=False)) if a != b), min(len(lines), len(expected))
    )
    return f"{len(lines)} lines, not {len(expected)}; line {at} is {lines[at : at + 1]}, not {expected[at : at + 1]}"


async def until_printed(service: Service, execution_id: str, text: str, patience: float = PATIENCE) -> None:
    """Wait until this line is in the live log."""
    logs: Any = service.logs(execution_id)
    async with asyncio.timeout(patience), aclosing(logs):
        async for batch in logs:
            if any(line.text == text for line in batch.lines):
                return
    raise AssertionError(f"{text!r} was never printed\n{service.tail()}")

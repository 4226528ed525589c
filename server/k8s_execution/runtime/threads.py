"""Work that would hold the event loop for longer than its budget, on the process's one bounded pool of threads.

The loop may be held for 2 ms a step; rendering a dozen manifests or judging a large plan takes longer. It must not
know what the work is. A caller that is cancelled leaves the work to end by itself, so it must be pure or repeatable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Threads:
    """Runs functions on a pool; what they raise is raised here."""

    executor: Executor

    async def run(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """The result of `work`, worked out on a thread."""
        call = partial(work, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self.executor, call)

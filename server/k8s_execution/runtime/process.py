"""What a process of its own arranges with the system: its signals, its threads' turns. An embedded service touches
neither; `garbage` has its memory.

It must not know what the process does.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH_SECONDS = 0.001
"""How long a thread may keep the interpreter from the event loop; Python's default of 5 ms is over its budget."""


def share_fairly() -> None:
    """Let the event loop have the interpreter back soon while threads compute."""
    sys.setswitchinterval(SWITCH_SECONDS)


@contextmanager
def ended_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` at SIGTERM or SIGINT, until the context is left."""
    loop = asyncio.get_running_loop()
    chosen = (signal.SIGTERM, signal.SIGINT)
    for number in chosen:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in chosen:
            loop.remove_signal_handler(number)

"""This machine's wall clock as time that may be reckoned with: it never goes back and never stands still.

Steps forward of the wall clock are followed, steps back are not (until the process ends), so differences of two
readings are never negative and a deadline is never put off. It is apart from `runtime.clock`, which only waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# CLOCK_BOOTTIME also counts while the machine sleeps; where there is none, CLOCK_MONOTONIC is the next best.
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _boot_ns() -> int:
    return time.clock_gettime_ns(_BOOT)


class HostClock:
    """Microseconds since the epoch; may be asked from any thread. `wall` and `elapsed` give nanoseconds."""

    def __init__(self, wall: Callable[[], int] = time.time_ns, elapsed: Callable[[], int] = _boot_ns) -> None:
        """Anchor the wall clock to the time since boot."""
        self._wall = wall
        self._elapsed = elapsed
        self._offset = wall() - elapsed()
        self._lock = threading.Lock()

    def now(self) -> int:
        """The time now, never less than an earlier answer."""
        with self._lock:
            elapsed = self._elapsed()
            self._offset = max(self._offset, self._wall() - elapsed)
            return (elapsed + self._offset) // 1000

"""Whether a follow may have fallen so far behind that the node can rotate lines away in the middle of it; pure.

A kubelet looks at a log's size every few seconds (`containerLogMonitorInterval`, 3 s at the least:
pkg/kubelet/apis/config/validation), and a reader still holds the file that is renamed under it; so only who is behind
by more than a look loses a file unseen. How far behind is the time since the newest line was written, by two clocks;
their offset is known from a line that came after a wait, when there was nothing to read. Until then they are taken to
agree where they seem to.
It must not decide what follows from being behind: that is the tail's.
"""

from __future__ import annotations

IDLE = 0.1
"""Seconds without anything to read after which the next line is taken for one just written."""

BEHIND = 0.5
"""Seconds behind the writer from which on a loss is possible: a fraction of what a kubelet needs."""

UNKNOWN = 64 * 1024
"""Bytes read without a wait after which a follow whose lines are not fresh counts as behind."""


class Lag:
    """Of one follow; `behind` after each `arrived`."""

    def __init__(self) -> None:
        """Nothing read yet."""
        self.behind = False
        self._offset: float | None = None
        self._read = 0

    def arrived(self, now: float, waited: float, size: int, time: int) -> None:
        """At `now` (s) `size` bytes came after `waited` seconds; the node wrote their last line at `time` (ns).

        Both times are since the epoch, each by its own clock.
        """
        difference = now - time / 1e9
        self._read += size
        if self._offset is None:
            self._offset = difference if waited >= IDLE else None
        else:
            self._offset = min(self._offset, difference)
        if self._offset is None:
            self.behind = self._read > UNKNOWN and abs(difference) > BEHIND
        else:
            self.behind = difference - self._offset > BEHIND

"""What a tail must know while it follows one run of a container: facts that change, and waiting times."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from k8s_execution.logs.targets import Target


@dataclass(frozen=True, slots=True)
class Pace:
    """Waiting times of a tail, in seconds.

    `quiet`: a silent follow is opened again (a frozen connection looks the same); `drained`: a silent follow of a
    terminated container is given up; `stalled`: so is a read to the present end; `settle`: how long a read without
    overlap waits for facts of a restart; `look`: between looks into a step's output file.
    """

    first_retry: float = 0.25
    longest_retry: float = 5.0
    quiet: float = 300.0
    drained: float = 2.0
    stalled: float = 30.0
    settle: float = 15.0
    look: float = 1.0


class Run:
    """What is known of the run that a tail follows; the collector updates it."""

    def __init__(self, target: Target, pace: Pace) -> None:
        """Begin with these facts."""
        self.target = target
        self.pace = pace
        self.finishing = False
        self.changed = asyncio.Event()
        self.following: asyncio.Timeout | None = None

    def update(self, target: Target) -> None:
        """Newer facts; wakes the tail if they differ."""
        if target != self.target:
            self.target = target
            self._wake()

    def finish(self) -> None:
        """Read to the present end and no further, whether the container runs or not."""
        self.finishing = True
        self._wake()

    def patience(self) -> float:
        """How long a follow may be silent."""
        if self.finishing:
            return 0.0
        return self.pace.drained if self.target.terminated else self.pace.quiet

    def _wake(self) -> None:
        self.changed.set()
        if self.following is not None and not self.following.expired():
            self.following.reschedule(asyncio.get_running_loop().time() + self.patience())

"""Memory limits by sampling: what cgroups do in life.

The kernel's limits are not delegated to an ordinary user, and RLIMIT_AS would only raise MemoryError in the program. So
the node adds up the anonymous and shared memory of each limited container's process tree every 50 to 100 ms; on excess
it counts an `oom_kill` in the memory.events file that the container sees at its cgroup v2 path, then kills the whole
container (as cgroup v2 does with memory.oom.group, the default since Kubernetes 1.28). CPU limits are not enforced.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from k8s_simulation.node.sandbox import Process

_PAGE = os.sysconf("SC_PAGE_SIZE")
_FAST, _SLOW = 0.05, 0.1


def events_text(kills: int) -> str:
    """The content of a cgroup v2 memory.events file."""
    return f"low 0\nhigh 0\nmax {kills}\noom {kills}\noom_kill {kills}\noom_group_kill {kills}\n"


def children(pid: int) -> list[int]:
    """The children of a process, by all of its threads."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    except OSError:
        pass  # it has ended
    return found


def tree(pid: int) -> list[int]:
    """A process and all its descendants, as seen at this moment."""
    found, queue = [pid], [pid]
    while queue:
        below = children(queue.pop())
        found += below
        queue += below
    return found


def resident(pid: int) -> int:
    """Resident bytes, shared ones included: cheap, never below the true share."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def charged(pid: int) -> int:
    """Bytes that a memory cgroup would hold against the process: its share of anonymous and shared memory."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Pss_Anon:", "Pss_Shmem:", "SwapPss:")):
                total += int(line.split()[1]) * 1024
    except OSError:
        return 0
    return total


@dataclass(slots=True)
class _Watched:
    process: Process
    limit: int
    events: Path


class MemoryWatch:
    """Samples all limited containers. Idle, and without a timer, while there are none."""

    def __init__(self) -> None:
        self._watched: list[_Watched] = []
        self._some = asyncio.Event()

    def add(self, process: Process, limit: int, events: Path) -> None:
        """Enforce a limit in bytes on a container until it ends."""
        self._watched.append(_Watched(process, limit, events))
        self._some.set()

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            await self._some.wait()
            near = False
            for watched in list(self._watched):
                if not watched.process.running:
                    self._watched.remove(watched)
                else:
                    near = self._check(watched) or near
            if not self._watched:
                self._some.clear()
                continue
            await asyncio.sleep(_FAST if near else _SLOW)

    def _check(self, watched: _Watched) -> bool:
        """Kill on excess; whether it is worth looking again soon."""
        pids = tree(watched.process.target)
        upper = sum(resident(pid) for pid in pids)
        if upper > watched.limit and sum(charged(pid) for pid in pids) > watched.limit:
            kill_for_memory(watched.process, watched.events)
        return upper > watched.limit // 4


def kill_for_memory(process: Process, events: Path | None) -> None:
    """What the kernel does at the limit: count, then kill."""
    if events is not None:
        events.write_text(events_text(1))
    process.oom_killed = True
    process.signal(signal.SIGKILL)

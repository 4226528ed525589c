"""Processes that outlive the harness: starting, recognising and ending them, and waiting for what they do.

A process is known by its pid and its start time, so a pid that the kernel gave to somebody else is never signalled.
All carry the cluster's folder in their environment: that finds those which a killed harness started but did not record.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cluster.faults import ClusterFault

MARKER = "K8S_EXECUTION_CLUSTER_FOLDER"
TAIL_BYTES = 3000
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """A started process. `started` is in clock ticks since boot (proc(5), field 22 of stat)."""

    name: str
    pid: int
    started: int


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it is gone or only waits to be reaped.

    A first thread that has ended is shown as a zombie while the others still end, and with them the sockets close.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    ended, threads = fields[0] in {"Z", "X"}, int(fields[17])
    return None if ended and threads <= 1 else int(fields[19])


def identify(name: str, pid: int) -> Process:
    """The process with this pid as it is now. Raises ClusterFault if there is none."""
    started = start_time(pid)
    if started is None:
        raise ClusterFault(f"{name} ended at once")
    return Process(name, pid, started)


def alive(process: Process) -> bool:
    """True while this very process runs."""
    return start_time(process.pid) == process.started


def tail(log: Path) -> str:
    """The end of a log, for a message."""
    try:
        data = log.read_bytes()[-TAIL_BYTES:]
    except OSError:
        return f"(there is no {log})"
    return f"--- end of {log}\n{data.decode(errors='replace')}"


def start(command: list[str], log: Path, environment: dict[str, str]) -> int:
    """Start a daemon in a session of its own, its output appended to `log`; returns the pid.

    Not `subprocess`: its objects want to be waited for, and these processes stay when the harness ends.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    try:
        return os.posix_spawnp(command[0], command, environment, file_actions=actions, setsid=True)
    except OSError as error:
        raise ClusterFault(f"{command[0]} cannot be started: {error.strerror}") from error


def children(pid: int) -> list[int]:
    """The pids of a process's children."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def wait_for(condition: Callable[[], bool], what: str, seconds: float, log: Path, by: Process | None = None) -> None:
    """Wait until `condition` holds.

    Raises ClusterFault with the end of `log` when the time is over, or when the process that should bring it about
    (`by`) has ended.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if by is not None and not alive(by):
            raise ClusterFault(f"{by.name} ended while waiting for {what}\n{tail(log)}")
        if time.monotonic() > deadline:
            raise ClusterFault(f"{what} did not come within {seconds:.0f} s\n{tail(log)}")
        time.sleep(_POLL_SECONDS)  # a look, not a pause: the processes have no other way to tell


def _gone(process: Process, seconds: float) -> bool:
    """Wait for the end of a process; True if it came."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            os.waitpid(process.pid, os.WNOHANG)  # reaps it if it is a child of ours
        except ChildProcessError:
            pass
        if not alive(process):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)


def _signal(process: Process, number: signal.Signals) -> None:
    if alive(process):
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            pass


def stop(processes: Iterable[Process], patience: float) -> None:
    """End processes together: SIGTERM, and after `patience` seconds SIGKILL to who is left.

    Raises ClusterFault if one survives even that.
    """
    remaining = [process for process in processes if alive(process)]
    for process in remaining:
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + patience
    remaining = [p for p in remaining if not _gone(p, max(0.0, deadline - time.monotonic()))]
    for process in remaining:
        _signal(process, signal.SIGKILL)
    for process in remaining:
        if not _gone(process, 10.0):
            raise ClusterFault(f"{process.name} (pid {process.pid}) does not end, even by SIGKILL")


def marked(folder: Path) -> list[Process]:
    """All processes that carry the marker of the cluster in `folder`, recorded or not."""
    return with_variable(MARKER, str(folder))


def with_variable(name: str, value: str) -> list[Process]:
    """All processes that were started with this variable in their environment, this one left out."""
    wanted, found = f"{name}={value}".encode(), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "environ").read_bytes().split(b"\0")
            name = (entry / "comm").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue  # it has just ended
        started = start_time(int(entry.name))
        if wanted in words and started is not None:
            found.append(Process(name, int(entry.name), started))
    return found

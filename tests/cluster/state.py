"""The record of what a cluster has on this machine, written before each step, so that a killed harness leaves a trace.

`up` and `down` of any later harness read it to remove what is left. Mounts and pods are not in it: they live in the
node's own namespaces and go with its first process. Apart from the harness so that it can be tested without root.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.faults import ClusterFault
from cluster.layout import SLOTS
from cluster.processes import Process

FILE = "state.json"


@dataclass(frozen=True, slots=True)
class State:
    """What there is: the slot, processes in the order of their start, links, control groups, and whether `up` ended.

    `fast` says that the control plane runs with raised limits, so that a restart starts it the same way.
    """

    slot: int
    processes: tuple[Process, ...] = ()
    links: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    ready: bool = False
    fast: bool = False

    def process(self, name: str) -> Process:
        """The innermost process of this name. Raises ClusterFault if none was started."""
        for process in reversed(self.processes):
            if process.name == name:
                return process
        raise ClusterFault(f"the cluster has no process {name}")


def encode(state: State) -> str:
    """The state as JSON."""
    return json.dumps(dataclasses.asdict(state), indent=1)


def decode(text: str) -> State:
    """The state from JSON. Raises ClusterFault if it is none."""
    try:
        found = json.loads(text)
        processes = tuple(Process(str(p["name"]), int(p["pid"]), int(p["started"])) for p in found["processes"])
        links, cgroups = tuple(map(str, found["links"])), tuple(map(str, found["cgroups"]))
        ready, fast = bool(found["ready"]), bool(found.get("fast"))
        return State(int(found["slot"]), processes, links, cgroups, ready, fast)
    except (ValueError, KeyError, TypeError) as error:
        raise ClusterFault(f"not the state of a cluster: {error!r}") from error


def read(folder: Path) -> State | None:
    """The recorded state of the cluster in `folder`, None if there is none."""
    try:
        return decode((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


class Journal:
    """The state of a running harness; every change is on disk before the method returns."""

    def __init__(self, folder: Path, state: State) -> None:
        """Begin the record, in `folder`."""
        self._path = folder / FILE
        self.state = state
        folder.mkdir(parents=True, exist_ok=True)
        self._write(state)

    def _write(self, state: State) -> None:
        temporary = self._path.with_suffix(".new")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(encode(state))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        self.state = state

    def process(self, process: Process) -> None:
        """A process was started. (Between start and record its environment marks it, see `processes.marked`.)"""
        self._write(dataclasses.replace(self.state, processes=(*self.state.processes, process)))

    def forget(self, name: str) -> None:
        """The processes of this name have ended, and are about to be replaced."""
        kept = tuple(process for process in self.state.processes if process.name != name)
        self._write(dataclasses.replace(self.state, processes=kept))

    def link(self, name: str) -> None:
        """A network link is about to be made."""
        self._write(dataclasses.replace(self.state, links=(*self.state.links, name)))

    def cgroup(self, path: Path) -> None:
        """A control group is about to be made."""
        self._write(dataclasses.replace(self.state, cgroups=(*self.state.cgroups, str(path))))

    def ready(self) -> None:
        """The cluster is up."""
        self._write(dataclasses.replace(self.state, ready=True))


@contextmanager
def _hold(name: str, seconds: float) -> Iterator[None]:
    """Hold a name of this machine: an abstract Unix socket, which is no file and is freed with the process."""
    deadline = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX) as lock:
        while not _bound(lock, f"\0k8s-execution-cluster/{name}"):
            if time.monotonic() > deadline:
                raise ClusterFault(f"another command is working on {name} right now")
            time.sleep(0.05)  # a look, not a pause: a bound socket cannot be waited for
        yield


def _bound(lock: socket.socket, address: str) -> bool:
    """Take the address; False if another has it."""
    try:
        lock.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def machine_lock() -> AbstractContextManager[None]:
    """Only one harness of the machine chooses a slot at a time."""
    return _hold("slots", 30.0)


def cluster_lock(name: str) -> AbstractContextManager[None]:
    """Only one harness works on a cluster at a time. Raises ClusterFault if another does."""
    return _hold(f"cluster {name}", 0.0)


def tests_lock(name: str) -> AbstractContextManager[None]:
    """Only one run of tests uses a cluster at a time. Raises ClusterFault if another does."""
    return _hold(f"tests of {name}", 0.0)


def names(root: Path) -> list[str]:
    """The clusters that have a record."""
    return sorted(path.parent.name for path in root.glob(f"*/{FILE}"))


def free_slot(root: Path) -> int:
    """The lowest slot that no recorded cluster holds. Raises ClusterFault if all are taken."""
    taken = {state.slot for name in names(root) if (state := read(root / name)) is not None}
    for slot in range(SLOTS):
        if slot not in taken:
            return slot
    raise ClusterFault(f"{SLOTS} clusters run already; remove one: python -m cluster down --name …")

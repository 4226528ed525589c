"""Starts the cluster's processes: marks them, records them, remembers where their logs are.

Between `processes`, which knows nothing of clusters, and the parts that say what to start.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cluster import processes
from cluster.builds import Programs
from cluster.layout import Layout
from cluster.processes import Process
from cluster.state import Journal


class Daemons:
    """What `controlplane`, `node` and `relay` need to start something."""

    def __init__(self, layout: Layout, programs: Programs, journal: Journal) -> None:
        """`journal` gets every process."""
        self.layout = layout
        self.programs = programs
        self.journal = journal

    @property
    def fast(self) -> bool:
        """Whether the control plane runs with raised limits."""
        return self.journal.state.fast

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self.layout.logs / f"{name}.log"

    def environment(self) -> dict[str, str]:
        """The caller's environment, the programs first in the PATH, and the marker of this cluster."""
        path = os.pathsep.join([self.programs.search_path(), os.environ.get("PATH", os.defpath)])
        return {**os.environ, "PATH": path, processes.MARKER: str(self.layout.folder)}

    def start(self, name: str, command: list[str]) -> Process:
        """Start a process and record it. Raises ClusterFault if it cannot be started."""
        process = processes.identify(name, processes.start(command, self.log(name), self.environment()))
        self.journal.process(process)
        return process

    def start_below(self, name: str, command: list[str]) -> Process:
        """Start a command that enters namespaces and forks; record it and its child, and return the child.

        The child is who must be asked to end: the parent only waits for it.
        """
        parent = self.start(name, command)
        found: list[int] = []

        def forked() -> bool:
            found[:] = processes.children(parent.pid)
            return bool(found)

        self.wait(forked, f"the start of {name}", 10, parent)
        process = processes.identify(name, found[0])
        self.journal.process(process)
        return process

    def wait(self, condition: Callable[[], bool], what: str, seconds: float, by: Process) -> None:
        """Wait for what a process brings about; a failure carries the end of its log."""
        processes.wait_for(condition, what, seconds, self.log(by.name), by)

"""How a container's process is confined: the words both ways share, and the process object.

`isolated` (bubblewrap, user namespaces) and `unisolated` (plain processes) implement `Sandbox`. This module must not
know Kubernetes: it gets an argv, an environment and mounts, and gives back a process that can be signalled and waited
for, with its output in a `ContainerLog`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from k8s_simulation.node.logs import ContainerLog

_PIPE_SIZE = 256 * 1024
_READ = 64 * 1024  # at most 2 ms of stamping, even of very short lines


class SandboxFault(Exception):
    """A container could not be made. `command`: all was made but its command, which could not be executed."""

    def __init__(self, message: str, *, command: bool = False) -> None:
        super().__init__(message)
        self.command = command


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the host that a container sees at an absolute path."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod's containers run: its address, host name, and network namespace descriptor (-1: the host's)."""

    address: str
    hostname: str
    namespace: int = -1


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of a container, fully decided.

    `layer` is the private folder that is the container's writable root; `links` are symbolic links to make in it;
    `mounts` come on top, shorter targets first. `owner` names the container in messages, `ports` are those it says it
    listens on: they matter where containers share a network.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    uid: int
    gid: int
    place: Place
    layer: Path
    mounts: tuple[Mount, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    read_only_root: bool = False
    owner: str = ""
    ports: tuple[int, ...] = ()


class Sandbox(Protocol):
    """A way to run containers on this machine."""

    isolated: bool

    async def launch(self, plan: Plan, log: ContainerLog) -> Process:
        """Start a container. Raises SandboxFault."""
        ...

    def enter(self, process: Process, plan: Plan, argv: tuple[str, ...]) -> Command:
        """The host command that runs `argv` beside a container's process, as if it were one of its own."""
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """A command for the host: argv, environment, working directory, descriptors to hand down.

    `missing` is how its stderr begins when it is only the inner program that could not be executed.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None = None
    descriptors: tuple[int, ...] = ()
    missing: bytes = b"nsenter: failed to execute"


class Process:
    """A running container process on the event loop: output pumped into its log, exit by pidfd.

    `pid` is the child of the node; `target` is the process that gets the signals and heads the process tree (for
    bubblewrap its child). Made in the main thread, as the parent-death signal is bound to the thread that forks.
    """

    def __init__(self, child: subprocess.Popen[bytes], output: int, log: ContainerLog) -> None:
        self._child = child
        self._output = output
        self._log = log
        self.target = child.pid
        self.oom_killed = False
        loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[int] = loop.create_future()
        self._pidfd = os.pidfd_open(child.pid)
        os.set_blocking(output, False)
        loop.add_reader(output, self._pump)
        loop.add_reader(self._pidfd, self._reap)

    @property
    def pid(self) -> int:
        """The child process of the node."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it has not been seen to end."""
        return not self._exited.done()

    async def wait(self) -> int:
        """The exit code, after all output is in the log."""
        return await asyncio.shield(self._exited)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the container's first process, if it still runs."""
        if self.running:
            try:
                os.kill(self.target, number)
            except ProcessLookupError:
                pass  # it ended between the check and the signal; its exit is about to be seen

    def _pump(self) -> None:
        try:
            chunk = os.read(self._output, _READ)
        except BlockingIOError:
            return
        if chunk:
            self._log.write(chunk)
        else:
            self._close_output()

    def _close_output(self) -> None:
        if self._output >= 0:
            asyncio.get_running_loop().remove_reader(self._output)
            os.close(self._output)
            self._output = -1

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._child.wait()
        try:
            while self._output >= 0 and (chunk := os.read(self._output, _READ)):
                self._log.write(chunk)
        except BlockingIOError:
            pass  # someone outside the container still holds the pipe open; what was written is read
        self._close_output()
        self._exited.set_result(128 - code if code < 0 else code)


def output_pipe() -> tuple[int, int]:
    """A pipe for a container's stdout and stderr, large enough that a burst does not stop the writer."""
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        pass  # over the user's pipe limit: the default size only costs speed
    return read, write


def source_of(path: str, plan: Plan) -> Path:
    """The place on the host behind an absolute path of a container that is on its layer or on a mount."""
    best: Mount | None = None
    for mount in plan.mounts:
        inside = path == mount.target or path.startswith(mount.target.rstrip("/") + "/")
        if inside and (best is None or len(mount.target) >= len(best.target)):
            best = mount
    if best is None:
        return plan.layer / path.lstrip("/")
    rest = path[len(best.target) :].lstrip("/")
    return best.source / rest if rest else best.source

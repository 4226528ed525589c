"""Containers in bubblewrap: own mounts, processes, host name and network, without root.

Tried: the command is process 1 of its process namespace (`--as-pid-1`), so a command without a handler ignores SIGTERM
as in any container; everything below it dies with it, and it dies with the node (`--die-with-parent`). Arguments go
through a memory file, so that no secret of a pod is on a command line, and the environment is set inside, so that a
pod's LD_PRELOAD does not act on our own tools. One uid only: inside it is called what the pod asks for, outside it is
the node's.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

from k8s_simulation.node.logs import ContainerLog
from k8s_simulation.node.network import NetworkFault, PodNetwork
from k8s_simulation.node.sandbox import Command, Plan, Process, SandboxFault, output_pipe, source_of

_LOADER = ("LD_", "GCONV_PATH", "LOCPATH", "GLIBC_TUNABLES", "MALLOC_")


async def unavailable(network: PodNetwork) -> str:
    """Why this machine cannot isolate pods, as the rest of a sentence; empty when it can, with the network started."""
    if shutil.which("bwrap") is None:
        return "the program bwrap is missing (Debian package bubblewrap)"
    try:
        await network.start()
    except NetworkFault as fault:
        return str(fault)
    argv = [*_enter_holder(network, None), "bwrap", "--unshare-user", "--unshare-pid", "--uid", "1000", "--gid", "1000"]
    argv += ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--", "true"]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, check=False)
    if done.returncode != 0:
        await network.close()
        return f"bubblewrap does not work here: {done.stderr.decode(errors='replace').strip()}"
    return ""


def _enter_holder(network: PodNetwork, namespace: int | None) -> list[str]:
    """The command that enters the pods' user namespace and one pod's network namespace (None: the holder's)."""
    where = f"/proc/{network.holder_pid}/ns/net" if namespace is None else f"/proc/self/fd/{namespace}"
    nsenter = shutil.which("nsenter") or "nsenter"
    return [nsenter, f"--user=/proc/{network.holder_pid}/ns/user", f"--net={where}", "--preserve-credentials", "--"]


class Isolated:
    """The `Sandbox` of namespaces."""

    isolated = True

    def __init__(self, network: PodNetwork) -> None:
        self._network = network
        self._bwrap = shutil.which("bwrap") or "bwrap"

    async def launch(self, plan: Plan, log: ContainerLog) -> Process:
        """Start a container and wait until its own command runs."""
        await asyncio.to_thread(_prepare, plan)
        arguments = _memory_file("\0".join(_arguments(plan)).encode() + b"\0")
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        output_read, output_write = output_pipe()
        argv = [*_enter_holder(self._network, plan.place.namespace), self._bwrap, "--args", str(arguments)]
        argv += ["--json-status-fd", str(status_write), "--", *plan.argv]
        try:
            child = subprocess.Popen(  # noqa: ASYNC220 - in this thread, which the parent-death signal is bound to
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output_write,
                stderr=output_write,
                pass_fds=[arguments, status_write, plan.place.namespace],
                env={},
                cwd="/",
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            for descriptor in (status_read, output_read):
                os.close(descriptor)
            raise SandboxFault(str(error)) from error
        finally:
            for descriptor in (arguments, status_write, output_write):
                os.close(descriptor)
        process = _Confined(child, output_read, log, status_read)
        try:
            await process.begun()
        except BaseException:
            child.kill()
            raise
        return process

    def enter(self, process: Process, plan: Plan, argv: tuple[str, ...]) -> Command:
        """Through the holder's user namespace first, which alone may enter the pod's network, then the container's."""
        target = process.target
        inner = [shutil.which("nsenter") or "nsenter", "--target", str(target), "--user", "--mount", "--pid", "--ipc"]
        inner += ["--uts", "--preserve-credentials", f"--wd=/proc/{target}/root{plan.cwd}", "--"]
        loader = [f"{k}={v}" for k, v in plan.env.items() if k.startswith(_LOADER)]
        inner += ["/usr/bin/env", *loader] if loader else []
        env = {k: v for k, v in plan.env.items() if not k.startswith(_LOADER)}
        outer = _enter_holder(self._network, plan.place.namespace)
        return Command((*outer, *inner, *argv), env, None, (plan.place.namespace,))


class _Confined(Process):
    """A process below bubblewrap, which tells on a pipe the first process's id and whether its command was executed."""

    def __init__(self, child: subprocess.Popen[bytes], output: int, log: ContainerLog, status: int) -> None:
        super().__init__(child, output, log)
        self._status = status
        self._log_of_start = log
        self._told = b""
        self._first_word = asyncio.Event()  # the first status line has come, or none ever will
        os.set_blocking(status, False)
        asyncio.get_running_loop().add_reader(status, self._read_status)

    async def begun(self) -> None:
        """Return when the container's command runs or has ended. Raises SandboxFault when it never ran."""
        await self._first_word.wait()
        if b"child-pid" in self._told:
            self.target = int(json.loads(self._told.split(b"\n")[0])["child-pid"])
        while self.running and (name := self._command_name()):
            if name != "bwrap":
                return
            await asyncio.sleep(0.001)  # exec is told by nobody; it takes 1 to 3 ms
        await self.wait()
        # bubblewrap reports an exit code only if the command itself was executed.
        if b"exit-code" not in self._told:
            text = self._first_output()
            self._log_of_start.discard()
            raise SandboxFault(text, command=text.startswith("bwrap: execvp"))

    def _read_status(self) -> None:
        """Take what the status pipe holds."""
        try:
            chunk = os.read(self._status, 4096)
        except BlockingIOError:
            return
        self._told += chunk
        if not chunk:
            asyncio.get_running_loop().remove_reader(self._status)
        if not chunk or b"\n" in self._told:
            self._first_word.set()

    def _command_name(self) -> str:
        """What the container's first process now is; empty when it has ended."""
        try:
            return Path(f"/proc/{self.target}/comm").read_text().strip()
        except OSError:
            return ""

    def _reap(self) -> None:
        # Open until now, since bubblewrap writes the exit code to it and would die of a closed pipe.
        self._read_status()
        asyncio.get_running_loop().remove_reader(self._status)
        os.close(self._status)
        self._first_word.set()
        super()._reap()

    def _first_output(self) -> str:
        log = self._log_of_start
        return log.path(log.generation).read_bytes()[31:].decode(errors="replace").strip() or "bubblewrap ended early"


def _memory_file(content: bytes) -> int:
    descriptor = os.memfd_create("arguments", 0)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _arguments(plan: Plan) -> list[str]:
    """bubblewrap's arguments for a plan."""
    args = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    args += ["--uid", str(plan.uid), "--gid", str(plan.gid), "--hostname", plan.place.hostname]
    args += ["--die-with-parent", "--new-session", "--as-pid-1", "--bind", str(plan.layer), "/"]
    args += ["--proc", "/proc", "--dev", "/dev"]
    for mount in sorted(plan.mounts, key=lambda m: m.target.rstrip("/").count("/")):
        args += ["--bind" if mount.writable else "--ro-bind", str(mount.source), mount.target]
    if plan.read_only_root:
        args += ["--remount-ro", "/"]
    args += ["--chdir", plan.cwd, "--clearenv"]
    for name, value in plan.env.items():
        args += ["--setenv", name, value]
    return args


def _prepare(plan: Plan) -> None:
    """Make the layer's links and the working directory, which a container runtime also makes when it is absent."""
    for name, target in plan.links.items():
        link = plan.layer / name.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(target)
    try:
        source_of(plan.cwd, plan).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SandboxFault(f"cannot make the working directory {plan.cwd}: {error}") from error

"""Containers as plain processes: the fallback for machines without user namespaces, on explicit request only.

There are no mounts: every mount path that is not its own source is translated in argv, environment and working
directory into the folder behind it, which serves programs that get their paths from there. Python images run in a
private virtual environment. Pods share the host's network, users and process list, so two containers with the same
port are refused. Processes carry a mark in their environment, by which a guard process ends them when the node dies.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from k8s_simulation.node.logs import ContainerLog
from k8s_simulation.node.memory import tree
from k8s_simulation.node.sandbox import Command, Mount, Plan, Process, SandboxFault, output_pipe, source_of

# The agent looks for its shared volume at this path unless a variable says otherwise: here it has to.
_AGENT_SHARED = "/k8s-execution"
MARK = "K8S_SIMULATION_NODE"
_GUARD = """
import os, signal, sys
sys.stdin.buffer.read()
mark = sys.argv[1].encode()
for _ in range(3):
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as f:
                    if mark in f.read().split(b"\\0"):
                        os.kill(int(name), signal.SIGKILL)
            except OSError:
                pass
"""


def translate(text: str, mounts: tuple[Mount, ...]) -> str:
    """Replace mount paths that begin a path inside a text by the folders behind them, longest first."""
    table = {m.target: str(m.source) for m in mounts if m.target != str(m.source) and m.target != "/"}
    if not table:
        return text
    targets = "|".join(re.escape(t) for t in sorted(table, key=len, reverse=True))
    # A path begins at the start or after one of the characters that separate paths, and ends at one or at a slash.
    pattern = rf"(?<![\w./-])({targets})(?![\w.-])"
    return re.sub(pattern, lambda match: table[match[1]], text)


class Unisolated:
    """The `Sandbox` without isolation. Use `start` and `close` around it."""

    isolated = False

    def __init__(self) -> None:
        self._mark = f"{MARK}={os.getpid()}-{os.urandom(8).hex()}"
        self._guard: subprocess.Popen[bytes] | None = None
        self._ports: dict[int, str] = {}

    def start(self) -> None:
        """Start the guard, which ends marked processes as soon as this process is gone."""
        argv = [sys.executable, "-I", "-S", "-c", _GUARD, self._mark]
        self._guard = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)

    def close(self) -> None:
        """Let the guard end what is left, and wait for it."""
        if self._guard is not None:
            self._guard.communicate()
            self._guard = None

    async def launch(self, plan: Plan, log: ContainerLog) -> Process:
        """Start a container's command as a process group of its own. Raises SandboxFault, also for a taken port."""
        for port in plan.ports:
            if (owner := self._ports.get(port)) is not None:
                raise SandboxFault(
                    f"port {port} is taken by pod {owner}: without isolation all pods share this machine's network, "
                    "so two replicas on one port cannot run"
                )
        argv = [translate(word, plan.mounts) for word in plan.argv]
        env = self._environment(plan)
        cwd = source_of(plan.cwd, plan)
        await asyncio.to_thread(cwd.mkdir, parents=True, exist_ok=True)
        found = shutil.which(argv[0], path=env.get("PATH", os.defpath))
        if found is None:
            raise SandboxFault(f"execvp {plan.argv[0]}: No such file or directory", command=True)
        output_read, output_write = output_pipe()
        try:
            child = await _spawn([found, *argv[1:]], env, str(cwd), output_write)
        except OSError as error:
            os.close(output_read)
            raise SandboxFault(f"execvp {plan.argv[0]}: {error.strerror}", command=True) from error
        finally:
            os.close(output_write)
        self._ports |= dict.fromkeys(plan.ports, plan.owner)
        return _Group(child, output_read, log, lambda: self._release(plan.ports))

    def _release(self, ports: tuple[int, ...]) -> None:
        for port in ports:
            self._ports.pop(port, None)

    def enter(self, process: Process, plan: Plan, argv: tuple[str, ...]) -> Command:
        """The same translation, beside the container's process."""
        assert process is not None
        env = self._environment(plan)
        words = [translate(word, plan.mounts) for word in argv]
        found = shutil.which(words[0], path=env.get("PATH", os.defpath)) or words[0]
        return Command((found, *words[1:]), env, str(source_of(plan.cwd, plan)))

    def _environment(self, plan: Plan) -> Mapping[str, str]:
        name, _, value = self._mark.partition("=")
        env = dict(plan.env)
        if any(mount.target == _AGENT_SHARED for mount in plan.mounts):
            env.setdefault("K8S_EXECUTION_SHARED", _AGENT_SHARED)
        return {key: translate(text, plan.mounts) for key, text in env.items()} | {name: value}


async def _spawn(argv: list[str], env: Mapping[str, str], cwd: str, output: int) -> subprocess.Popen[bytes]:
    # In the main thread, like every container, and quick: a fork without a shell.
    return subprocess.Popen(  # noqa: ASYNC220 - see above
        argv, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )


class _Group(Process):
    """A process whose whole tree gets the kill that a container's end would bring."""

    def __init__(
        self, child: subprocess.Popen[bytes], output: int, log: ContainerLog, ended: Callable[[], None]
    ) -> None:
        super().__init__(child, output, log)
        self._ended = ended

    def signal(self, number: signal.Signals) -> None:
        """SIGKILL goes to every descendant and the group; other signals to the first process only."""
        if number != signal.SIGKILL:
            super().signal(number)
        elif self.running:
            self._kill_all()

    def _kill_all(self) -> None:
        for pid in reversed(tree(self.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # ended by itself

    def _reap(self) -> None:
        # What the command left behind in its group ends with it, as in a container.
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        super()._reap()
        self._ended()


def names_hook(site: Path, table: Path) -> None:
    """Make a Python environment resolve the service names listed in `table` (JSON: name to address). Blocking.

    Without a network of their own the pods of Python images still reach each other by service name this way.
    """
    (site / "_service_names.py").write_text(_HOOK.format(table=str(table)))
    (site / "_service_names.pth").write_text("import _service_names\n")


_HOOK = '''"""Service names of the simulated cluster, where it has no network of its own."""
import json, socket
_getaddrinfo, _gethostbyname = socket.getaddrinfo, socket.gethostbyname
def _known(host):
    if isinstance(host, str) and host != "localhost":
        try:
            with open({table!r}, encoding="utf-8") as file:
                return json.load(file).get(host.rstrip("."), host)
        except (OSError, ValueError):
            pass
    return host
def getaddrinfo(host, *args, **kwargs):
    return _getaddrinfo(_known(host), *args, **kwargs)
def gethostbyname(host):
    return _gethostbyname(_known(host))
socket.getaddrinfo, socket.gethostbyname = getaddrinfo, gethostbyname
'''

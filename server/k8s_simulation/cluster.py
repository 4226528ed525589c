"""A simulated cluster as a child process: for tests, and for the service's own `--simulate`.

Knows only the command line of `python -m k8s_simulation`, so that importing it costs nothing. The child cannot outlive
this process.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from k8s_simulation.children import spawn, terminate


class ClusterFault(Exception):
    """The cluster did not become ready; the message ends with the last lines it wrote."""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What to start. `images` are `REF=DIR`; `arguments` go to the command line as they are."""

    data: Path
    port: int = 0
    images: Sequence[str] = field(default_factory=tuple)
    agent: Path | None = None
    faults: Path | None = None
    allow_unisolated: bool = False
    arguments: Sequence[str] = field(default_factory=tuple)


class SimulatedCluster:
    """`async with SimulatedCluster(ClusterOptions(data)) as cluster:` or `start` and `stop`."""

    def __init__(self, options: ClusterOptions) -> None:
        """Nothing runs yet. The data folder is made, private, if it is not there."""
        self._options = options
        self._process: asyncio.subprocess.Process | None = None
        self.kubeconfig = options.data / "kubeconfig"
        self.log = options.data / "cluster.log"
        self.server = ""

    @property
    def pid(self) -> int | None:
        """The process id of the cluster, None when it does not run."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self, patience: float = 60.0) -> None:
        """Start and wait until the node is Ready. Raises ClusterFault with the reason."""
        options = self._options
        options.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        ready = options.data / "ready.json"
        ready.unlink(missing_ok=True)
        with self.log.open("ab") as output:
            self._process = await spawn(self._command(ready), output)
        try:
            async with asyncio.timeout(patience):
                await self._until_ready(ready)
        except TimeoutError as error:
            await self.stop()
            raise ClusterFault(f"the simulated cluster is not ready after {patience} s:\n{self._tail()}") from error
        except asyncio.CancelledError:
            await self.stop()
            raise
        self.server = str(json.loads(ready.read_text(encoding="utf-8"))["server"])

    async def _until_ready(self, ready: Path) -> None:
        while not _is_there(ready):
            if self._process is None or self._process.returncode is not None:
                raise ClusterFault(f"the simulated cluster ended at once:\n{self._tail()}")
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End the cluster and all its pods. May be called twice."""
        if self._process is not None:
            await terminate(self._process, 20.0)
            self._process = None

    async def wait(self) -> int:
        """Wait until the cluster ends, by itself or by `stop`; its exit code."""
        return await self._process.wait() if self._process else 0

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.stop()

    def _command(self, ready: Path) -> list[str]:
        options = self._options
        command = [sys.executable, "-m", "k8s_simulation", "--port", str(options.port), "--data", str(options.data),
                   "--kubeconfig", str(self.kubeconfig), "--ready-file", str(ready)]  # fmt: skip
        for image in options.images:
            command += ["--image", image]
        if options.agent:
            command += ["--agent", str(options.agent)]
        if options.faults:
            command += ["--faults", str(options.faults)]
        if options.allow_unisolated:
            command.append("--allow-unisolated")
        return [*command, *options.arguments]

    def _tail(self) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-20:])


def _is_there(path: Path) -> bool:
    return path.exists()  # one system call on a local file, not worth a thread

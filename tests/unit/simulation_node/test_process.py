"""The node as a program: refusal, SIGTERM, SIGKILL."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from k8s_simulation.api.registry import Registry
from k8s_simulation.api.server import ApiServer, Tokens
from k8s_simulation.api.storage import Storage
from k8s_simulation.faults import FaultBook
from k8s_simulation.node import isolated
from k8s_simulation.node.access import Access
from k8s_simulation.node.kube import KubeClient
from k8s_simulation.node.network import PodNetwork
from unit.simulation_node.harness import NODE, TOKEN, eventually, shell


async def need_isolation() -> None:
    """Skip where the machine has no namespaces."""
    network = PodNetwork()
    if reason := await isolated.unavailable(network):
        pytest.skip(f"pods cannot be isolated here: {reason} (install bubblewrap and iproute2, allow user namespaces)")
    await network.close()


@asynccontextmanager
async def node_process(folder: Path, *options: str) -> AsyncIterator[tuple[KubeClient, subprocess.Popen[bytes]]]:
    """An API server here and the node as a process of its own."""
    server = ApiServer(Registry(Storage(), time.time), Tokens((TOKEN,), "k"), FaultBook())
    await server.start("127.0.0.1", 0, None)
    (folder / "token").write_text(TOKEN)
    (folder / "kubelet").write_text("k")
    base = f"http://127.0.0.1:{server.port}"
    argv = [sys.executable, "-m", "k8s_simulation.node", "--api", base, "--token-file", str(folder / "token")]
    argv += ["--ca", str(folder / "token"), "--name", NODE, "--data", str(folder / "data")]
    argv += ["--kubelet-token-file", str(folder / "kubelet"), *options]
    async with KubeClient(Access(base, token=TOKEN)) as client:
        for name in ("default", "kube-node-lease"):
            await client.create("/api/v1/namespaces", {"metadata": {"name": name}})
            await client.create(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})
        process = await asyncio.to_thread(subprocess.Popen, argv, stderr=subprocess.PIPE)
        try:
            yield client, process
        finally:
            if process.poll() is None:
                process.kill()
            await asyncio.to_thread(process.communicate)
            await server.stop()


async def sleeping_pod(client: KubeClient, seconds: int) -> None:
    """A pod that sleeps in a child of its shell, started."""
    spec = {"nodeName": NODE, "containers": [shell(f"trap '' TERM; sleep {seconds} & echo up; wait")]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    await client.create("/api/v1/namespaces/default/pods", body)
    await eventually(lambda: alive(seconds), 15)


def alive(seconds: int) -> bool:
    """Whether a `sleep` of this many seconds runs anywhere on the machine."""
    for process in Path("/proc").iterdir():
        try:
            if (process / "cmdline").read_bytes() == f"sleep\0{seconds}\0".encode():
                return True
        except OSError:
            pass  # no process, or ended
    return False


async def all_ended(seconds: int) -> None:
    """Wait until no such process is left."""
    await eventually(lambda: not alive(seconds))


async def test_sigkill_of_the_node_leaves_no_process(tmp_path: Path) -> None:
    await need_isolation()
    async with node_process(tmp_path) as (client, process):
        await sleeping_pod(client, 54321)
        process.send_signal(signal.SIGKILL)
        await all_ended(54321)


async def test_sigkill_of_an_unisolated_node_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "no-tools"))
    async with node_process(tmp_path, "--allow-unisolated") as (client, process):
        await sleeping_pod(client, 54322)
        process.send_signal(signal.SIGKILL)
        await all_ended(54322)


async def test_sigterm_ends_pods_and_removes_their_files(tmp_path: Path) -> None:
    await need_isolation()
    async with node_process(tmp_path) as (client, process):
        await sleeping_pod(client, 54323)
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.to_thread(process.communicate, timeout=15)
        assert process.returncode == 0, errors.decode()
        await all_ended(54323)
        assert not (tmp_path / "data" / "pods").exists()


async def test_without_isolation_the_node_refuses_and_names_the_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "no-tools"))
    async with node_process(tmp_path) as (_, process):
        _, errors = await asyncio.to_thread(process.communicate, timeout=15)
    assert process.returncode == 1
    assert b"bubblewrap" in errors and b"--allow-unisolated" in errors

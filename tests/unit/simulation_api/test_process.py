"""The cluster as a process: what it writes, and that nothing of it survives its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from pathlib import Path

import pytest

from k8s_simulation.cluster import ClusterFault, ClusterOptions, SimulatedCluster
from support.kubeapi import Kube
from support.kubeobjects import phase, pod


def alive(pid: int) -> bool:
    """True for a process that runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid: int) -> set[int]:
    """All processes below this one."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | descendants(child)
    return found


def node_below(cluster: int) -> int:
    """The process of the node: the cluster's own child."""
    text = "".join(f.read_text() for f in Path(f"/proc/{cluster}/task").glob("*/children"))
    [node] = [p for p in map(int, text.split()) if b"k8s_simulation.node" in Path(f"/proc/{p}/cmdline").read_bytes()]
    return node


async def until_gone(pids: set[int]) -> None:
    """Wait until none of them runs."""
    async with asyncio.timeout(20):
        while any(map(alive, pids)):  # noqa: ASYNC110 - another process's end has no event here
            await asyncio.sleep(0.02)


@pytest.fixture
def options(tmp_path: Path) -> ClusterOptions:
    return ClusterOptions(tmp_path / "cluster", allow_unisolated=True)


async def running_pod(cluster: SimulatedCluster) -> None:
    async with Kube(cluster.kubeconfig) as kube:
        await kube.until("serviceaccounts", "default", "default", lambda _: True)
        await kube.created(pod("default", "sleep", "600"))
        await kube.until("pods", "default", "p", phase("Running"))


async def test_a_stopped_cluster_leaves_no_process_and_no_secret(options: ClusterOptions) -> None:
    async with SimulatedCluster(options) as cluster:
        assert stat.S_IMODE(cluster.kubeconfig.stat().st_mode) == 0o600
        assert stat.S_IMODE(options.data.stat().st_mode) == 0o700
        ready = json.loads((options.data / "ready.json").read_text())
        assert (ready["server"], ready["pid"]) == (cluster.server, cluster.pid)
        await running_pod(cluster)
        assert cluster.pid is not None
        below = descendants(cluster.pid)
        assert len(below) >= 2
    await until_gone(below)
    assert not cluster.kubeconfig.exists()
    assert not list(options.data.rglob("*.token"))


async def test_a_killed_cluster_takes_its_node_and_pods_along(options: ClusterOptions) -> None:
    async with SimulatedCluster(options) as cluster:
        await running_pod(cluster)
        assert cluster.pid is not None
        below = descendants(cluster.pid)
        os.kill(cluster.pid, signal.SIGKILL)
        await until_gone(below)


async def test_a_cluster_whose_node_dies_ends_and_says_so(options: ClusterOptions) -> None:
    async with SimulatedCluster(options) as cluster:
        assert cluster.pid is not None
        node = node_below(cluster.pid)
        os.kill(node, signal.SIGKILL)
        async with asyncio.timeout(20):
            assert await cluster.wait() == 1
    assert "the node ended with exit code -9" in cluster.log.read_text()


async def test_a_cluster_that_cannot_start_says_why(tmp_path: Path) -> None:
    script = tmp_path / "faults.json"
    script.write_text('[{"kind": "Nope"}]')
    with pytest.raises(ClusterFault, match="one of ImagePullError"):
        await SimulatedCluster(ClusterOptions(tmp_path / "cluster", faults=script)).start()


async def test_a_port_that_is_taken_is_one_sentence(options: ClusterOptions, tmp_path: Path) -> None:
    async with SimulatedCluster(options) as cluster:
        port = int(cluster.server.rpartition(":")[2])
        second = SimulatedCluster(ClusterOptions(tmp_path / "second", port=port, allow_unisolated=True))
        with pytest.raises(ClusterFault, match="in use"):
            await second.start()

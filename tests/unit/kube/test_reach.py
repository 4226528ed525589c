"""A cluster that cannot be reached is told in words: where it was looked for, what is wrong, what to do."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from k8s_execution.kube import reach
from k8s_execution.kube.cluster import open_cluster
from k8s_execution.kube.kubeconfig import KubeConfig, load_kubeconfig
from k8s_execution.ports.cluster import Unreachable
from k8s_execution.runtime.clock import SystemClock
from unit.kube.conftest import LIMITS
from unit.kube.fake_api import FakeApi

ONCE = replace(LIMITS, attempts=1)


async def refusal(config: KubeConfig, executor: ThreadPoolExecutor) -> str:
    """What is said where the cluster cannot be opened."""
    async with asyncio.TaskGroup() as tasks:
        with pytest.raises(Unreachable) as refused:
            async with open_cluster(config, tasks, clock=SystemClock(), executor=executor, limits=ONCE):
                pass
    assert "Error" not in str(refused.value), "no class of the network library"
    assert refused.value.__cause__ is not None
    return str(refused.value)


async def test_nobody_listens(executor: ThreadPoolExecutor, tmp_path: Path) -> None:
    """Context, file, host and port, the reason, and a command that asks the same."""
    async with FakeApi() as gone:
        server = gone.config().server
    file = tmp_path / "kubeconfig"
    file.write_text(
        f"clusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n"
        "contexts: [{name: staging, context: {cluster: c}}]\n"
    )
    said = await refusal(load_kubeconfig(file, "staging"), executor)
    assert said.startswith(f"context 'staging' of {file}: cannot connect to {server}: connection refused")
    assert f"kubectl --kubeconfig {file} --context staging version" in said


async def test_a_name_that_nobody_knows(executor: ThreadPoolExecutor) -> None:
    """Reserved so that it never exists (RFC 2606)."""
    said = await refusal(KubeConfig(server="https://cluster.invalid:6443", context="in-cluster"), executor)
    assert "https://cluster.invalid:6443" in said
    assert "its name cannot be resolved" in said


def test_other_faults_of_the_network_keep_their_text_without_the_query() -> None:
    """It may hold a command."""
    assert reach.words(OSError("GET /exec?command=s3cret failed")) == "OSError: GET /exec failed"
    assert reach.words(TimeoutError()) == "no answer in time"

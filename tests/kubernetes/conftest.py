"""A cluster for the Kubernetes suite: that of K8S_EXECUTION_TEST_KUBECONFIG, else a simulated one for the session."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from support.kubeapi import Kube

FRESH = 120.0
"""Seconds for a new namespace to become usable: controllers may just be finding a restarted API server again."""
VARIABLE = "K8S_EXECUTION_TEST_KUBECONFIG"

collect_ignore = [] if os.environ.get(VARIABLE) else ["test_network_policies.py"]
"""The simulated cluster enforces no network policies, by intent (docs/simulation.md): `make test-cluster` runs them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here is a sentence about Kubernetes."""
    for item in items:
        if "tests/kubernetes" in str(item.path):
            item.add_marker(pytest.mark.kubernetes)


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of the cluster under test."""
    given = os.environ.get(VARIABLE)
    if given:
        yield Path(given)
        return
    data = tmp_path_factory.mktemp("cluster")
    config, ready = data / "kubeconfig", data / "ready.json"
    command = [sys.executable, "-m", "k8s_simulation", "--data", str(data), "--kubeconfig", str(config),
               "--ready-file", str(ready), "--cpu", "4", "--memory", "8Gi", "--allow-unisolated"]  # fmt: skip
    with (data / "cluster.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the simulated cluster does not start:\n{(data / 'cluster.log').read_text()}")
            time.sleep(0.05)  # a condition with a deadline: the process has no other way to tell
        yield config
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
async def kube(kubeconfig: Path) -> AsyncIterator[Kube]:
    """A client of the cluster."""
    async with Kube(kubeconfig) as client:
        yield client


@pytest.fixture
async def namespace(kube: Kube) -> AsyncIterator[str]:
    """A fresh namespace in which pods can be created; deleted afterwards, without waiting."""
    name = f"suite-{uuid4().hex[:10]}"
    await kube.created({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await kube.until("serviceaccounts", name, "default", lambda _: True, FRESH)
    yield name
    await kube.delete("namespaces", "", name)


@pytest.fixture(scope="session")
def simulated() -> bool:
    """True when the cluster under test is the simulated one."""
    return VARIABLE not in os.environ

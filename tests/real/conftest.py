"""The real cluster of K8S_EXECUTION_TEST_KUBECONFIG; these tests are run where they are named: `make test-cluster`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from cluster import harness
from cluster.layout import ROOT, Layout
from support import cluster
from support.kubectl import Kubectl

HERE = Path(__file__).resolve().parent
VARIABLE = "K8S_EXECUTION_TEST_KUBECONFIG"


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Only for those who name this folder, or a file in it: a plain `pytest` has no real cluster."""
    named = [Path(config.invocation_params.dir, argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(HERE in (path, *path.parents) for path in named) else True


@pytest.fixture(scope="session")
def kubeconfig() -> Path:
    """The kubeconfig of the real cluster."""
    given = os.environ.get(VARIABLE)
    if not given:
        pytest.fail(f"{VARIABLE} must name the kubeconfig of a real cluster; `make test-cluster` brings one up")
    return Path(given)


@pytest.fixture(scope="session")
def layout(kubeconfig: Path) -> Layout:
    """The harness's cluster of the kubeconfig."""
    found = harness.status(kubeconfig.parent.name) if kubeconfig.parent.parent == ROOT else None
    if found is None:
        pytest.fail(f"{kubeconfig} is not of a cluster of the harness; `make test-cluster` brings one up")
    return found.layout


@pytest.fixture
def kubectl(kubeconfig: Path, tmp_path: Path) -> Iterator[Kubectl]:
    """kubectl in a fresh namespace of the real cluster."""
    with Kubectl(kubeconfig, tmp_path / "cache").fresh(f"real-{uuid4().hex[:8]}") as made:
        yield made


@pytest.fixture(scope="session")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a simulated cluster, to hold against the real one."""
    build = [sys.executable, str(HERE.parents[1] / "tools" / "build_agent.py")]
    agent = Path(subprocess.run(build, capture_output=True, text=True, check=True).stdout.split()[-1])
    with cluster.running(tmp_path_factory.mktemp("simulation"), agent) as kubeconfig:
        yield kubeconfig

"""Real parts for end-to-end tests: one simulated cluster a session; a service process a test, or one for many."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from support.service import Service

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def agent() -> Path:
    """The agent's program."""
    build = [sys.executable, str(ROOT / "tools" / "build_agent.py")]
    return Path(subprocess.run(build, capture_output=True, text=True, check=True).stdout.split()[-1])


@pytest.fixture(scope="session")
def simulation(tmp_path_factory: pytest.TempPathFactory, agent: Path) -> Iterator[Path]:
    """The kubeconfig of a simulated cluster that lives for the session, or the one that the tests are pointed at."""
    if given := os.environ.get("K8S_EXECUTION_TEST_KUBECONFIG"):
        yield Path(given)
        return
    folder = tmp_path_factory.mktemp("simulation")
    ready, kubeconfig = folder / "ready", folder / "kubeconfig"
    command = [sys.executable, "-m", "k8s_simulation", "--port", "0", "--kubeconfig", str(kubeconfig)]
    command += ["--data", str(folder / "data"), "--ready-file", str(ready), "--agent", str(agent)]
    with (folder / "log").open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
            time.sleep(0.02)
        json.loads(ready.read_text())
        yield kubeconfig
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in {0, -signal.SIGTERM}


@asynccontextmanager
async def serving(data: Path, kubeconfig: Path) -> AsyncIterator[Service]:
    """A started service; at the end it must leave on SIGTERM, without a defect in its log."""
    made = Service(data, kubeconfig)
    await made.start()
    try:
        yield made
    finally:
        code = await made.stop()
    assert code == 0, f"serve ended with {code}\n{made.tail()}"
    assert "defect" not in made.log.read_text(), made.tail()


@pytest.fixture
async def service(tmp_path: Path, simulation: Path) -> AsyncIterator[Service]:
    """A service of the test's own on the session's cluster."""
    async with serving(tmp_path / "data", simulation) as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(tmp_path_factory: pytest.TempPathFactory, simulation: Path) -> AsyncIterator[Service]:
    """A service for all tests that leave it as it was; they need `asyncio(loop_scope="session")`."""
    async with serving(tmp_path_factory.mktemp("shared") / "data", simulation) as made:
        yield made

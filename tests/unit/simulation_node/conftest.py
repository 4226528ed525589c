"""One node a test module, with and without namespaces; tests use names of their own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from unit.simulation_node.harness import Cluster, running


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpacked pip and relayed files, once a session."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "k8s-execution", "simulation")


@pytest_asyncio.fixture
async def cluster(tmp_path: Path, shared_cache: Path) -> AsyncIterator[Cluster]:
    """A node with namespaces."""
    async with running(tmp_path, cache=shared_cache) as made:
        yield made


@pytest_asyncio.fixture
async def plain_cluster(tmp_path: Path, shared_cache: Path) -> AsyncIterator[Cluster]:
    """A node without isolation."""
    async with running(tmp_path, isolation=False, cache=shared_cache) as made:
        yield made

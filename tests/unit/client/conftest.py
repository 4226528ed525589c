"""Fixtures of the client's tests: a fake service and a client that talks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from k8s_execution_client.client import ExecutionClient
from unit.client.driving import PLAN
from unit.client.fake_service import FakeService


@pytest.fixture
async def service() -> AsyncIterator[FakeService]:
    """A service on a loopback port."""
    async with FakeService() as running:
        yield running


@pytest.fixture
async def client(service: FakeService) -> AsyncIterator[ExecutionClient]:
    """A client of the service."""
    async with ExecutionClient(service.target, patience=5.0) as connected:
        yield connected


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A folder with a test and the smallest plan."""
    (tmp_path / "test_x.py").write_text("def test_x(): pass\n")
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    return path

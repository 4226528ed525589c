"""Fixtures of the client's tests: a fake service and a client that talks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from k8s_execution_client.client import ExecutionClient
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

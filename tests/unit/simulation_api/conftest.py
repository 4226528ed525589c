"""A control plane in the test's own loop, and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from k8s_simulation.controlplane import ControlPlane, Delays
from support.kubeapi import Kube


class HandClock:
    """A clock that stands still until it is moved: seconds since the epoch."""

    def __init__(self) -> None:
        """Some time in 2026."""
        self.now = 1_780_000_000.0

    def __call__(self) -> float:
        """The present time."""
        return self.now

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture
async def plane() -> AsyncIterator[ControlPlane]:
    """Plain HTTP, all controllers, no node."""
    made = ControlPlane(delays=Delays(service_account=0.0, quota_status=0.0), tls=False)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def kube(plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Kube]:
    """A client with the cluster's token."""
    path = tmp_path / "kubeconfig"
    path.write_text(plane.kubeconfig())
    async with Kube(path) as client:
        yield client


@pytest.fixture
async def namespace(kube: Kube) -> str:
    """A namespace with its service account."""
    await kube.created({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})
    await kube.until("serviceaccounts", "n", "default", lambda _: True)
    return "n"

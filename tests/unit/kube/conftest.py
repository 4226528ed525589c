"""Fixtures: a fake API server, short limits, and a cluster opened on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from k8s_execution.kube.client import Client
from k8s_execution.kube.cluster import Cluster, open_cluster
from k8s_execution.kube.limits import KubeLimits, Retry
from k8s_execution.kube.transport import open_transport
from unit.kube.fake_api import FakeApi

LIMITS = KubeLimits(
    requests_per_second=10_000,
    burst=10_000,
    connect_timeout=2,
    request_timeout=5,
    retry=Retry(base=0.005, cap=0.02),
    retry_after_cap=0.1,
    fresh_namespace_wait=0.5,
    missing_namespace_wait=0.3,
    fresh_rights_wait=0.3,
    fresh_namespace_retry=Retry(base=0.01, cap=0.05),
    watch_retry=Retry(base=0.005, cap=0.05),
    watch_stable=60,
    exec_idle_timeout=2,
)


class ProcessClock:
    """The process's own monotonic clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class FalseClock:
    """Time that passes only by sleeping in it; sleeps are recorded."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


async def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    """Wait for a condition, with a deadline."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - anybody's condition; it signals nothing
            await asyncio.sleep(0.002)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with FakeApi() as server:
        yield server


@pytest.fixture
async def client(api: FakeApi, executor: ThreadPoolExecutor) -> AsyncIterator[Client]:
    async with open_transport(api.config(), LIMITS, ProcessClock(), executor) as transport:
        yield Client(transport, LIMITS, ProcessClock())


Connect = Callable[..., AbstractAsyncContextManager[Cluster]]


@pytest.fixture
def connect(api: FakeApi, executor: ThreadPoolExecutor) -> Connect:
    """`connect(tasks, limits)` opens a cluster on the fake server and waits for its first lists."""

    @asynccontextmanager
    async def _connect(tasks: asyncio.TaskGroup, limits: KubeLimits = LIMITS) -> AsyncIterator[Cluster]:
        async with open_cluster(api.config(), tasks, clock=ProcessClock(), executor=executor, limits=limits) as cluster:
            await asyncio.wait_for(cluster.wait_synced(), 5)
            yield cluster

    return _connect

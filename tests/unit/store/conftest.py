"""What the store's tests share: a store on a real folder, and no task left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from k8s_execution.store.sqlite import SqlStore


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """The bounded pool of the service."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data folder; not made yet."""
    return tmp_path / "data folder % ?"


@pytest.fixture
async def store(data: Path, executor: ThreadPoolExecutor) -> AsyncIterator[SqlStore]:
    """An empty store."""
    async with SqlStore.open(data, executor) as opened:
        yield opened


@pytest.fixture(autouse=True)
async def no_task_left() -> AsyncIterator[None]:
    """Every task that a test began has ended with it."""
    before = asyncio.all_tasks()
    yield
    left = {t for t in asyncio.all_tasks() - before if t is not asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"

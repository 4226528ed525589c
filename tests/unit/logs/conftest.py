"""What log tests share: a store in a temporary folder, and no task left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from k8s_execution.logs.hub import Hub
from k8s_execution.logs.segments import JournalStore


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def store(tmp_path: Path, executor: ThreadPoolExecutor) -> JournalStore:
    return JournalStore(tmp_path, executor, Hub())


@pytest.fixture(autouse=True)
async def no_task_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = {t for t in asyncio.all_tasks() - before if t is not asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"

"""Adoption and admission outlive a store that does not answer for a while, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.faults import StoreUnavailable
from k8s_execution.engine import ownership
from k8s_execution.engine.ownership import Owner
from support import build


class RestlessClock:
    """A clock on which every pause is over at once."""

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, _seconds: float) -> None:
        await asyncio.sleep(0)


class FailingStore:
    """A store whose first look for executions ends in `fault`; the next one finds one."""

    owner = "me"

    def __init__(self, fault: Exception) -> None:
        self._faults = [fault]

    async def owned(self) -> Sequence[str]:
        return ()

    async def adopt(self, _cluster_uid: str) -> Sequence[Execution]:
        if self._faults:
            raise self._faults.pop()
        return (build.execution(),)

    async def adopt_stranded(self, _cluster_uid: str) -> Sequence[Execution]:
        return ()

    async def admit(self, _choose: object, _change: object, *, owner: str) -> Sequence[str]:
        await self.adopt(owner)
        self.admitted.set()
        return ()

    def subscribe(self, _listener: Callable[[str], None]) -> Callable[[], None]:
        self.admitted = asyncio.Event()
        return lambda: None


async def test_adoption_waits_for_a_store_that_does_not_answer() -> None:
    adopted = asyncio.Event()
    owner = Owner(
        cast(Any, FailingStore(StoreUnavailable("disk full"))), RestlessClock(), "uid", lambda _: adopted.set()
    )
    task = asyncio.create_task(owner.adopt_for_ever())
    await asyncio.wait_for(adopted.wait(), 5)
    task.cancel()
    await asyncio.wait({task})


async def test_admission_waits_for_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "ADMIT_EVERY", 0.0)
    store = FailingStore(StoreUnavailable("disk full"))
    task = asyncio.create_task(Owner(cast(Any, store), RestlessClock(), "uid", lambda _: None).admit_for_ever(1))
    await asyncio.sleep(0)
    await asyncio.wait_for(store.admitted.wait(), 5)
    task.cancel()
    await asyncio.wait({task})


async def test_a_defect_ends_adoption_so_that_the_process_restarts() -> None:
    owner = Owner(cast(Any, FailingStore(ZeroDivisionError())), RestlessClock(), "uid", lambda _: None)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(owner.adopt_for_ever(), 5)


class CountingStore(FailingStore):
    """A store that hears of ten changes while somebody looks for who waits; counts the looks."""

    def __init__(self) -> None:
        super().__init__(StoreUnavailable("unused"))
        self.looks = 0
        self.tell: list[Callable[[str], None]] = []

    async def admit(self, _choose: object, _change: object, *, owner: str) -> Sequence[str]:
        self.looks += 1
        return ()

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        self.tell.append(listener)
        return self.tell.clear


class PausingClock(RestlessClock):
    """A clock that stands still in the pause after a look until it is let go."""

    def __init__(self) -> None:
        self.paused, self.on = asyncio.Event(), asyncio.Event()

    async def sleep(self, _seconds: float) -> None:
        self.paused.set()
        await self.on.wait()


async def test_changes_that_come_together_are_one_look_for_who_waits() -> None:
    store, clock = CountingStore(), PausingClock()
    task = asyncio.create_task(Owner(cast(Any, store), clock, "uid", lambda _: None).admit_for_ever(1))
    await asyncio.wait_for(clock.paused.wait(), 5)
    for _ in range(10):
        store.tell[0]("x")
    assert store.looks == 1
    clock.paused.clear()
    clock.on.set()
    await asyncio.wait_for(clock.paused.wait(), 5)
    assert store.looks == 2
    task.cancel()
    await asyncio.wait({task})

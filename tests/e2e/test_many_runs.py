"""INV-BASELINE: after many runs the service process holds what it held after the first few."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from k8s_execution.store.engine import READERS
from k8s_execution.store.sqlite import DATABASE
from support import oracle, plans
from support.service import Service

pytestmark = pytest.mark.e2e

AT_ONCE = 6
RUNS = 30
SLACK = 2
GROWTH = 15 << 20
PLAN = plans.plan(plans.shell("s", "echo one; echo two"))


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds: numbers of open descriptors, of those that are sockets, of threads; bytes of memory.

    The store's connections are counted apart: they are opened as they are needed and kept, up to their number.
    """

    descriptors: int
    stores: int
    sockets: int
    threads: int
    resident: int

    @classmethod
    def by(cls, pid: int) -> Held:
        """Read /proc."""
        process = Path(f"/proc/{pid}")
        targets = [target_of(link) for link in (process / "fd").iterdir()]
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        resident = int(status["VmRSS"].split()[0]) << 10
        sockets = sum(target.startswith("socket:") for target in targets)
        stores = sum(target.endswith(f"/{DATABASE}") for target in targets)
        others = sum(f"/{DATABASE}" not in target for target in targets)
        return cls(others, stores, sockets, int(status["Threads"]), resident)

    def above(self, baseline: Held) -> dict[str, int]:
        """What is held beyond the baseline and the slack."""
        names = ("descriptors", "sockets", "threads")
        more = {name: getattr(self, name) - getattr(baseline, name) for name in names}
        return {name: count for name, count in more.items() if count > SLACK}


def target_of(link: Path) -> str:
    """Where a descriptor leads; empty if it was closed meanwhile."""
    try:
        return str(link.readlink())
    except OSError:
        return ""


def descriptors_of(pid: int) -> Counter[str]:
    """The open descriptors by target without numbers, to say which ones are too many."""
    links = Path(f"/proc/{pid}/fd").iterdir()
    return Counter(target_of(link).partition(":")[0] for link in links)


async def test_nothing_is_held_after_thirty_runs(service: Service) -> None:
    """Descriptors, sockets, threads within two of the baseline, memory within 15 MB; nothing in the cluster."""
    assert service.process is not None
    pid = service.process.pid
    await run(service, AT_ONCE)  # idle connections are kept for as many runs as there are at once
    baseline = Held.by(pid)
    executions = await run(service, RUNS)
    held = await settled(pid, baseline)
    assert held.above(baseline) == {}, f"INV-BASELINE: {held}, was {baseline}\n{descriptors_of(pid)}"
    assert held.stores <= READERS + 1, f"INV-BASELINE: {held}"
    grown = held.resident - baseline.resident
    assert grown < GROWTH, f"INV-BASELINE: {grown >> 20} MB more than {baseline.resident >> 20} MB"
    await oracle.check(service, executions[0], "PASSED")
    await oracle.check(service, executions[-1], "PASSED")
    oracle.nothing_left(service.kubeconfig)


async def run(service: Service, count: int) -> list[str]:
    """So many runs to their end, a few at once; their ids. Each passed."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one() -> str:
        async with turns:
            execution_id = await service.execute(PLAN)
            final = await service.done(execution_id)
            assert final.status == "passed", final.diagnosis
            return execution_id

    return list(await asyncio.gather(*(one() for _ in range(count))))


async def settled(pid: int, baseline: Held, patience: float = 20.0) -> Held:
    """What the process holds once it is back at the baseline, or at last: idle connections close by themselves."""
    deadline = time.monotonic() + patience
    while (held := Held.by(pid)).above(baseline) and time.monotonic() < deadline:  # noqa: ASYNC110 - /proc tells nobody
        await asyncio.sleep(0.1)
    return held

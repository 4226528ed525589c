"""Executions as Execute makes them, and changes of them, for tests of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from k8s_execution.domain import naming
from k8s_execution.domain.execution import Cluster, ClusterKind, Execution
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.ports.store import Acceptance, Change
from support import build

HERE = Cluster(ClusterKind.SIMULATED, "v1.34.0-simulated", "cluster-here")
ELSEWHERE = Cluster(ClusterKind.SIMULATED, "v1.34.0-simulated", "cluster-elsewhere", private=True)


def execution(**given: object) -> Execution:
    """A fresh execution with an id of its own."""
    key = naming.new_execution_id()
    base = build.execution(id=key, namespace=f"quality-fabric-{key}", cluster=HERE, created_at=0, epoch=0)
    return replace(base, **given)  # type: ignore[arg-type]  # names are checked by replace


def acceptance(**given: object) -> Acceptance:
    """The acceptance of a fresh execution."""
    return Acceptance(execution(**given), "fingerprint")


def warn(text: str = "a warning") -> Change:
    """A change that callers are told of."""
    return lambda before, _now: replace(before, warnings=(*before.warnings, text))


def entering(phase: Phase) -> Change:
    """A change of phase."""
    return lambda before, now: replace(before, phase=phase, entered={**before.entered, phase: now})


async def until(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)

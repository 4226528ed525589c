"""Stand-ins for cluster, manifests and logs, calls and changes, for tests of the use cases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import Specification
from k8s_execution.ports.cluster import Body
from k8s_execution.ports.logs import LogBatch
from k8s_execution.ports.store import ExecutionFilter, StatusEvent
from k8s_execution.usecases import ExecuteCall, UseCases
from support import build

PATIENCE = 30.0
EVERYTHING = ExecutionFilter()


class NamesOnly:
    """Manifests of which only the names are there: one object a call."""

    def namespace(self, execution: Execution) -> Body:
        return {"kind": "Namespace", "name": execution.namespace}

    def access(self, execution: Execution) -> list[Body]:
        return []

    def foundation(self, execution: Execution, secrets: Mapping[str, str]) -> list[Body]:
        return [{"kind": "Secret", "data": dict(secrets)}]

    def application(self, execution: Execution, name: str) -> list[Body]:
        return [{"kind": "Deployment", "name": name}]

    def step(self, execution: Execution, key: StepKey) -> Body:
        return {"kind": "Job", "name": key.name}


@dataclass
class Batches:
    """A log of these batches, all there is."""

    batches: tuple[LogBatch, ...] = ()

    async def read(self, execution_id: str, after: int, *, follow: bool) -> AsyncGenerator[LogBatch, None]:
        for batch in self.batches:
            if batch.index > after:
                yield batch


def call(spec: Specification | None = None, key: str = "", **secrets: str) -> ExecuteCall:
    """An Execute of a plan; the plainest one if none is given."""
    chosen = spec or build.specification()
    if secrets:
        chosen = replace(chosen, environment=replace(chosen.environment, secrets=tuple(secrets)))
    return ExecuteCall(chosen, secrets, key)


def named(number: int) -> ExecuteCall:
    """An Execute of a plan with a name of its own."""
    return call(replace(build.specification(), name=f"plan-{number}"))


def entering(phase: Phase) -> Callable[[Execution, int], Execution]:
    """A change that enters a phase."""
    return lambda execution, _now: replace(execution, phase=phase)


def warn(execution: Execution, _now: int) -> Execution:
    """A change that only adds a warning."""
    return replace(execution, warnings=(*execution.warnings, "w"))


async def data(*parts: bytes) -> AsyncIterator[bytes]:
    """These bytes as a stream."""
    for part in parts:
        yield part


async def collect(cases: UseCases, execution_id: str, cursor: str, count: int) -> list[tuple[StatusEvent, str]]:
    """The first events of a watch; fewer if it ends."""
    found: list[tuple[StatusEvent, str]] = []
    async with asyncio.timeout(PATIENCE), aclosing(cases.watch(execution_id, cursor)) as stream:  # type: ignore[type-var]  # a generator
        async for pair in stream:
            found.append(pair)
            if len(found) == count:
                break
    return found

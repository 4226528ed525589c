"""Stand-ins for store, cluster, manifests and logs, for tests of what the engine does with a decision."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.facts import EventFact, Observed, PodFact
from k8s_execution.domain.faults import NotFound
from k8s_execution.engine.maskers import Maskers
from k8s_execution.engine.tools import Tools
from k8s_execution.ports.cluster import Body, Created
from k8s_execution.runtime.threads import Threads
from support import build

Change = Callable[[Execution, int], Execution]


@dataclass(slots=True)
class ManualClock:
    """Time that stands until it is moved."""

    time: float = 0.0

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class Records:
    """A store in memory at a fixed time; `faults` are raised by the next changes, one each."""

    executions: dict[str, Execution] = field(default_factory=dict)
    owner: str = ""
    taken: int = 0
    faults: list[Exception] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    listeners: list[Callable[[str], None]] = field(default_factory=list)

    @staticmethod
    def of(*executions: Execution) -> Records:
        """A store of these."""
        return Records({e.id: e for e in executions})

    async def now(self) -> int:
        return build.START

    async def get(self, execution_id: str) -> Execution:
        self.reads.append(execution_id)
        if execution_id not in self.executions:
            raise NotFound(execution_id)
        return self.executions[execution_id]

    async def change(self, execution_id: str, change: Change, *, epoch: int, revision: int | None = None) -> Execution:
        if self.faults:
            raise self.faults.pop(0)
        before = self.executions[execution_id]
        assert epoch == before.epoch
        after = change(before, build.START)
        if after == before:
            return before
        self.executions[execution_id] = replace(after, revision=before.revision + 1)
        for listener in list(self.listeners):
            listener(execution_id)
        return self.executions[execution_id]

    async def hold(self, execution_id: str, change: Change, *, epoch: int) -> Execution:
        return await self.change(execution_id, lambda e, _now: change(e, self.taken), epoch=epoch)

    async def sealed_secrets(self, execution_id: str) -> bytes:
        return b""

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)


@dataclass
class Creations:
    """A cluster that notes what is created; `answers` are faults of kinds, raised as often as they are listed."""

    answers: dict[str, list[Exception]] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    events_of: dict[str, tuple[EventFact, ...]] = field(default_factory=dict)
    seen: Observed = field(default_factory=build.observed)
    listeners: list[Callable[[str], None]] = field(default_factory=list)
    identity: Any = build.CLUSTER

    async def create(self, body: Body, execution_id: str) -> Created:
        kind = str(body["kind"])
        self.created.append(kind)
        if self.answers.get(kind):
            raise self.answers[kind].pop(0)
        return Created(f"{kind}-uid", build.START + build.SECOND, existed=False)

    async def events(self, namespace: str, involved_uid: str = "") -> Sequence[EventFact]:
        return self.events_of[involved_uid]

    def observe(self, execution_id: str) -> Observed:
        return self.seen

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)


@dataclass
class KindsOnly:
    """Manifests of which only the kinds are there; notes the threads it is asked on."""

    threads: set[int] = field(default_factory=set)
    with_access: bool = False

    def namespace(self, execution: Execution) -> Body:
        return self._made("Namespace")

    def access(self, execution: Execution) -> list[Body]:
        return [self._made("RoleBinding")] if self.with_access else []

    def foundation(self, execution: Execution, secrets: Mapping[str, str]) -> list[Body]:
        return [self._made("ResourceQuota"), self._made("Secret")]

    def application(self, execution: Execution, name: str) -> list[Body]:
        return [self._made("Service"), self._made("Deployment")]

    def step(self, execution: Execution, key: StepKey) -> Body:
        return self._made("Job")

    def _made(self, kind: str) -> Body:
        self.threads.add(threading.get_ident())
        return {"kind": kind}


@dataclass
class QuietLogs:
    """Logs that are never followed; counts the looks, and notes what is forgotten."""

    forgotten: list[str] = field(default_factory=list)
    looks: int = 0

    def observe(self, execution_id: str, pods: Sequence[PodFact], masker: object) -> None:
        self.looks += 1

    def unread(self, execution_id: str) -> frozenset[str]:
        return frozenset()

    async def forget(self, execution_id: str) -> None:
        self.forgotten.append(execution_id)


@dataclass
class Engine:
    """The stand-ins together, and the tools made of them."""

    threads: Threads
    store: Records
    cluster: Creations = field(default_factory=Creations)
    manifests: KindsOnly = field(default_factory=KindsOnly)
    logs: QuietLogs = field(default_factory=QuietLogs)

    def tools(self, most_held: int = 1) -> Tools:
        """The engine's tools."""
        collector = SimpleNamespace()
        maskers = Maskers(cast(Any, self.store), cast(Any, None))
        return Tools(
            store=cast(Any, self.store),
            cluster=cast(Any, self.cluster),
            manifests=self.manifests,
            collector=cast(Any, collector),
            keeper=cast(Any, None),
            logs=cast(Any, self.logs),
            maskers=maskers,
            threads=self.threads,
            most_held=most_held,
        )

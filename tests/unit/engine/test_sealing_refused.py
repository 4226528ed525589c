"""Sealing where the cluster refuses to be read: the execution ends, and its evidence says what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from k8s_execution.domain.facts import EventFact, PodFact
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.verdict import Code, Diagnosis
from k8s_execution.engine import collecting
from k8s_execution.engine.tools import Tools
from k8s_execution.ports.cluster import Refused
from k8s_execution.ports.logs import LogSummary
from support import build
from unit.engine.test_collecting import OneRecord


class ForbiddenCluster:
    """A cluster that shows no events."""

    identity = build.CLUSTER

    def observe(self, _execution_id: str) -> SimpleNamespace:
        return SimpleNamespace(pods=())

    async def events(self, _namespace: str) -> Sequence[EventFact]:
        raise Refused(403, "Forbidden", "cannot list events")


class SealedLogs:
    """Logs without a line."""

    async def seal(self, _execution_id: str, _pods: Sequence[PodFact], _timeout: float) -> LogSummary:
        return LogSummary(0, 0, "sha", ())


class Patient(SealedLogs):
    """Notes how long it may take."""

    timeout = 0.0

    async def seal(self, execution_id: str, pods: Sequence[PodFact], timeout: float) -> LogSummary:
        self.timeout = timeout
        return await super().seal(execution_id, pods, timeout)


async def test_what_may_not_be_read_is_a_gap_at_once() -> None:
    """A missing right does not come by asking again."""
    store, none = OneRecord(build.execution(phase=Phase.COLLECTING)), cast(Any, None)
    cluster, logs = cast(Any, ForbiddenCluster()), cast(Any, SealedLogs())
    tools = Tools(cast(Any, store), cluster, none, none, none, logs, none, none, 0)
    await collecting.seal(tools, store.execution, 0)
    assert store.execution.evidence is not None
    assert store.execution.evidence.gaps == ("events and pod statuses may not be read: cannot list events",)


async def test_the_logs_of_a_lost_node_are_not_waited_for_long() -> None:
    """It gives no refusal, only silence."""
    lost = Diagnosis(Code.NODE_LOST, "the node was lost")
    waited = []
    for cause in (None, lost):
        store, none, logs = (
            OneRecord(build.execution(phase=Phase.COLLECTING, failure=cause)),
            cast(Any, None),
            Patient(),
        )
        cluster = cast(Any, ForbiddenCluster())
        tools = Tools(cast(Any, store), cluster, none, none, none, cast(Any, logs), none, none, 0)
        await collecting.seal(tools, store.execution, 0)
        waited.append(logs.timeout)
    assert waited == [collecting.SEAL_SECONDS, collecting.SEAL_SECONDS_OF_A_LOST_NODE]

"""Test code in, results out: what the engine needs of the step's collector container."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from k8s_execution.domain.agent_record import AgentRecord
from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.facts import PodFact
from k8s_execution.ports.cluster import Body
from k8s_execution.ports.store import StepResult


@dataclass(frozen=True, slots=True)
class Collected:
    """What was brought home of one step. `record` is None where the agent left none.

    `reports` counts the report files found, `output_tail` is the masked end of what the step printed, `gaps` say what
    could not be had and why. `started` is False where the agent's start marker was looked for and is not there.
    """

    record: AgentRecord | None
    result: StepResult
    reports: int
    output_tail: str
    gaps: tuple[str, ...] = ()
    started: bool = True


class StepCollector(Protocol):
    """Talks to the collector container through exec; every call may be repeated.

    Raises cluster.ExecFailed, and cluster.Unreachable where the API server does not answer.
    """

    async def send_source(self, execution: Execution, pod: PodFact) -> None:
        """Stream the execution's source into the pod and have it confirmed."""
        ...

    async def collect(self, execution: Execution, key: StepKey, pod: PodFact) -> Collected:
        """Record, reports and artifacts of a step whose container ended."""
        ...

    async def stop(self, pod: PodFact) -> None:
        """Ask the running step to end."""
        ...

    async def release(self, pod: PodFact) -> None:
        """Let the collector end."""
        ...


class EvidenceKeeper(Protocol):
    """Keeps what is not a log: objects as they were."""

    async def keep_objects(self, execution: Execution, name: str, bodies: Sequence[Body]) -> None:
        """Store objects as one JSON Lines file `objects/{name}.jsonl`."""
        ...

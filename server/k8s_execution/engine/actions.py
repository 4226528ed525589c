"""What a decision can ask for, as values: the closed set that `actuate` carries out."""

from __future__ import annotations

from dataclasses import dataclass

from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.facts import PodFact


@dataclass(frozen=True, slots=True)
class CreateNamespace:
    """POST the namespace and record its uid, creation time and expiry."""


@dataclass(frozen=True, slots=True)
class CreateFoundation:
    """POST quota, limits, policies, account, secret, config maps and services, then record it."""


@dataclass(frozen=True, slots=True)
class CreateApplications:
    """POST the Deployments of some applications together, then record them as created."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StartStep:
    """POST the Job of one try; STARTING was recorded before."""

    key: StepKey


@dataclass(frozen=True, slots=True)
class FetchEvents:
    """List the Events of an owner that lacks its pods, so that the next decision sees why."""

    involved_uid: str


@dataclass(frozen=True, slots=True)
class SendSource:
    """Send the test code into a step's pod."""

    key: StepKey
    pod: PodFact


@dataclass(frozen=True, slots=True)
class StopStep:
    """Ask the agent to end a running step: TERM, grace, KILL; its record and files stay."""

    key: StepKey
    pod: PodFact


@dataclass(frozen=True, slots=True)
class CollectStep:
    """Bring a step's record, reports and artifacts home, judge the step and record it as FINISHED."""

    key: StepKey
    pod: PodFact


@dataclass(frozen=True, slots=True)
class ReleaseStep:
    """Let the collector of a collected step end, so that the pod gives its room back."""

    key: StepKey
    pod: PodFact


@dataclass(frozen=True, slots=True)
class SealEvidence:
    """Read all logs to their end, keep events, statuses and manifests, hash, and record the evidence."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the environment until then (µs), if a place for held environments is left."""

    until: int


@dataclass(frozen=True, slots=True)
class DeleteWorkload:
    """Ask the namespace to go, end its pods with a short grace, and wait until none is left."""


@dataclass(frozen=True, slots=True)
class DeleteNamespace:
    """Delete the namespace (uid precondition) and record when it is seen to be gone."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Forget follows, operations and timers of an execution that is DONE."""


ShortAction = CreateNamespace | CreateFoundation | CreateApplications | StartStep | FetchEvents | Hold | Finish
"""Awaited by the loop before it looks at another execution."""

LongAction = SendSource | StopStep | CollectStep | ReleaseStep | SealEvidence | DeleteWorkload | DeleteNamespace
"""Run beside the loop, one of a name at a time (`engine.operations`)."""

Action = ShortAction | LongAction


@dataclass(frozen=True, slots=True)
class Plan:
    """A decision: the record as it should be from now on, what to do then, and when to look again (µs)."""

    execution: Execution
    actions: tuple[Action, ...] = ()
    wake_at: int | None = None


def sooner(*times: int | None) -> int | None:
    """The earliest of some times, None where there is none."""
    return min((t for t in times if t is not None), default=None)

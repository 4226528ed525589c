"""What became of a request: the execution's record, as one immutable value.

The store keeps it, `engine.decide` makes the next one from it, every answer is drawn from it. It must not hold what
Kubernetes can be asked for again (pods, jobs): only what must outlive the namespace. Times are integer microseconds
since the epoch, by the store's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import Specification, Step, StepKind
from k8s_execution.domain.testcase import TestCounts
from k8s_execution.domain.verdict import Diagnosis, Verdict


class StepPhase(StrEnum):
    """Where a step stands. STARTING is recorded before its Job is created, so that it is created once."""

    PENDING = "PENDING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    COLLECTING = "COLLECTING"
    FINISHED = "FINISHED"
    SKIPPED = "SKIPPED"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to the step."""
        return self in {StepPhase.FINISHED, StepPhase.SKIPPED}

    @property
    def begun(self) -> bool:
        """Whether a pod of the step may exist."""
        return self in {StepPhase.STARTING, StepPhase.RUNNING, StepPhase.COLLECTING}


@dataclass(frozen=True, slots=True, order=True)
class StepKey:
    """Names one try of one step within its execution."""

    kind: StepKind
    name: str
    shard: int = 0
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class StepState:
    """One try of one step. `source_sent` is set once the agent confirmed the unpacked source."""

    key: StepKey
    phase: StepPhase = StepPhase.PENDING
    verdict: Verdict | None = None
    diagnosis: Diagnosis | None = None
    exit_code: int | None = None
    pod: str = ""
    pod_uid: str = ""
    source_sent: bool = False
    released: bool = False
    tests: TestCounts | None = None
    started_at: int | None = None
    finished_at: int | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to this try."""
        return self.phase.ended


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was sealed before deletion; `gaps` says what could not be had and why, empty means complete."""

    sealed_at: int
    log_bytes: int
    log_lines: int
    sha256: str
    gaps: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything the containers said and left is kept."""
        return not self.gaps


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """An image as it really ran: `ran_as` is set by simulated clusters (the local program)."""

    ref: str
    digest: str
    ran_as: str = ""


class ClusterKind(StrEnum):
    """Whether containers really run, or local programs in their place."""

    SIMULATED = "SIMULATED"
    KUBERNETES = "KUBERNETES"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where an execution runs; `uid` is the uid of the cluster's kube-system namespace.

    A `private` cluster was started by the service's own process and ended with it: nothing of it is left afterwards.
    """

    kind: ClusterKind
    version: str
    uid: str
    private: bool = False


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of one test plan in its own environment.

    `revision` counts writes (optimistic concurrency), `sequence` counts status events, `epoch` counts owners.
    `failure` is the first cause that sent the execution to its end; the verdict is drawn from it on leaving
    COLLECTING. `entered` maps a phase to the time it was entered. `gaps` gathers what could not be brought home
    until the evidence is sealed.
    """

    id: str
    specification: Specification
    namespace: str
    cluster: Cluster
    phase: Phase = Phase.QUEUED
    steps: tuple[StepState, ...] = ()
    verdict: Verdict | None = None
    failure: Diagnosis | None = None
    cancel_requested: bool = False
    cleanup_requested: bool = False
    namespace_uid: str = ""
    namespace_created_at: int | None = None
    foundation_created: bool = False
    applications_created: frozenset[str] = frozenset()
    workload_deleted: bool = False
    namespace_deleted: bool = False
    evidence: Evidence | None = None
    tests: TestCounts = TestCounts()
    images: tuple[ResolvedImage, ...] = ()
    warnings: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    entered: dict[Phase, int] = field(default_factory=dict)
    created_at: int = 0
    finished_at: int | None = None
    expires_at: int | None = None
    hold_until: int | None = None
    sequence: int = 0
    revision: int = 0
    epoch: int = 0
    owner: str = ""

    def step(self, key: StepKey) -> StepState:
        """The state of one try; KeyError if there is none."""
        for state in self.steps:
            if state.key == key:
                return state
        raise KeyError(key)

    def spec_of(self, key: StepKey) -> Step:
        """What the caller asked for in this step; KeyError if there is none."""
        for step in self.specification.test_plan.steps:
            if (step.kind, step.name) == (key.kind, key.name):
                return step
        raise KeyError(key)

    def with_step(self, state: StepState) -> Execution:
        """The same execution with one try's state replaced."""
        return replace(self, steps=tuple(state if s.key == state.key else s for s in self.steps))

    def of_kind(self, kind: StepKind) -> tuple[StepState, ...]:
        """The states of all steps of one kind, in plan order."""
        return tuple(s for s in self.steps if s.key.kind is kind)

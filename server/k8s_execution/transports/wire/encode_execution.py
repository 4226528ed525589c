"""An execution as callers read it. Pure.

Everything an answer shows is drawn from the record; nothing here can hold a secret, because the record holds none
(log excerpts are masked where they are cut out).
"""

from __future__ import annotations

from typing import assert_never

from google.protobuf.timestamp_pb2 import Timestamp

from k8s_execution.domain import holding
from k8s_execution.domain.execution import Evidence, Execution, StepState
from k8s_execution.domain.lifecycle import ORDER, Phase
from k8s_execution.domain.testcase import TestCounts
from k8s_execution.domain.verdict import Diagnosis, Verdict
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2 as pb

EXCERPT = 4096
"""The longest excerpt, in characters (the contract)."""

STEP_EXCERPT = 1_000
"""The same for one step of many: all of them together must fit into a message."""

MICRO = 1_000_000


def execution(
    record: Execution, *, queue_position: int = 0, now: int | None = None, steps: bool = True
) -> pb.Execution:
    """The whole answer; `now` (µs) ends the phase that is still going on, lists leave the steps out."""
    decided = record.verdict is not None
    return pb.Execution(
        id=record.id,
        test_id=record.id,
        status=status(record),
        name=record.specification.name,
        project=record.specification.project,
        labels=record.specification.labels,
        namespace=record.namespace,
        cluster=_cluster(record),
        phase=pb.Phase.Value(record.phase.value),
        verdict=verdict(record.verdict),
        diagnosis=diagnosis(record.failure) if decided and record.failure else None,
        steps=[_step(s) for s in record.steps] if steps else None,
        tests=counts(record.tests),
        resolved=_resolved(record),
        evidence=_evidence(record.evidence) if record.evidence else None,
        timings=timings(record, now),
        warnings=record.warnings,
        created_at=timestamp(record.created_at),
        finished_at=timestamp(record.finished_at),
        expires_at=timestamp(record.expires_at),
        sequence=record.sequence,
        queue_position=queue_position,
        held_until=timestamp(record.hold_until) if holding.place(record) is holding.Place.HELD else None,
    )


def status(record: Execution) -> str:
    """The one word that old callers read: the phase while it runs, then what came of it."""
    match record.verdict:
        case None:
            return record.phase.value.lower()
        case Verdict.PASSED:
            return "passed"
        case Verdict.TESTS_FAILED:
            return "failed"
        case Verdict.TIMED_OUT:
            return "timeout"
        case Verdict.CANCELLED:
            return "cancelled"
        case (
            Verdict.PLAN_FAILED
            | Verdict.APPLICATION_FAILED
            | Verdict.ENVIRONMENT_FAILED
            | Verdict.INFRASTRUCTURE_FAILED
        ):
            return "error"
        case _:
            assert_never(record.verdict)


def timings(record: Execution, now: int | None) -> pb.Timings:
    """Seconds in each phase entered; the last one lasts until `now`, or is left out where that is not given."""
    entered = [(Phase.QUEUED, record.created_at)]
    entered += [(phase, record.entered[phase]) for phase in ORDER[1:] if phase in record.entered]
    ends = [*(time for _, time in entered[1:]), now]
    spent = {
        phase.value.lower(): max(0, end - start) / MICRO
        for (phase, start), end in zip(entered, ends, strict=True)
        if end is not None and phase is not Phase.DONE
    }
    return pb.Timings(**spent)


def diagnosis(cause: Diagnosis, excerpt: int = EXCERPT) -> pb.Diagnosis:
    """The structured cause, with at most so many characters of its excerpt."""
    return pb.Diagnosis(
        code=cause.code.value,
        message=cause.message,
        object=cause.object,
        excerpt=cause.excerpt[-excerpt:],
        retryable=cause.retryable,
        hint=cause.hint,
    )


def counts(tests: TestCounts) -> pb.TestCounts:
    """Counts of test cases."""
    return pb.TestCounts(
        total=tests.total,
        passed=tests.passed,
        failed=tests.failed,
        errors=tests.errors,
        skipped=tests.skipped,
        flaky=tests.flaky,
    )


def timestamp(micros: int | None) -> Timestamp | None:
    """Microseconds since the epoch; None stays absent."""
    if micros is None:
        return None
    seconds, rest = divmod(micros, MICRO)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def verdict(value: Verdict | None) -> pb.Verdict.ValueType:
    """The verdict; unspecified where there is none yet."""
    return pb.Verdict.Value(value.value) if value else pb.VERDICT_UNSPECIFIED


def _cluster(record: Execution) -> pb.Cluster:
    return pb.Cluster(kind=pb.Cluster.Kind.Value(record.cluster.kind.value), version=record.cluster.version)


def _step(state: StepState) -> pb.Step:
    return pb.Step(
        name=state.key.name,
        kind=pb.Step.Kind.Value(state.key.kind.value),
        attempt=state.key.attempt,
        shard=state.key.shard,
        phase=pb.Step.Phase.Value(state.phase.value),
        verdict=verdict(state.verdict),
        started_at=timestamp(state.started_at),
        finished_at=timestamp(state.finished_at),
        exit_code=state.exit_code,
        pod=state.pod,
        diagnosis=diagnosis(state.diagnosis, STEP_EXCERPT) if state.diagnosis else None,
    )


def _resolved(record: Execution) -> pb.Resolved:
    images = sorted(record.images, key=lambda i: i.ref)
    return pb.Resolved(images=[pb.ResolvedImage(ref=i.ref, digest=i.digest, ran_as=i.ran_as) for i in images])


def _evidence(evidence: Evidence) -> pb.Evidence:
    return pb.Evidence(
        complete=evidence.complete,
        gaps=evidence.gaps,
        log_bytes=evidence.log_bytes,
        log_lines=evidence.log_lines,
        sha256=evidence.sha256,
    )

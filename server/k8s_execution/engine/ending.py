"""How an execution ends: the first cause recorded, what did not begin skipped, the verdict drawn once. Pure."""

from __future__ import annotations

from dataclasses import replace

from k8s_execution.domain.execution import Execution, StepPhase, StepState
from k8s_execution.domain.lifecycle import RUNNING, Phase, move
from k8s_execution.domain.plan import StepKind
from k8s_execution.domain.verdict import Code, Diagnosis, Verdict

_WORST_FIRST = (
    Verdict.INFRASTRUCTURE_FAILED,
    Verdict.ENVIRONMENT_FAILED,
    Verdict.APPLICATION_FAILED,
    Verdict.PLAN_FAILED,
    Verdict.TIMED_OUT,
    Verdict.CANCELLED,
    Verdict.TESTS_FAILED,
)
"""Which step's verdict stands for the execution: a cause outside the tests says more than a failed test."""


def enter(execution: Execution, phase: Phase, now: int) -> Execution:
    """The execution in its next phase, with the time noted; IllegalTransition for a wrong move."""
    return replace(execution, phase=move(execution.phase, phase), entered={**execution.entered, phase: now})


def fail(execution: Execution, diagnosis: Diagnosis, now: int) -> Execution:
    """Note the first cause and turn to TEARDOWN (if a hook or suite began) or COLLECTING; later causes change nothing.

    What has not begun is skipped; what runs is stopped by the decisions that follow.
    """
    if execution.failure is not None or execution.phase not in RUNNING | {Phase.QUEUED}:
        return execution
    began = any(s.phase is not StepPhase.PENDING and s.phase is not StepPhase.SKIPPED for s in execution.steps)
    failed = skip_pending(replace(execution, failure=diagnosis), keep_teardown=began, now=now)
    target = Phase.TEARDOWN if began else Phase.COLLECTING
    return enter(failed, target, now)


def skip_pending(execution: Execution, *, keep_teardown: bool, now: int) -> Execution:
    """Mark every step that has not begun as SKIPPED, teardown hooks only if they are not to run."""

    def skipped(state: StepState) -> StepState:
        keep = keep_teardown and state.key.kind is StepKind.TEARDOWN
        if state.phase is not StepPhase.PENDING or keep:
            return state
        return replace(state, phase=StepPhase.SKIPPED, finished_at=now)

    return replace(execution, steps=tuple(skipped(s) for s in execution.steps))


def finish_step(execution: Execution, state: StepState, diagnosis: Diagnosis, now: int) -> Execution:
    """A step that ended without a result of its own, for the given cause; the files it may have left are a gap."""
    done = replace(
        state, phase=StepPhase.FINISHED, verdict=diagnosis.verdict, diagnosis=diagnosis, finished_at=now, released=True
    )
    step, gaps = execution.spec_of(state.key), execution.gaps
    may_have_files = state.phase in {StepPhase.RUNNING, StepPhase.COLLECTING} and diagnosis.code != Code.SOURCE_FAILED
    if may_have_files and (step.reports or step.artifacts):
        gaps = (*gaps, f"reports and artifacts of {state.key.kind.lower()}/{state.key.name} were lost with its pod")
    return replace(execution.with_step(done), gaps=gaps)


def warn(execution: Execution, text: str) -> Execution:
    """The execution with one more warning; a repeated one is not added."""
    return execution if text in execution.warnings else replace(execution, warnings=(*execution.warnings, text))


def judge(execution: Execution) -> tuple[Verdict, Diagnosis | None]:
    """The verdict: the first cause if there is one, else the worst of the steps that count."""
    if execution.failure is not None:
        return execution.failure.verdict, execution.failure
    counted = [s for s in execution.steps if s.verdict is not None and not _optional(execution, s)]
    for verdict in _WORST_FIRST:
        for state in counted:
            if state.verdict is verdict:
                return verdict, state.diagnosis
    if not any(s.key.kind is StepKind.SUITE and s.phase is StepPhase.FINISHED for s in execution.steps):
        return Verdict.PLAN_FAILED, Diagnosis(Code.NO_TESTS, "no suite ran", hint="see why the suites were skipped")
    return Verdict.PASSED, None


def close(execution: Execution, now: int) -> Execution:
    """Leave COLLECTING: fix the verdict once and for all."""
    verdict, diagnosis = judge(execution)
    closed = replace(execution, verdict=verdict, failure=diagnosis)
    return enter(closed, Phase.CLEANING, now)


def _optional(execution: Execution, state: StepState) -> bool:
    return state.key.kind is StepKind.SUITE and execution.spec_of(state.key).optional

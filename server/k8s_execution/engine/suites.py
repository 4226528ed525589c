"""SETUP, TESTING and TEARDOWN: which hook or suite may start now, and when the phase is over. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from k8s_execution.domain import graph
from k8s_execution.domain.execution import Execution, StepKey, StepPhase, StepState
from k8s_execution.domain.facts import Observed
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import StepKind
from k8s_execution.domain.verdict import Verdict
from k8s_execution.engine import provisioning, steps
from k8s_execution.engine.actions import Action, Plan
from k8s_execution.engine.ending import enter, skip_pending


def setup(execution: Execution, now: int) -> Plan:
    """Run the setup hooks that nobody waited for; TESTING when all have passed."""
    execution = _start_ready(execution, StepKind.SETUP, graph.build(execution.specification).setup)
    if all(s.ended for s in execution.of_kind(StepKind.SETUP)):
        return Plan(enter(execution, Phase.TESTING, now))
    return Plan(execution)


def testing(execution: Execution, observed: Observed, now: int) -> Plan:
    """Start suites as order and parallelism allow; the next phase when all have ended."""
    execution = provisioning.note_restarts(execution, observed)
    actions: tuple[Action, ...] = ()
    if execution.specification.test_plan.strategy.fail_fast and _has_failed(execution):
        execution = skip_pending(execution, keep_teardown=True, now=now)
        actions = tuple(a for s in execution.of_kind(StepKind.SUITE) for a in steps.stop(observed, s))
    else:
        execution = _start_suites(_skip(execution, _hopeless(execution), now))
    if not all(s.ended for s in execution.of_kind(StepKind.SUITE)):
        return Plan(execution, actions)
    return Plan(enter(execution, Phase.TEARDOWN if _has_teardown(execution) else Phase.COLLECTING, now), actions)


def teardown(execution: Execution, now: int) -> Plan:
    """Run the teardown hooks in order, whatever became of the one before; COLLECTING when all have ended."""
    waits = graph.build(execution.specification).teardown
    ended = {s.key.name for s in execution.of_kind(StepKind.TEARDOWN) if s.ended}
    for state in execution.of_kind(StepKind.TEARDOWN):
        if state.phase is StepPhase.PENDING and waits[state.key.name] <= ended:
            execution = steps.start(execution, state.key)
    if all(s.ended for s in execution.of_kind(StepKind.TEARDOWN)):
        return Plan(enter(execution, Phase.COLLECTING, now))
    return Plan(execution)


def _start_ready(execution: Execution, kind: StepKind, waits: Mapping[str, frozenset[str]]) -> Execution:
    passed = {s.key.name for s in execution.of_kind(kind) if s.verdict is Verdict.PASSED}
    for name, after in waits.items():
        key = StepKey(kind, name)
        if execution.step(key).phase is StepPhase.PENDING and after <= passed:
            execution = steps.start(execution, key)
    return execution


def _start_suites(execution: Execution) -> Execution:
    waits = graph.build(execution.specification).suites
    passed = {s.key.name for s in execution.of_kind(StepKind.SUITE) if s.verdict is Verdict.PASSED}
    room = execution.specification.test_plan.strategy.parallel
    room -= sum(1 for s in execution.of_kind(StepKind.SUITE) if s.phase.begun)
    for state in execution.of_kind(StepKind.SUITE):
        if room > 0 and state.phase is StepPhase.PENDING and waits[state.key.name] <= passed:
            execution = steps.start(execution, state.key)
            room -= 1
    return execution


def _hopeless(execution: Execution) -> list[StepState]:
    """Pending suites that wait for one which ended without passing."""
    waits = graph.build(execution.specification).suites
    suites = execution.of_kind(StepKind.SUITE)
    lost = {s.key.name for s in suites if s.ended and s.verdict is not Verdict.PASSED}
    return [s for s in suites if s.phase is StepPhase.PENDING and waits[s.key.name] & lost]


def _skip(execution: Execution, states: list[StepState], now: int) -> Execution:
    for state in states:
        execution = execution.with_step(replace(state, phase=StepPhase.SKIPPED, finished_at=now))
    again = _hopeless(execution) if states else []
    return _skip(execution, again, now) if again else execution


def _has_failed(execution: Execution) -> bool:
    return any(
        s.phase is StepPhase.FINISHED and s.verdict is not Verdict.PASSED and not execution.spec_of(s.key).optional
        for s in execution.of_kind(StepKind.SUITE)
    )


def _has_teardown(execution: Execution) -> bool:
    """Whether teardown hooks are to run: they always do once a hook or suite began."""
    began = any(s.phase is StepPhase.FINISHED for s in execution.steps)
    return began and bool(execution.specification.test_plan.teardown)

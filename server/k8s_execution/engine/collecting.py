"""Operations that talk to step pods and bring evidence home; each may be repeated and writes its own result."""

from __future__ import annotations

from dataclasses import replace

from k8s_execution.domain import naming
from k8s_execution.domain.execution import Evidence, Execution, StepKey, StepPhase
from k8s_execution.domain.facts import ContainerFact, ContainerState, PodFact
from k8s_execution.domain.testcase import TestCounts, count
from k8s_execution.domain.verdict import Code, Diagnosis
from k8s_execution.engine import outcome, preview
from k8s_execution.engine.ending import finish_step
from k8s_execution.engine.tools import Tools
from k8s_execution.ports.cluster import Body, ExecFailed, Refused, Unreachable
from k8s_execution.ports.evidence import Collected
from k8s_execution.ports.store import StepResult

PATIENT_TRIES = 10
"""About a minute, with the pauses of `operations`: an API server that restarts costs no test code and no results."""
FEW_TRIES = 4
"""Where the collector does not run any more, or the step left no record: waiting will hardly help."""
RELEASE_TRIES = 3
SEAL_SECONDS = 60.0
SEAL_SECONDS_OF_A_LOST_NODE = 10.0
"""Whoever asks for its logs gets no refusal, but silence."""


async def send_source(tools: Tools, execution: Execution, key: StepKey, pod: PodFact, failures: int) -> None:
    """Send the test code and record that it was confirmed; after some tries, that the step cannot begin."""
    refused: Diagnosis | None = None
    try:
        await tools.collector.send_source(execution, pod)
    except (ExecFailed, Unreachable) as fault:
        if failures + 1 < PATIENT_TRIES:
            raise
        refused = Diagnosis(Code.SOURCE_FAILED, f"the test code could not be sent: {fault}", f"pod/{pod.name}")

    def record(current: Execution, now: int) -> Execution:
        state = current.step(key)
        if refused is None:
            return current.with_step(replace(state, source_sent=True))
        return finish_step(current, state, refused, now) if state.phase is StepPhase.RUNNING else current

    await tools.store.change(execution.id, record, epoch=execution.epoch)


async def collect_step(tools: Tools, execution: Execution, key: StepKey, pod: PodFact, failures: int) -> None:
    """Bring a step's record and files home, judge it, record it; after some tries without its files."""
    step = execution.spec_of(key)
    container = pod.container(naming.STEP_CONTAINER)
    try:
        collected = await tools.collector.collect(execution, key, pod)
        if failures + 1 < FEW_TRIES:
            _refuse_unexplained(collected, container)
    except (ExecFailed, Unreachable) as fault:
        if failures + 1 < _tries(pod):
            raise
        gap = f"reports and artifacts of {key.kind.lower()}/{key.name} could not be read: {fault}"
        collected = Collected(None, StepResult(execution.id, key, (), ()), 0, "", (gap,))
    counts = count(collected.result.cases)
    judged = outcome.judge(
        outcome.Evidence(
            step=step,
            record=collected.record,
            container=container,
            counts=counts,
            reports=collected.reports,
            output_tail=collected.output_tail,
            asked=_asked(execution),
            started=collected.started,
        )
    )

    def record(current: Execution, now: int) -> Execution:
        state = replace(
            current.step(key),
            phase=StepPhase.FINISHED,
            verdict=judged.verdict,
            diagnosis=judged.diagnosis,
            exit_code=judged.exit_code,
            tests=counts if step.suite_type is not None else None,
            finished_at=(container.finished_at if container else None) or now,
        )
        updated = current.with_step(state)
        total = sum((s.tests for s in updated.steps if s.tests is not None), TestCounts())
        return replace(updated, tests=total, gaps=(*updated.gaps, *collected.gaps))

    await tools.store.save_result(collected.result, record, epoch=execution.epoch)


def _refuse_unexplained(collected: Collected, container: ContainerFact | None) -> None:
    """Raise ExecFailed for a step killed without a record: another try shows if its pod is being ended as a whole."""
    if not outcome.is_explained(collected.record, container, started=collected.started):
        raise ExecFailed("the step left no record")


def _tries(pod: PodFact) -> int:
    collector = pod.container(naming.COLLECTOR_CONTAINER)
    running = collector is not None and collector.state is ContainerState.RUNNING
    return PATIENT_TRIES if running else FEW_TRIES


def _asked(execution: Execution) -> bool:
    """Whether the service may have asked steps of this execution to end."""
    ending = execution.failure is not None or execution.cancel_requested
    return ending or execution.specification.test_plan.strategy.fail_fast


async def release(tools: Tools, execution: Execution, key: StepKey, pod: PodFact, failures: int) -> None:
    """Let the collector end; one that cannot be reached ends with its pod."""
    try:
        await tools.collector.release(pod)
    except (ExecFailed, Unreachable):
        if failures + 1 < RELEASE_TRIES:
            raise

    def record(current: Execution, _now: int) -> Execution:
        return current.with_step(replace(current.step(key), released=True))

    await tools.store.change(execution.id, record, epoch=execution.epoch)


async def seal(tools: Tools, execution: Execution, failures: int) -> None:
    """Read the logs to their end, keep events, statuses and manifests, and record the evidence."""
    lost = execution.cluster.uid != tools.cluster.identity.uid
    pods = () if lost else tools.cluster.observe(execution.id).pods
    patience = SEAL_SECONDS_OF_A_LOST_NODE if _lost_a_node(execution) else SEAL_SECONDS
    summary = await tools.logs.seal(execution.id, pods, patience)
    gaps = [*execution.gaps, *summary.gaps]
    if lost and execution.namespace_uid:
        gaps.append("the cluster ended before events, statuses and the rest of the logs could be read")
    elif execution.namespace_uid:
        try:
            await _keep_objects(tools, execution)
        except Unreachable as fault:
            if failures + 1 < PATIENT_TRIES:
                raise
            gaps.append(f"events and pod statuses could not be read: {fault}")
        except Refused as refused:  # a right is missing, or the namespace went: asking again changes nothing
            gaps.append(f"events and pod statuses may not be read: {refused.message}")

    def record(current: Execution, now: int) -> Execution:
        if current.evidence is not None:
            return current
        evidence = Evidence(now, summary.bytes, summary.lines, summary.sha256, tuple(dict.fromkeys(gaps)))
        return replace(current, evidence=evidence)

    await tools.store.change(execution.id, record, epoch=execution.epoch)


def _lost_a_node(execution: Execution) -> bool:
    causes = (execution.failure, *(state.diagnosis for state in execution.steps))
    return any(cause is not None and cause.code is Code.NODE_LOST for cause in causes)


async def _keep_objects(tools: Tools, execution: Execution) -> None:
    events = await tools.cluster.events(execution.namespace)
    rows: list[Body] = [
        {"kind": e.involved_kind, "name": e.involved_name, "type": e.type, "reason": e.reason, "message": e.message,
         "count": e.count, "first_at": e.first_at, "last_at": e.last_at}
        for e in sorted(events, key=lambda e: (e.first_at, e.uid))
    ]  # fmt: skip
    await tools.keeper.keep_objects(execution, "events", rows)
    await tools.keeper.keep_objects(execution, "status", await tools.cluster.dump(execution.namespace))
    created = await tools.threads.run(preview.created, tools.manifests, execution)
    await tools.keeper.keep_objects(execution, "manifests", created)

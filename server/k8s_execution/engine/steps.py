"""How a single step gets on: its pod's facts in, its next state and what to do for it out. Pure.

PENDING is left by the phase's own rules (`engine.decide`); from STARTING on this module carries it to FINISHED.
"""

from __future__ import annotations

from dataclasses import replace

from k8s_execution.domain import naming
from k8s_execution.domain.execution import Execution, StepKey, StepPhase, StepState
from k8s_execution.domain.facts import ContainerState, JobFact, Observed, PodFact, PodPhase
from k8s_execution.domain.plan import ImageSource
from k8s_execution.domain.verdict import Code, Diagnosis
from k8s_execution.engine import diagnose
from k8s_execution.engine.actions import (
    Action,
    CollectStep,
    FetchEvents,
    Plan,
    ReleaseStep,
    SendSource,
    StartStep,
    StopStep,
    sooner,
)
from k8s_execution.engine.clocks import SECOND
from k8s_execution.engine.ending import finish_step

EVENTS_AFTER = 2 * SECOND
LOST_AFTER = 15 * SECOND
UNREAD_PATIENCE = 60 * SECOND
UNREAD_LOOK = SECOND // 4


def start(execution: Execution, key: StepKey) -> Execution:
    """The step about to start: recorded before its Job exists, so that the Job is created once."""
    return execution.with_step(replace(execution.step(key), phase=StepPhase.STARTING))


def pod_of(observed: Observed, key: StepKey) -> PodFact | None:
    """The pod of one try, the one that is not being deleted first."""
    pods = [
        p
        for p in observed.pods
        if (p.step_kind, p.step, p.shard, p.attempt) == (key.kind.value, key.name, key.shard, key.attempt)
    ]
    return min(pods, key=lambda p: (p.deleting, p.created_at, p.name), default=None)


def job_of(observed: Observed, key: StepKey) -> JobFact | None:
    """The Job of one try."""
    name = naming.job(key)
    return next((j for j in observed.jobs if j.name == name), None)


def stop(observed: Observed, state: StepState) -> tuple[Action, ...]:
    """What asks a step to end; nothing where it does not run or its pod is not seen."""
    pod = pod_of(observed, state.key)
    return (StopStep(state.key, pod),) if pod is not None and state.phase is StepPhase.RUNNING else ()


def needs_source(execution: Execution) -> bool:
    """Whether test code is sent into the pods."""
    return not isinstance(execution.specification.test_plan.source, ImageSource)


def advance(execution: Execution, observed: Observed, now: int) -> Plan:
    """Carry every begun step one look further; failing steps end here with their own cause."""
    actions: list[Action] = []
    wake: int | None = None
    for state in execution.steps:
        plan = _advance_one(execution, observed, state, now)
        execution = plan.execution
        actions += plan.actions
        wake = sooner(wake, plan.wake_at)
    return Plan(execution, tuple(actions), wake)


def _advance_one(execution: Execution, observed: Observed, state: StepState, now: int) -> Plan:
    pod = pod_of(observed, state.key)
    match state.phase:
        case StepPhase.STARTING:
            return _starting(execution, observed, state, now)
        case StepPhase.RUNNING:
            return _running(execution, observed, state, now)
        case StepPhase.COLLECTING:
            return _collecting(execution, observed, state, now)
        case StepPhase.FINISHED if not state.released and pod is not None and _runs(pod, naming.COLLECTOR_CONTAINER):
            return _finished(execution, observed, state, now)
        case _:
            return Plan(execution)


def _finished(execution: Execution, observed: Observed, state: StepState, now: int) -> Plan:
    """Release the pod, once its log is read to the end: until then the collector can fill what a rotation took."""
    pod = pod_of(observed, state.key)
    assert pod is not None
    if pod.name in observed.unread and now - (state.finished_at or now) < UNREAD_PATIENCE:
        return Plan(execution, (), now + UNREAD_LOOK)
    return Plan(execution, (ReleaseStep(state.key, pod),))


def _starting(execution: Execution, observed: Observed, state: StepState, now: int) -> Plan:
    pod = pod_of(observed, state.key)
    if pod is not None:
        running = replace(state, phase=StepPhase.RUNNING, pod=pod.name, pod_uid=pod.uid)
        return _running(execution.with_step(running), observed, running, now)
    job = job_of(observed, state.key)
    if job is None:
        return Plan(execution, (StartStep(state.key),))
    if (diagnosis := diagnose.of_job(job, observed.events, now)) is not None:
        if diagnosis.code is Code.QUOTA_EXCEEDED and _room_may_come(execution, observed, state, job, now):
            return Plan(execution, (FetchEvents(job.uid),), now + EVENTS_AFTER)
        return Plan(finish_step(execution, state, diagnosis, now))
    if job.failed_reason:
        lost = Diagnosis(Code.POD_LOST, f"its Job failed without a pod: {job.failed_message}", f"job/{job.name}")
        return Plan(finish_step(execution, state, lost, now))
    if now - job.created_at >= EVENTS_AFTER:
        return Plan(execution, (FetchEvents(job.uid),), now + EVENTS_AFTER)
    return Plan(execution, (), job.created_at + EVENTS_AFTER)


def _running(execution: Execution, observed: Observed, state: StepState, now: int) -> Plan:
    pod = pod_of(observed, state.key)
    if pod is None or pod.uid != state.pod_uid:
        return _vanished(execution, observed, state, now)
    if (lost := diagnose.of_loss(pod)) is not None:
        return Plan(finish_step(execution, state, lost, now))
    step = pod.container(naming.STEP_CONTAINER)
    if step is not None and step.started_at is not None and state.started_at is None:
        state = replace(state, started_at=step.started_at)
        execution = execution.with_step(state)
    if step is not None and step.state is ContainerState.TERMINATED:
        ended = replace(state, phase=StepPhase.COLLECTING)
        return _collecting(execution.with_step(ended), observed, ended, now)
    if (diagnosis := diagnose.of_pod(pod, now)) is not None or (diagnosis := _of_init(pod)) is not None:
        return Plan(finish_step(execution, state, diagnosis, now))
    if pod.phase is PodPhase.FAILED:
        message = pod.message or pod.reason or "the pod failed before its step ran"
        return Plan(finish_step(execution, state, Diagnosis(Code.POD_LOST, message, f"pod/{pod.name}"), now))
    if needs_source(execution) and not state.source_sent and _runs(pod, naming.COLLECTOR_CONTAINER):
        return Plan(execution, (SendSource(state.key, pod),))
    waiting = pod.phase is PodPhase.PENDING
    return Plan(execution, (), now + 5 * SECOND if waiting else None)


def _collecting(execution: Execution, observed: Observed, state: StepState, now: int) -> Plan:
    pod = pod_of(observed, state.key)
    if pod is None or pod.uid != state.pod_uid:
        return _vanished(execution, observed, state, now)
    if (lost := diagnose.of_loss(pod)) is not None:
        return Plan(finish_step(execution, state, lost, now))  # with the pod its files are gone too
    return Plan(execution, (CollectStep(state.key, pod),))


def _vanished(execution: Execution, observed: Observed, state: StepState, now: int) -> Plan:
    """The pod is not seen: proof only if the view is fresh, the namespace gone or another pod in its place."""
    if not observed.synced:
        return Plan(execution, (), now + SECOND)
    message = "its pod was deleted from outside"
    lost = Diagnosis(Code.POD_LOST, message, f"pod/{state.pod}", hint="who deletes pods in this namespace?")
    return Plan(finish_step(execution, state, lost, now))


def _of_init(pod: PodFact) -> Diagnosis | None:
    """The agent could not be copied into the pod."""
    init = pod.container(naming.AGENT_INIT_CONTAINER)
    if init is None or init.state is not ContainerState.TERMINATED or not init.exit_code:
        return None
    message = f"the agent could not be installed (exit code {init.exit_code}): {init.message or init.reason}"
    return Diagnosis(Code.POD_LOST, message, f"pod/{pod.name} container {init.name}")


def _runs(pod: PodFact, name: str) -> bool:
    container = pod.container(name)
    return container is not None and container.state is ContainerState.RUNNING


def _room_may_come(execution: Execution, observed: Observed, state: StepState, job: JobFact, now: int) -> bool:
    """Whether a quota refused this step only for pods of others, which end, or have ended since.

    A pod is counted until it is Succeeded or Failed, also while its collector is released; the Job controller tries
    again by itself, at growing intervals.
    """
    others = [p for p in observed.pods if p.step]
    if any(s.phase.begun and s.key != state.key and s.phase is not StepPhase.STARTING for s in execution.steps):
        return True
    if any(p.phase is PodPhase.RUNNING for p in others):
        return True
    freed = max((c.finished_at or 0 for p in others for c in p.containers), default=0)
    refused = max(e.last_at for e in observed.events if e.involved_uid == job.uid)
    return refused <= freed and now - freed < diagnose.ADMISSION_PATIENCE

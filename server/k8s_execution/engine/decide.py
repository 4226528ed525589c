"""The brain: an execution's record and what is observed in, the next record and what to do out. Pure.

No clock, no I/O: `now` is an argument, so every situation can be tested. First run, adoption after a crash and the
clean-up of a dead execution are this same function. Each phase has one function; `lifecycle` holds the moves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from k8s_execution.domain import naming
from k8s_execution.domain.execution import Execution, ResolvedImage, StepState
from k8s_execution.domain.facts import ContainerState, Observed
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import CleanupPolicy, StepKind
from k8s_execution.domain.verdict import Code, Diagnosis, Verdict
from k8s_execution.engine import clocks, provisioning, steps, suites
from k8s_execution.engine.actions import (
    DeleteNamespace,
    DeleteWorkload,
    Finish,
    Hold,
    Plan,
    SealEvidence,
    sooner,
)
from k8s_execution.engine.clocks import MILLISECOND, SECOND
from k8s_execution.engine.ending import close, enter, fail, finish_step, skip_pending, warn

STOP_PATIENCE = 60 * SECOND
BLOCKED_AFTER = 30 * SECOND
LOOK_AGAIN = 30 * SECOND
_OWN_CONTAINERS = frozenset({naming.AGENT_INIT_CONTAINER, naming.COLLECTOR_CONTAINER})


def decide(execution: Execution, observed: Observed, now: int) -> Plan:
    """One look at one execution."""
    match execution.phase:
        case Phase.QUEUED:
            plan = _queued(execution, now)
        case Phase.PROVISIONING | Phase.SETUP | Phase.TESTING:
            plan = _running(execution, observed, now)
        case Phase.TEARDOWN:
            plan = _teardown(execution, observed, now)
        case Phase.COLLECTING:
            plan = _collecting(execution, observed, now)
        case Phase.CLEANING:
            plan = _cleaning(execution, observed, now)
        case Phase.DONE:
            plan = Plan(execution, (Finish(),))
        case _ as never:
            assert_never(never)
    return replace(plan, wake_at=sooner(plan.wake_at, clocks.deadline(plan.execution)))


def _queued(execution: Execution, now: int) -> Plan:
    """Wait for admission; a cancellation or the queue's clock ends it without an environment."""
    if execution.cancel_requested:
        return _again(fail(execution, _cancelled(), now))
    overrun = clocks.overrun(execution, now)
    return Plan(execution) if overrun is None else _again(fail(execution, overrun, now))


def _running(execution: Execution, observed: Observed, now: int) -> Plan:
    """A phase that a failure, a timeout or a cancellation ends; else it gets on."""
    cause = _ended_from_outside(execution, observed, now)
    if cause is not None:
        return _again(fail(execution, cause, now))
    advanced = steps.advance(execution, observed, now)
    execution = advanced.execution
    if (cause := provisioning.failure(execution, observed, now)) is not None:
        return _again(fail(execution, cause, now))
    match execution.phase:
        case Phase.PROVISIONING:
            plan = provisioning.progress(execution, observed, now)
        case Phase.SETUP:
            plan = suites.setup(execution, now)
        case _:
            plan = suites.testing(execution, observed, now)
    return Plan(plan.execution, (*advanced.actions, *plan.actions), sooner(advanced.wake_at, plan.wake_at))


def _ended_from_outside(execution: Execution, observed: Observed, now: int) -> Diagnosis | None:
    """Cancelled, cluster gone, namespace gone, or a clock ran out."""
    if execution.cancel_requested:
        return _cancelled()
    if observed.cluster_lost:
        return Diagnosis(Code.CLUSTER_LOST, "the simulated cluster ended with its process while this execution ran",
                         f"namespace/{execution.namespace}", hint="run it again")  # fmt: skip
    if _namespace_gone(execution, observed, now):
        where = f"namespace/{execution.namespace}"
        return Diagnosis(Code.NAMESPACE_LOST, "the namespace was deleted from outside", where, hint="who deleted it?")
    overrun = clocks.overrun(execution, now)
    if overrun is not None and overrun.code is Code.TIMEOUT_PROVISIONING:
        return provisioning.explain_timeout(execution, observed, overrun)
    return overrun


def _namespace_gone(execution: Execution, observed: Observed, now: int) -> bool:
    if not execution.namespace_uid or not observed.synced:
        return False
    namespace = observed.namespace
    if namespace is None:
        return now - (execution.namespace_created_at or 0) >= steps.LOST_AFTER
    return namespace.uid != execution.namespace_uid or namespace.terminating


def _teardown(execution: Execution, observed: Observed, now: int) -> Plan:
    """First what still runs is stopped and collected, then the hooks run in order, within their own limit."""
    if observed.cluster_lost or _namespace_gone(execution, observed, now) or now >= clocks.teardown_deadline(execution):
        late = skip_pending(execution, keep_teardown=False, now=now)
        if not observed.cluster_lost and now >= clocks.teardown_deadline(execution):
            late = warn(late, "teardown hooks were cut off by their time limit (policy.ttl or 5m)")
        return _again(enter(late, Phase.COLLECTING, now))
    plan = _wind_down(execution, observed, now, but=StepKind.TEARDOWN)
    execution = plan.execution
    if any(s.phase.begun for s in execution.steps if s.key.kind is not StepKind.TEARDOWN):
        return plan
    hooks = suites.teardown(execution, now)
    return Plan(hooks.execution, (*plan.actions, *hooks.actions), sooner(plan.wake_at, hooks.wake_at))


def _wind_down(execution: Execution, observed: Observed, now: int, *, but: StepKind | None) -> Plan:
    """Carry begun steps to their end; those that run (except kind `but`) are asked to stop, then given up."""
    plan = steps.advance(execution, observed, now)
    execution, actions, wake = plan.execution, list(plan.actions), plan.wake_at
    patience = execution.entered.get(execution.phase, now) + STOP_PATIENCE
    for state in execution.steps:
        if state.key.kind is but or not state.phase.begun:
            continue
        if observed.cluster_lost or now >= patience or not _has_started(state, observed):
            execution = finish_step(execution, state, execution.failure or _never_ended(state), now)
        else:
            actions += steps.stop(observed, state)
        wake = sooner(wake, patience)
    return Plan(execution, tuple(actions), wake)


def _has_started(state: StepState, observed: Observed) -> bool:
    """Whether the step's own container ran at all; one that did not has nothing to stop or to bring home."""
    pod = steps.pod_of(observed, state.key)
    container = pod.container(naming.STEP_CONTAINER) if pod is not None else None
    return container is not None and container.state is not ContainerState.WAITING


def _collecting(execution: Execution, observed: Observed, now: int) -> Plan:
    """Bring home what is left, seal, then fix the verdict."""
    plan = _wind_down(execution, observed, now, but=None)
    execution = _with_images(plan.execution, observed)
    if any(s.phase.begun for s in execution.steps):
        return Plan(execution, plan.actions, plan.wake_at)
    if execution.evidence is None:
        return Plan(execution, (*plan.actions, SealEvidence()), plan.wake_at)
    return _again(close(execution, now))


def _cleaning(execution: Execution, observed: Observed, now: int) -> Plan:
    """Hold if asked to, then namespace and pods; DONE only when the namespace is seen to be gone."""
    if execution.namespace_deleted or observed.cluster_lost or Phase.PROVISIONING not in execution.entered:
        done = enter(replace(execution, finished_at=now, namespace_deleted=True), Phase.DONE, now)
        return Plan(done, (Finish(),))
    hold = _hold_until(execution)
    if hold is not None and now < hold:
        return Plan(execution, () if execution.hold_until is not None else (Hold(hold),), hold)
    if (execution.hold_until or 0) > now:
        execution = replace(execution, hold_until=now)  # a cleanup ended it: from here on its end may be late
    execution = _note_blockers(execution, observed, now)
    if not execution.workload_deleted:
        return Plan(execution, (DeleteWorkload(),), now + LOOK_AGAIN)
    namespace = observed.namespace
    under_way = not observed.synced or (namespace is not None and namespace.terminating)
    return Plan(execution, () if under_way else (DeleteNamespace(),), now + LOOK_AGAIN)


def _hold_until(execution: Execution) -> int | None:
    """Until when the environment stays for debugging, within the TTL; None where it is deleted at once."""
    policy = execution.specification.policy
    failed = execution.verdict is not Verdict.PASSED
    wanted = policy.cleanup is CleanupPolicy.HOLD or (policy.cleanup is CleanupPolicy.ON_SUCCESS and failed)
    if not wanted or execution.cleanup_requested or not execution.namespace_uid:
        return None
    if execution.hold_until is not None:
        return execution.hold_until
    until = execution.entered[Phase.CLEANING] + policy.hold_for_ms * MILLISECOND
    return until if execution.expires_at is None else min(until, execution.expires_at)


def _note_blockers(execution: Execution, observed: Observed, now: int) -> Execution:
    namespace = observed.namespace
    since = execution.hold_until or execution.entered[Phase.CLEANING]
    if now - since < BLOCKED_AFTER or namespace is None:
        return execution
    stuck = "pods do not end; is their node lost?" if observed.pods and not execution.workload_deleted else ""
    blockers = [stuck] if stuck else namespace.conditions
    return warn(execution, f"{Code.CLEANUP_BLOCKED}: {'; '.join(blockers)}") if blockers else execution


def _with_images(execution: Execution, observed: Observed) -> Execution:
    """Note which images really ran, while the pods still tell."""
    known = {image.ref: image for image in execution.images}
    for pod in observed.pods:
        for container in pod.containers:
            if container.image_id and container.name not in _OWN_CONTAINERS:
                image_id, _, ran_as = container.image_id.partition("#")  # simulated nodes say what really ran
                digest = image_id.rpartition("@")[2]  # of a pulled image containerd says `repository@digest`
                known[container.image] = ResolvedImage(container.image, digest, ran_as)
    return replace(execution, images=tuple(known[ref] for ref in sorted(known)))


def _cancelled() -> Diagnosis:
    return Diagnosis(Code.CANCELLED_BY_USER, "cancelled by Cleanup")


def _never_ended(state: StepState) -> Diagnosis:
    return Diagnosis(Code.POD_LOST, "the step did not end when it was asked to", f"pod/{state.pod}")


def _again(execution: Execution) -> Plan:
    """A recorded move that wants another look at once (the store wakes the key after the commit)."""
    return Plan(execution)

"""The brain, situation by situation: a record and facts in, the next record and actions out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k8s_execution.domain import naming
from k8s_execution.domain.execution import Evidence, Execution, StepKey, StepPhase
from k8s_execution.domain.facts import ContainerState, EventFact, Observed, PodPhase
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import Application, BundleSource, CleanupPolicy, Policy, StepKind, Strategy
from k8s_execution.domain.verdict import Code, Diagnosis, Verdict
from k8s_execution.engine import actions
from k8s_execution.engine.decide import decide
from support import build

SUITE = StepKey(StepKind.SUITE, "unit")
EVIDENCE = Evidence(build.START, 10, 1, "00")
NOTHING = Observed(synced=True)


def kinds(plan: actions.Plan) -> list[str]:
    """The names of the wanted actions."""
    return [type(a).__name__ for a in plan.actions]


def test_queued_waits_for_admission_until_its_own_clock() -> None:
    """Nothing is done, and the queue's limit is the wake-up."""
    plan = decide(build.execution(), NOTHING, build.START)
    assert plan == actions.Plan(build.execution(), (), build.START + 30 * 60 * build.SECOND)


def test_queue_timeout_ends_without_an_environment() -> None:
    """TIMED_OUT by the queue's clock; nothing was created, so nothing is deleted."""
    made = build.execution()
    late = build.START + 31 * 60 * build.SECOND
    made = decide(made, NOTHING, late).execution
    assert (made.phase, made.failure and made.failure.code) == (Phase.COLLECTING, Code.TIMEOUT_QUEUE)
    assert kinds(decide(made, NOTHING, late)) == ["SealEvidence"]
    made = decide(replace(made, evidence=EVIDENCE), NOTHING, late).execution
    assert (made.phase, made.verdict) == (Phase.CLEANING, Verdict.TIMED_OUT)
    assert decide(made, NOTHING, late).execution.phase is Phase.DONE


def test_cancelling_a_queued_execution_is_cancelled() -> None:
    """A Cleanup before admission."""
    made = decide(build.execution(cancel_requested=True), NOTHING, build.START).execution
    assert made.failure is not None
    assert made.failure.verdict is Verdict.CANCELLED
    assert all(s.phase is StepPhase.SKIPPED for s in made.steps)


def test_provisioning_makes_namespace_then_foundation_then_applications() -> None:
    """Each stage waits for the record of the one before."""
    spec = build.specification(applications=(Application("api", "api:1"), Application("web", "web:1", after=("api",))))
    made = build.execution(
        spec, Phase.PROVISIONING, namespace_uid="", foundation_created=False, applications_created=frozenset()
    )
    assert kinds(decide(made, NOTHING, build.START)) == ["CreateNamespace"]
    made = replace(made, namespace_uid="ns-uid")
    assert kinds(decide(made, build.observed(), build.START)) == ["CreateFoundation"]
    made = replace(made, foundation_created=True)
    assert decide(made, build.observed(), build.START).actions == (actions.CreateApplications(("api",)),)
    made = replace(made, applications_created=frozenset({"api"}))
    ready = build.observed(build.application_pod(), deployments=(build.deployment(),))
    assert decide(made, ready, build.START).actions == (actions.CreateApplications(("web",)),)


def test_an_application_waits_for_its_hook() -> None:
    """A setup hook that an application names is part of provisioning."""
    spec = build.specification(
        build.hook("migrate"), build.suite(), applications=(Application("api", "api:1", after=("migrate",)),)
    )
    made = build.execution(spec, Phase.PROVISIONING, applications_created=frozenset())
    plan = decide(made, build.observed(), build.START)
    assert plan.execution.step(StepKey(StepKind.SETUP, "migrate")).phase is StepPhase.STARTING
    assert plan.actions == ()
    made = build.with_step(made, "migrate", StepPhase.FINISHED, verdict=Verdict.PASSED, released=True)
    assert decide(made, build.observed(), build.START).actions == (actions.CreateApplications(("api",)),)


def test_ready_environment_moves_on_and_starts_the_suites() -> None:
    """SETUP without hooks is passed at once; the suite is recorded as STARTING before its Job exists."""
    made = build.execution(phase=Phase.PROVISIONING)
    made = decide(made, build.observed(), build.START).execution
    assert made.phase is Phase.SETUP
    made = decide(made, build.observed(), build.START).execution
    assert made.phase is Phase.TESTING
    made = decide(made, build.observed(), build.START).execution
    assert made.step(SUITE).phase is StepPhase.STARTING
    assert decide(made, build.observed(), build.START).actions == (actions.StartStep(SUITE),)


def test_parallel_bounds_the_test_pods() -> None:
    """Only as many suites begin as the strategy allows."""
    spec = build.specification(*(build.suite(f"s{i}") for i in range(5)), strategy=Strategy(parallel=2))
    made = decide(build.execution(spec, Phase.TESTING), build.observed(), build.START).execution
    assert [s.phase for s in made.steps].count(StepPhase.STARTING) == 2


def test_source_is_sent_once_the_collector_runs() -> None:
    """The collector takes the test code; a confirmed one is not sent again."""
    spec = build.specification(source=BundleSource("b-1"))
    made = build.with_step(build.execution(spec, Phase.TESTING), "unit", StepPhase.STARTING)
    pod = build.step_pod()
    plan = decide(made, build.observed(pod), build.START)
    assert plan.actions == (actions.SendSource(SUITE, pod),)
    assert plan.execution.step(SUITE).phase is StepPhase.RUNNING
    sent = build.with_step(plan.execution, "unit", StepPhase.RUNNING, source_sent=True)
    assert decide(sent, build.observed(pod), build.START).actions == ()


def running(phase: StepPhase = StepPhase.RUNNING, **given: object) -> Execution:
    """An execution in TESTING whose suite's pod is known."""
    made = build.execution(phase=Phase.TESTING)
    return build.with_step(made, "unit", phase, pod="unit-pod", pod_uid="unit-uid", **given)


def test_a_terminated_step_is_collected_then_released() -> None:
    """The collector is released only after the result is recorded."""
    ended = build.container(state=ContainerState.TERMINATED, exit_code=0, finished_at=build.START)
    pod = build.step_pod("unit", StepKind.SUITE, ended, build.container(naming.COLLECTOR_CONTAINER))
    plan = decide(running(), build.observed(pod), build.START)
    assert plan.actions == (actions.CollectStep(SUITE, pod),)
    made = build.with_step(plan.execution, "unit", StepPhase.FINISHED, verdict=Verdict.PASSED)
    plan = decide(made, build.observed(pod), build.START)
    assert actions.ReleaseStep(SUITE, pod) in plan.actions
    assert plan.execution.phase is Phase.COLLECTING


def test_a_step_is_released_only_when_its_log_is_read() -> None:
    """The collector is what fills a gap in the log; a log that never ends does not hold it for ever."""
    ended = build.container(state=ContainerState.TERMINATED, exit_code=0, finished_at=build.START)
    pod = build.step_pod("unit", StepKind.SUITE, ended, build.container(naming.COLLECTOR_CONTAINER))
    spec = build.specification(build.suite(), build.suite("other"))
    made = build.with_step(build.execution(spec, Phase.TESTING), "other", StepPhase.STARTING)
    made = build.with_step(
        made,
        "unit",
        StepPhase.FINISHED,
        verdict=Verdict.PASSED,
        pod="unit-pod",
        pod_uid="unit-uid",
        finished_at=build.START,
    )
    reading = build.observed(pod, unread=frozenset({"unit-pod"}))
    plan = decide(made, reading, build.START)
    assert "ReleaseStep" not in kinds(plan)
    assert plan.wake_at == build.START + build.SECOND // 4
    assert "ReleaseStep" in kinds(decide(made, build.observed(pod), build.START))
    assert "ReleaseStep" in kinds(decide(made, reading, build.START + 61 * build.SECOND))


def test_a_vanished_pod_is_lost_only_in_a_fresh_view() -> None:
    """While the reflector is behind, absence proves nothing."""
    assert decide(running(), build.observed(synced=False), build.START).execution.step(SUITE).phase is StepPhase.RUNNING
    lost = decide(running(), build.observed(), build.START).execution.step(SUITE)
    assert (lost.phase, lost.verdict) == (StepPhase.FINISHED, Verdict.INFRASTRUCTURE_FAILED)


def test_a_job_without_pod_is_explained_by_its_events() -> None:
    """After 2 s the events are asked for; a quota refusal is the diagnosis."""
    made = build.with_step(build.execution(phase=Phase.TESTING), "unit", StepPhase.STARTING)
    view = build.observed(jobs=(build.job(SUITE),))
    late = build.START + 3 * build.SECOND
    assert decide(made, view, late).actions == (actions.FetchEvents("job-uid"),)
    event = EventFact(
        "e", "Job", "j", "job-uid", "Warning", "FailedCreate", "pods x is forbidden: exceeded quota: q", 1, 0, 0
    )
    refused = decide(made, replace(view, events=(event,)), late).execution.step(SUITE)
    assert refused.diagnosis is not None
    assert refused.diagnosis.code is Code.QUOTA_EXCEEDED


@pytest.mark.parametrize(
    ("collector", "refused_after", "seen_after", "expected"),
    [
        (ContainerState.RUNNING, 1, 3, StepPhase.STARTING),
        (ContainerState.TERMINATED, 4, 6, StepPhase.STARTING),
        (ContainerState.TERMINATED, 4, 70, StepPhase.FINISHED),
        (ContainerState.TERMINATED, 6, 9, StepPhase.FINISHED),
    ],
)
def test_a_quota_that_the_pod_of_an_ended_step_still_fills_is_waited_for(
    collector: ContainerState, refused_after: int, seen_after: int, expected: StepPhase
) -> None:
    """The other pod ends 5 s after the start: a refusal before that is no cause until the Job had a minute to retry."""
    spec = build.specification(build.suite("first"), build.suite("unit"))
    made = build.with_step(build.execution(spec, phase=Phase.TESTING), "unit", StepPhase.STARTING)
    made = build.with_step(made, "first", StepPhase.FINISHED, verdict=Verdict.PASSED, released=True)
    times = {} if collector is ContainerState.RUNNING else {"finished_at": build.START + 5 * build.SECOND}
    phase = PodPhase.RUNNING if collector is ContainerState.RUNNING else PodPhase.SUCCEEDED
    other = build.step_pod(
        "first", StepKind.SUITE, build.container(naming.COLLECTOR_CONTAINER, collector, **times), phase=phase
    )
    refused = build.START + refused_after * build.SECOND
    message = "pods x is forbidden: exceeded quota: q"
    event = EventFact("e", "Job", "j", "job-uid", "Warning", "FailedCreate", message, 1, refused, refused)
    view = build.observed(other, jobs=(build.job(SUITE),), events=(event,))
    plan = decide(made, view, build.START + seen_after * build.SECOND)
    assert plan.execution.step(SUITE).phase is expected
    assert (actions.FetchEvents("job-uid") in plan.actions) is (expected is StepPhase.STARTING)


def test_a_fresh_namespace_race_is_waited_out() -> None:
    """`status unknown for quota` heals by itself."""
    made = build.with_step(build.execution(phase=Phase.TESTING), "unit", StepPhase.STARTING)
    event = EventFact("e", "Job", "j", "job-uid", "Warning", "FailedCreate", "status unknown for quota: q", 1, 0, 0)
    view = build.observed(jobs=(build.job(SUITE),), events=(event,))
    assert decide(made, view, build.START + 3 * build.SECOND).execution.step(SUITE).phase is StepPhase.STARTING


@pytest.mark.parametrize(
    ("reason", "message", "code"),
    [
        ("ErrImagePull", "manifest unknown", Code.IMAGE_PULL),
        ("ErrImagePull", "dial udp 10.0.0.10:53: connect: network is unreachable", Code.IMAGE_PULL),
        ("ImagePullBackOff", "back-off pulling image", Code.IMAGE_PULL),
        ("InvalidImageName", "couldn't parse image name", Code.IMAGE_NAME),
        ("CreateContainerConfigError", "container has runAsNonRoot and image will run as root", Code.RUNS_AS_ROOT),
        ("CreateContainerError", 'exec: "nope": executable file not found in $PATH', Code.COMMAND_NOT_FOUND),
    ],
)
def test_a_hopeless_container_fails_its_step_at_once(reason: str, message: str, code: Code) -> None:
    """No waiting for a timeout where the kubelet says that waiting is in vain."""
    waiting = build.container(state=ContainerState.WAITING, reason=reason, message=message)
    pod = build.step_pod("unit", StepKind.SUITE, waiting, phase=PodPhase.PENDING)
    state = decide(running(), build.observed(pod), build.START + build.SECOND).execution.step(SUITE)
    assert state.diagnosis is not None
    assert state.diagnosis.code is code


def test_a_passing_pull_error_is_waited_for() -> None:
    """One failed pull with a passing cause is tried again by the kubelet."""
    waiting = build.container(state=ContainerState.WAITING, reason="ErrImagePull", message="i/o timeout")
    pod = build.step_pod("unit", StepKind.SUITE, waiting, phase=PodPhase.PENDING)
    assert decide(running(), build.observed(pod), build.START).execution.step(SUITE).phase is StepPhase.RUNNING


def test_a_crash_looping_application_fails_the_execution() -> None:
    """CRASH_LOOP after three crashes, APPLICATION_FAILED in the end."""
    spec = build.specification(applications=(Application("api", "api:1"),))
    crash = build.container(
        naming.APPLICATION_CONTAINER, ContainerState.WAITING, reason="CrashLoopBackOff", restart_count=2,
        last_reason="Error", last_exit_code=3,
    )  # fmt: skip
    view = build.observed(build.application_pod("api", crash, ready=False), deployments=(build.deployment(ready=0),))
    made = decide(build.execution(spec, Phase.PROVISIONING), view, build.START).execution
    assert made.failure is not None
    assert (made.failure.code, made.phase) == (Code.CRASH_LOOP, Phase.COLLECTING)


def test_an_application_that_is_never_ready_is_named_before_the_timeout() -> None:
    """The probe's own allowance decides."""
    from k8s_execution.domain.plan import Readiness, ReadinessKind

    probe = Readiness(ReadinessKind.HTTP, 8080, "/", period_ms=1000, failure_threshold=3)
    spec = build.specification(applications=(Application("api", "api:1", readiness=probe),))
    view = build.observed(build.application_pod(ready=False), deployments=(build.deployment(ready=0),))
    soon = decide(build.execution(spec, Phase.PROVISIONING), view, build.START + 4 * build.SECOND)
    assert soon.execution.failure is None
    late = decide(build.execution(spec, Phase.PROVISIONING), view, build.START + 8 * build.SECOND).execution
    assert late.failure is not None
    assert late.failure.code is Code.NEVER_READY


def test_cancelling_stops_what_runs_and_keeps_its_evidence() -> None:
    """The agent is asked to stop; the step is collected, not thrown away."""
    made = decide(replace(running(), cancel_requested=True), build.observed(build.step_pod()), build.START).execution
    assert (made.phase, made.failure and made.failure.code) == (Phase.TEARDOWN, Code.CANCELLED_BY_USER)
    plan = decide(made, build.observed(build.step_pod()), build.START)
    assert kinds(plan) == ["StopStep"]


def test_a_step_that_ignores_its_stop_is_given_up() -> None:
    """After its patience the execution goes on without it."""
    made = decide(replace(running(), cancel_requested=True), build.observed(build.step_pod()), build.START).execution
    late = build.START + 61 * build.SECOND
    assert decide(made, build.observed(build.step_pod()), late).execution.step(SUITE).ended


def test_teardown_hooks_run_in_order_whatever_became_of_the_one_before() -> None:
    """A failed first hook does not stop the second."""
    spec = build.specification(build.suite(), build.hook("a", StepKind.TEARDOWN), build.hook("b", StepKind.TEARDOWN))
    made = build.with_step(build.execution(spec, Phase.TEARDOWN), "unit", StepPhase.FINISHED, verdict=Verdict.PASSED)
    made = decide(made, build.observed(), build.START).execution
    assert [s.phase for s in made.of_kind(StepKind.TEARDOWN)] == [StepPhase.STARTING, StepPhase.PENDING]
    made = build.with_step(made, "a", StepPhase.FINISHED, verdict=Verdict.APPLICATION_FAILED)
    made = decide(made, build.observed(), build.START).execution
    assert made.step(StepKey(StepKind.TEARDOWN, "b")).phase is StepPhase.STARTING


def test_fail_fast_stops_the_rest() -> None:
    """Pending suites are skipped, running ones stopped."""
    spec = build.specification(*(build.suite(n) for n in "abc"), strategy=Strategy(parallel=2, fail_fast=True))
    made = build.execution(spec, Phase.TESTING)
    made = build.with_step(made, "a", StepPhase.FINISHED, verdict=Verdict.TESTS_FAILED, released=True)
    made = build.with_step(made, "b", StepPhase.RUNNING, pod="b-pod", pod_uid="b-uid")
    plan = decide(made, build.observed(build.step_pod("b")), build.START)
    assert plan.execution.step(StepKey(StepKind.SUITE, "c")).phase is StepPhase.SKIPPED
    assert "StopStep" in kinds(plan)


def test_a_suite_after_a_failed_one_is_skipped() -> None:
    """`after` means after PASSED."""
    spec = build.specification(build.suite("a"), build.suite("b", after=("a",)), build.suite("c", after=("b",)))
    made = build.with_step(build.execution(spec, Phase.TESTING), "a", StepPhase.FINISHED, verdict=Verdict.TESTS_FAILED)
    made = decide(made, build.observed(), build.START).execution
    assert [s.phase for s in made.steps[1:]] == [StepPhase.SKIPPED, StepPhase.SKIPPED]
    assert made.phase is Phase.COLLECTING


@pytest.mark.parametrize(
    ("verdicts", "optional", "expected"),
    [
        ((Verdict.PASSED, Verdict.PASSED), False, Verdict.PASSED),
        ((Verdict.PASSED, Verdict.TESTS_FAILED), False, Verdict.TESTS_FAILED),
        ((Verdict.PASSED, Verdict.TESTS_FAILED), True, Verdict.PASSED),
        ((Verdict.TESTS_FAILED, Verdict.ENVIRONMENT_FAILED), False, Verdict.ENVIRONMENT_FAILED),
        ((Verdict.PLAN_FAILED, Verdict.INFRASTRUCTURE_FAILED), False, Verdict.INFRASTRUCTURE_FAILED),
    ],
)
def test_the_worst_suite_decides(verdicts: tuple[Verdict, Verdict], optional: bool, expected: Verdict) -> None:
    """An optional suite's failure does not count."""
    spec = build.specification(build.suite("a"), build.suite("b", optional=optional))
    made = build.execution(spec, Phase.COLLECTING, evidence=EVIDENCE)
    for name, verdict in zip("ab", verdicts, strict=True):
        made = build.with_step(made, name, StepPhase.FINISHED, verdict=verdict, released=True)
    assert decide(made, build.observed(), build.START).execution.verdict is expected


def test_evidence_is_sealed_before_anything_is_deleted() -> None:
    """COLLECTING asks for the seal and nothing else; deletion comes in CLEANING."""
    made = build.with_step(build.execution(phase=Phase.COLLECTING), "unit", StepPhase.FINISHED, verdict=Verdict.PASSED)
    assert kinds(decide(made, build.observed(), build.START)) == ["SealEvidence"]
    made = decide(replace(made, evidence=EVIDENCE), build.observed(), build.START).execution
    assert made.phase is Phase.CLEANING
    assert kinds(decide(made, build.observed(), build.START)) == ["DeleteWorkload"]
    made = replace(made, workload_deleted=True)
    assert kinds(decide(made, build.observed(), build.START)) == ["DeleteNamespace"]
    made = replace(made, namespace_deleted=True)
    plan = decide(made, NOTHING, build.START)
    assert (plan.execution.phase, kinds(plan)) == (Phase.DONE, ["Finish"])


def test_a_terminating_namespace_is_not_deleted_again_and_its_blockers_are_told() -> None:
    """CLEANUP_BLOCKED after half a minute, as a warning: the verdict stands."""
    made = build.execution(phase=Phase.CLEANING, evidence=EVIDENCE, verdict=Verdict.PASSED, workload_deleted=True)
    stuck = build.observed(namespace=build.namespace(terminating=True, conditions=("finalizer x remains",)))
    assert decide(made, stuck, build.START).actions == ()
    late = decide(made, stuck, build.START + 31 * build.SECOND).execution
    assert late.warnings == ("CLEANUP_BLOCKED: finalizer x remains",)


def test_blockers_are_told_after_a_cleanup_that_ended_a_hold_early() -> None:
    """Not only when the hold would have been over, hours later."""
    made = build.execution(
        phase=Phase.CLEANING, evidence=EVIDENCE, verdict=Verdict.PASSED, workload_deleted=True,
        cleanup_requested=True, hold_until=build.START + 10_000 * build.SECOND,
    )  # fmt: skip
    stuck = build.observed(namespace=build.namespace(terminating=True, conditions=("finalizer x remains",)))
    asked = decide(made, stuck, build.START + 100 * build.SECOND).execution
    assert asked.warnings == ()
    late = decide(asked, stuck, build.START + 131 * build.SECOND).execution
    assert late.warnings == ("CLEANUP_BLOCKED: finalizer x remains",)


def test_pods_that_do_not_end_are_told() -> None:
    """A lost node confirms no end; the deletion goes on, and is looked after again."""
    made = build.execution(phase=Phase.CLEANING, evidence=EVIDENCE, verdict=Verdict.PASSED)
    view = build.observed(build.step_pod(deleting=True))
    soon, late = (decide(made, view, build.START + after * build.SECOND) for after in (5, 31))
    assert soon.execution.warnings == ()
    assert late.execution.warnings == ("CLEANUP_BLOCKED: pods do not end; is their node lost?",)
    assert (kinds(soon), kinds(late)) == (["DeleteWorkload"], ["DeleteWorkload"])
    assert soon.wake_at is not None and late.wake_at is not None


@pytest.mark.parametrize(
    ("policy", "verdict", "held"),
    [
        (CleanupPolicy.ALWAYS, Verdict.TESTS_FAILED, False),
        (CleanupPolicy.ON_SUCCESS, Verdict.PASSED, False),
        (CleanupPolicy.ON_SUCCESS, Verdict.TESTS_FAILED, True),
        (CleanupPolicy.HOLD, Verdict.PASSED, True),
    ],
)
def test_the_cleanup_policy_decides_who_is_held(policy: CleanupPolicy, verdict: Verdict, held: bool) -> None:
    """A held environment stays for hold_for, then goes."""
    spec = build.specification(policy=Policy(cleanup=policy, hold_for_ms=60_000))
    made = build.execution(spec, Phase.CLEANING, evidence=EVIDENCE, verdict=verdict)
    assert (kinds(decide(made, build.observed(), build.START)) == ["Hold"]) is held
    late = build.START + 61 * build.SECOND
    assert kinds(decide(made, build.observed(), late)) == ["DeleteWorkload"]
    asked = replace(made, cleanup_requested=True)
    assert kinds(decide(asked, build.observed(), build.START)) == ["DeleteWorkload"]


def test_a_hold_is_asked_for_once_and_one_that_found_no_place_is_over() -> None:
    """What the store said of it stands in the record."""
    spec = build.specification(policy=Policy(cleanup=CleanupPolicy.HOLD, hold_for_ms=60_000))
    made = build.execution(spec, Phase.CLEANING, evidence=EVIDENCE, verdict=Verdict.PASSED)
    until = build.START + 60 * build.SECOND
    held = decide(replace(made, hold_until=until), build.observed(), build.START)
    assert (held.actions, held.wake_at) == ((), until)
    assert kinds(decide(replace(made, hold_until=build.START), build.observed(), build.START)) == ["DeleteWorkload"]


def test_the_ttl_ends_a_running_execution_with_time_left_for_its_evidence() -> None:
    """TTL is a clock of its own, earlier than the namespace's expiry by the reserve."""
    spec = build.specification(policy=Policy(ttl_ms=10 * 60_000))
    made = build.execution(spec, Phase.TESTING)
    assert made.expires_at is not None
    early = decide(made, build.observed(), made.expires_at - 31 * build.SECOND).execution
    assert early.failure is None
    late = decide(made, build.observed(), made.expires_at - 29 * build.SECOND).execution
    assert late.failure is not None
    assert late.failure.code is Code.TTL


def test_a_lost_cluster_ends_the_execution_explained() -> None:
    """With the simulated cluster gone nothing is asked of it any more."""
    gone = Observed(synced=True, cluster_lost=True)
    made = running()
    for _ in range(3):
        made = decide(made, gone, build.START).execution
    assert made.failure is not None
    assert made.failure.code is Code.CLUSTER_LOST
    assert kinds(decide(made, gone, build.START)) == ["SealEvidence"]
    made = decide(replace(made, evidence=EVIDENCE), gone, build.START).execution
    made = decide(made, gone, build.START).execution
    assert (made.phase, made.verdict) == (Phase.DONE, Verdict.INFRASTRUCTURE_FAILED)


def test_a_namespace_deleted_from_outside_is_noticed() -> None:
    """Its termination ends the run as INFRASTRUCTURE_FAILED."""
    view = build.observed(build.step_pod(), namespace=build.namespace(terminating=True))
    made = decide(running(), view, build.START).execution
    assert made.failure == Diagnosis(
        Code.NAMESPACE_LOST,
        "the namespace was deleted from outside",
        f"namespace/{build.NAMESPACE}",
        hint="who deleted it?",
    )


def test_the_first_cause_stays() -> None:
    """A later failure does not replace the first."""
    from k8s_execution.engine.ending import fail

    first = fail(running(), Diagnosis(Code.OUT_OF_MEMORY, "first"), build.START)
    assert fail(first, Diagnosis(Code.CRASH_LOOP, "second"), build.START) == first


@pytest.mark.parametrize("phase", [StepPhase.RUNNING, StepPhase.COLLECTING])
@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("Evicted", Code.EVICTED),
        ("EvictionByEvictionAPI", Code.EVICTED),
        ("PreemptionByScheduler", Code.EVICTED),
        ("NodeLost", Code.NODE_LOST),
        ("DeletionByTaintManager", Code.NODE_LOST),
        ("DeletionByPodGC", Code.NODE_LOST),
    ],
)
def test_a_pod_ended_as_a_whole_is_not_judged_by_its_containers(phase: StepPhase, reason: str, code: Code) -> None:
    """The killed container is a consequence, and there is nobody left to collect from."""
    killed = build.container(state=ContainerState.TERMINATED, exit_code=137)
    pod = build.step_pod("unit", StepKind.SUITE, killed, phase=PodPhase.FAILED, reason=reason)
    made = build.with_step(build.execution(phase=Phase.TESTING), "unit", phase, pod=pod.name, pod_uid=pod.uid)
    plan = decide(made, build.observed(pod), build.START)
    state = plan.execution.step(SUITE)
    assert (state.phase, state.diagnosis and state.diagnosis.code) == (StepPhase.FINISHED, code)
    assert "CollectStep" not in kinds(plan)


@pytest.mark.parametrize(
    ("phase", "code", "lost"),
    [
        (StepPhase.RUNNING, Code.POD_LOST, 1),
        (StepPhase.COLLECTING, Code.NAMESPACE_LOST, 1),
        (StepPhase.STARTING, Code.IMAGE_PULL, 0),
        (StepPhase.RUNNING, Code.SOURCE_FAILED, 0),
    ],
)
def test_files_that_went_with_a_pod_are_a_gap(phase: StepPhase, code: Code, lost: int) -> None:
    """Evidence without them is not complete; of a step whose code never ran nothing is missing."""
    from k8s_execution.engine.ending import finish_step

    made = build.execution(build.specification(build.suite(artifacts=("*.png",))))
    state = replace(made.steps[0], phase=phase)
    made = finish_step(made, state, Diagnosis(code, "gone"), build.START)
    assert len(made.gaps) == lost
    assert made.steps[0].phase is StepPhase.FINISHED

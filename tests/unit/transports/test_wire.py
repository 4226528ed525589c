"""Conversions without a wire: requests into values, records into answers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.domain.execution import Evidence, Execution, ResolvedImage, StepPhase
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import (
    Application,
    BundleSource,
    CleanupPolicy,
    ConfigFile,
    EgressRule,
    ImageSource,
    InlineSource,
    Policy,
    Port,
    Quota,
    Readiness,
    ReadinessKind,
    Resources,
    Security,
    Step,
    StepKind,
    Strategy,
    SuiteType,
    Volume,
)
from k8s_execution.domain.verdict import Code, Diagnosis, Verdict
from k8s_execution.ports.logs import LogBatch, LogLine, LogLines, LogStream
from k8s_execution.ports.store import EventType, StatusEvent
from k8s_execution.transports.wire import encode_execution, encode_logs, events
from k8s_execution.transports.wire.decode_plan import execute_call
from k8s_execution.usecases import ExecuteCall
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2, plan_pb2
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as pb
from support import build


def decoded(document: Mapping[str, object]) -> ExecuteCall:
    return execute_call(json_format.ParseDict(dict(document), pb.ExecuteRequest()), (), Policy())


def plan(**suite: object) -> dict[str, object]:
    return {"test_plan": {"source": {"image": {}}, "suites": [{"name": "u", "type": "PYTEST", "image": "i", **suite}]}}


def test_what_is_not_given_takes_the_contracts_default() -> None:
    call = decoded(plan())
    spec = call.specification
    assert (spec.name, spec.project, spec.policy) == ("unnamed", "default", Policy())
    assert spec.test_plan.strategy == Strategy(parallel=4, fail_fast=False)
    assert spec.test_plan.source == ImageSource()
    assert spec.test_plan.suites == (Step("u", StepKind.SUITE, "i", suite_type=SuiteType.PYTEST),)
    assert spec.environment.quota == Quota()
    assert (call.secrets, call.idempotency_key, call.problems) == ({}, "", ())


def test_an_empty_request_is_an_empty_plan() -> None:
    assert execute_call(pb.ExecuteRequest(), (), Policy()).specification.test_plan.suites == ()


def test_an_application_with_defaults() -> None:
    call = decoded({**plan(), "environment": {"applications": [{"name": "a", "image": "i", "ports": [{"port": 80}]}]}})
    assert call.specification.environment.applications == (
        Application("a", "i", ports=(Port("port-80", 80),), security=Security(None, True)),
    )


def test_all_of_an_environment() -> None:
    call = decoded(
        {
            **plan(),
            "environment": {
                "env": {"A": "1"},
                "secrets": {"T": {"value": "v"}, "F": {"from_env": "X"}},
                "files": [{"path": "/f", "content": "c"}],
                "applications": [
                    {
                        "name": "a", "image": "i", "command": ["c"], "args": ["x"], "working_dir": "/w", "replicas": 3,
                        "env": {"E": "2"}, "after": ["b"],
                        "readiness": {"grpc": {"port": 9, "service": "s"}, "period": "2s", "failure_threshold": 5},
                        "resources": {"cpu": "2", "memory": "128Mi", "shm_size": "64Mi"},
                        "volumes": [{"name": "v", "mount_path": "/v", "size": "1Gi"}],
                        "security": {"run_as_user": 7, "writable_root": False},
                    }
                ],
                "network": {"egress": [{"cidr": "203.0.113.0/24", "ports": [443]}]},
                "quota": {"cpu": "4", "pods": 9},
            },
        }
    )  # fmt: skip
    environment = call.specification.environment
    assert call.secrets == {"T": "v", "F": ""}
    assert environment.secrets == ("F", "T")
    assert environment.files == (ConfigFile("/f", "c"),)
    assert environment.egress == (EgressRule("203.0.113.0/24", (443,)),)
    assert environment.quota == Quota(cpu="4", pods=9)
    (application,) = environment.applications
    assert application == Application(
        "a", "i", ("c",), ("x",), "/w", 3, (), {"E": "2"},
        Readiness(ReadinessKind.GRPC, port=9, service="s", period_ms=2000, failure_threshold=5),
        Resources(cpu="2", memory="128Mi", cpu_limit="2", shm_size="64Mi"),
        (Volume("v", "/v", "1Gi"),), Security(7, False), ("b",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        ({"http": {"port": 80}}, Readiness(ReadinessKind.HTTP, 80, "/")),
        ({"tcp": {"port": 80}}, Readiness(ReadinessKind.TCP, 80)),
        ({"exec": {"command": ["true"]}}, Readiness(ReadinessKind.EXEC, command=("true",))),
        ({"period": "1s"}, None),
    ],
)
def test_readiness(probe: dict[str, object], expected: Readiness | None) -> None:
    application = {"name": "a", "image": "i", "readiness": probe}
    call = decoded({**plan(), "environment": {"applications": [application]}})
    assert call.specification.environment.applications[0].readiness == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"bundle": {"id": "b-1"}}, BundleSource("b-1")),
        ({"inline": {"files": [{"path": "a", "content": "c"}]}}, InlineSource((ConfigFile("a", "c"),))),
        ({"local": {"path": "."}}, ImageSource()),
        ({}, ImageSource()),
    ],
)
def test_sources(source: dict[str, object], expected: object) -> None:
    document = {"test_plan": {"source": source, "suites": []}}
    assert decoded(document).specification.test_plan.source == expected


def test_a_suite_and_a_hook() -> None:
    document = {
        "test_plan": {
            "suites": [
                {"name": "s", "type": "CUSTOM", "image": "i", "command": ["c"], "install": [["pip", "x"]],
                 "timeout": "1m",
                 "optional": True, "after": ["t"], "reports": ["r"], "artifacts": ["a"], "resources": {"memory": "1Gi"}}
            ],
            "teardown": [{"name": "h", "image": "i", "command": ["c"], "artifacts": ["a"]}],
            "strategy": {"parallel": 2, "fail_fast": True},
        }
    }  # fmt: skip
    test_plan = decoded(document).specification.test_plan
    assert test_plan.suites == (
        Step("s", StepKind.SUITE, "i", ("c",), (("pip", "x"),), {}, Resources(memory="1Gi", memory_limit="1Gi"), ("r",),
             ("a",), 60_000, ("t",), SuiteType.CUSTOM, True),
    )  # fmt: skip
    assert test_plan.teardown == (Step("h", StepKind.TEARDOWN, "i", ("c",), artifacts=("a",)),)
    assert test_plan.strategy == Strategy(2, True)


def test_a_policy() -> None:
    policy = {"timeout": "1h30m", "provisioning_timeout": "90s", "queue_timeout": "2m", "ttl": "2h", "cleanup": "HOLD",
              "hold_for": "10m", "priority": -3}  # fmt: skip
    found = decoded({**plan(), "policy": policy}).specification.policy
    assert found == Policy(5_400_000, 90_000, 120_000, 300_000, 7_200_000, CleanupPolicy.HOLD, 600_000, -3)


@given(st.text(max_size=30), st.text(max_size=30))
def test_decoding_is_total(duration: str, amount: str) -> None:
    """Whatever the texts are: their rules report them, decoding goes on with defaults."""
    request = pb.ExecuteRequest(policy=plan_pb2.Policy(ttl=duration, timeout=duration, cleanup=77))  # type: ignore[arg-type]
    suite = request.test_plan.suites.add(timeout=duration, type=99)  # values that no enum knows
    suite.resources.cpu = suite.resources.memory = amount
    suite.install.add().values.add(number_value=3)
    found = execute_call(request, (), Policy()).specification
    assert found.policy.ttl_ms > 0
    assert found.test_plan.suites[0].install == (("",),)


@pytest.mark.parametrize(
    ("verdict", "word"),
    [
        (None, "testing"),
        (Verdict.PASSED, "passed"),
        (Verdict.TESTS_FAILED, "failed"),
        (Verdict.TIMED_OUT, "timeout"),
        (Verdict.CANCELLED, "cancelled"),
        (Verdict.PLAN_FAILED, "error"),
        (Verdict.APPLICATION_FAILED, "error"),
        (Verdict.ENVIRONMENT_FAILED, "error"),
        (Verdict.INFRASTRUCTURE_FAILED, "error"),
    ],
)
def test_the_word_that_old_callers_read(verdict: Verdict | None, word: str) -> None:
    assert encode_execution.status(build.execution(phase=Phase.TESTING, verdict=verdict)) == word


def finished() -> Execution:
    """An execution that ended badly, with everything an answer can show."""
    second = build.SECOND
    made = build.execution(phase=Phase.CLEANING)
    entered = {Phase.PROVISIONING: build.START + second, Phase.TESTING: build.START + 3 * second,
               Phase.COLLECTING: build.START + 10 * second, Phase.CLEANING: build.START + 11 * second}  # fmt: skip
    made = build.with_step(made, "unit", StepPhase.FINISHED, exit_code=0, pod="p", started_at=build.START)
    return replace(
        made,
        entered=entered,
        verdict=Verdict.ENVIRONMENT_FAILED,
        failure=Diagnosis(Code.UNSCHEDULABLE, "no room", "pod/p", "a" + "b" * 5000, "ask for less"),
        evidence=Evidence(build.START, 10, 2, "ab", ("gone",)),
        images=(ResolvedImage("z", "sha256:1"), ResolvedImage("a", "", "host python")),
        warnings=("slow",),
        finished_at=build.START + 11 * second,
    )


def test_an_answer_shows_what_became_of_an_execution() -> None:
    answer = encode_execution.execution(finished(), now=build.START + 12 * build.SECOND)
    assert (answer.diagnosis.code, answer.diagnosis.retryable, answer.diagnosis.hint) == (
        "UNSCHEDULABLE",
        True,
        "ask for less",
    )
    assert answer.diagnosis.excerpt == "b" * 4096
    assert (answer.evidence.complete, list(answer.evidence.gaps), answer.evidence.log_lines) == (False, ["gone"], 2)
    assert [i.ref for i in answer.resolved.images] == ["a", "z"]
    assert list(answer.warnings) == ["slow"]
    assert answer.steps[0].exit_code == 0
    assert answer.steps[0].HasField("exit_code")
    assert not answer.steps[0].HasField("finished_at")
    assert answer.finished_at.seconds == build.START // 10**6 + 11


def test_every_step_that_did_not_pass_tells_why() -> None:
    """Shorter than the execution's own: all of them together must fit into a message."""
    cause = Diagnosis(Code.NO_TESTS, "none", "suite/unit", "a" + "b" * 5000)
    made = build.with_step(finished(), "unit", StepPhase.FINISHED, verdict=Verdict.PLAN_FAILED, diagnosis=cause)
    step = encode_execution.execution(made).steps[0]
    assert (step.diagnosis.code, step.diagnosis.object, step.diagnosis.excerpt) == (
        "NO_TESTS",
        "suite/unit",
        "b" * 1000,
    )
    assert not encode_execution.execution(finished()).steps[0].HasField("diagnosis")


def test_a_held_environment_says_until_when() -> None:
    """And one that found no place, or whose cleanup was asked for, does not."""
    made = replace(finished(), hold_until=build.START + 60 * build.SECOND)
    assert encode_execution.execution(made).held_until.seconds == build.START // 10**6 + 60
    for other in (replace(made, hold_until=made.entered[Phase.CLEANING]), replace(made, cleanup_requested=True)):
        assert not encode_execution.execution(other).HasField("held_until")


def test_timings_are_seconds_of_the_phases_entered() -> None:
    timings = encode_execution.execution(finished(), now=build.START + 12 * build.SECOND).timings
    assert (timings.queued, timings.provisioning, timings.testing) == (1.0, 2.0, 7.0)
    assert (timings.collecting, timings.cleaning) == (1.0, 1.0)
    assert not timings.HasField("setup")
    assert not encode_execution.execution(finished()).timings.HasField("cleaning")


def test_the_cause_is_not_told_before_the_verdict() -> None:
    undecided = replace(finished(), verdict=None, phase=Phase.COLLECTING)
    assert not encode_execution.execution(undecided).HasField("diagnosis")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("VERDICT", execution_pb2.StatusEvent.VERDICT), ("NEWER", execution_pb2.StatusEvent.TYPE_UNSPECIFIED)],
)
def test_an_event_of_a_kind_this_version_does_not_know_is_still_an_event(kind: str, expected: int) -> None:
    event = StatusEvent(7, build.ID, 3, build.START, EventType(kind), finished())
    answer = events.response(event, "c").event
    assert (answer.type, answer.sequence, answer.cursor) == (expected, 3, "c")


def test_a_line_of_log_takes_little_time() -> None:
    """The hot path's budget is 0.4 µs a line; ten times that fails here, so that a busy machine does not."""
    line = LogLine(1_700_000_000_123_456_789, b"x" * 120)
    batch = LogBatch(0, LogStream("p", "c"), 0, LogLines.of([line] * 500))

    def once() -> float:
        start = time.perf_counter()
        encode_logs.response(build.ID, batch, "cursor")
        return time.perf_counter() - start

    assert min(once() for _ in range(20)) / 500 < 4e-6

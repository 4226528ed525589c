"""Each RPC from a client's side, over the real use cases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import json_format

from k8s_execution.domain.execution import StepPhase
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import Policy, StepKind
from k8s_execution.domain.testcase import TestCase, TestStatus
from k8s_execution.domain.verdict import Verdict
from k8s_execution.engine.sweep import Finding, OrphanReason, SweepAction
from k8s_execution.ports.logs import LogBatch, LogGap, LogLine, LogLines, LogStream
from k8s_execution.ports.store import ArtifactEntry, ArtifactKind, EventType, StepResult
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2, results_pb2
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as pb
from support import build
from support.bad_requests import VALID
from unit.transports.conftest import Answered, Serve
from unit.transports.fakes import World

if TYPE_CHECKING:
    from unit.transports.conftest import Stub


def plan(**given: object) -> pb.ExecuteRequest:
    return json_format.ParseDict({**VALID, **given}, pb.ExecuteRequest())


async def test_execute_answers_the_stored_execution(stub: Stub, world: World) -> None:
    answer = (await stub.Execute(plan())).execution
    assert answer.id == answer.test_id
    assert answer.id in world.store.executions
    assert (answer.status, answer.phase, answer.queue_position, answer.sequence) == ("queued", 1, 1, 1)
    assert [s.name for s in answer.steps] == ["migrate", "unit", "smoke", "dump"]
    assert answer.cluster.kind == execution_pb2.Cluster.SIMULATED
    assert not answer.HasField("diagnosis")
    assert not answer.HasField("evidence")
    assert "s3cret-value" not in str(answer)


async def test_the_installations_defaults_hold_where_a_plan_says_nothing(serve: Serve, world: World) -> None:
    stub = await serve(world.use_cases(), defaults=Policy(ttl_ms=7_200_000, timeout_ms=3_600_000))
    answer = (await stub.Execute(plan(policy={}))).execution
    assert world.store.executions[answer.id].specification.policy == Policy(ttl_ms=7_200_000, timeout_ms=3_600_000)


async def test_a_repeated_key_answers_the_same_execution_and_another_body_is_a_conflict(stub: Stub) -> None:
    first = await stub.Execute(plan(idempotency_key="ci-1"))
    assert (await stub.Execute(plan(idempotency_key="ci-1"))).execution.id == first.execution.id
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Execute(plan(idempotency_key="ci-1", name="other"))
    assert Answered(refused.value).info.reason == "IDEMPOTENCY_CONFLICT"


async def test_validate_shows_objects_sums_and_warnings_and_hides_secrets(stub: Stub, world: World) -> None:
    answer = await stub.Validate(pb.ValidateRequest(request=plan()))
    assert answer.valid
    assert {o.kind for o in answer.objects} >= {"Namespace", "ResourceQuota", "Deployment", "Job", "Secret"}
    assert {q.resource for q in answer.quota} >= {"requests.cpu", "requests.memory", "pods"}
    assert all(q.sufficient and q.needed and q.allowed and q.parts for q in answer.quota)
    assert "s3cret-value" not in str(answer)
    assert not world.store.executions


async def test_validate_of_a_small_quota_says_so_in_its_sums(stub: Stub) -> None:
    request = plan()
    request.environment.quota.pods = 2
    answer = await stub.Validate(pb.ValidateRequest(request=request))
    assert [(p.field, p.rule) for p in answer.problems] == [("environment.quota.pods", "quota.room")]
    assert [q.resource for q in answer.quota if not q.sufficient] == ["pods"]


async def test_validate_of_nothing_is_an_answer(stub: Stub) -> None:
    answer = await stub.Validate(pb.ValidateRequest())
    assert [(p.field, p.rule) for p in answer.problems] == [("test_plan", "required")]
    assert not answer.quota


async def test_status_waits_for_a_change_from_now_on(stub: Stub, world: World) -> None:
    """Without `after_sequence` the present state does not end the wait."""
    execution = world.store.put(world.store.put(build.execution()))
    call = asyncio.ensure_future(stub.Status(pb.StatusRequest(execution_id=build.ID, wait="1m")))
    async with asyncio.timeout(20):
        while not world.store.listeners:  # noqa: ASYNC110 - the fake has no event for it
            await asyncio.sleep(0.001)
        world.store.put(replace(execution, phase=Phase.PROVISIONING))
        answer = (await call).execution
    assert (answer.sequence, answer.status) == (3, "provisioning")


async def test_status_answers_at_once_what_is_newer_than_the_caller_knows(stub: Stub, world: World) -> None:
    world.store.put(world.store.put(build.execution()))
    answer = await stub.Status(pb.StatusRequest(execution_id=build.ID, wait="10m", after_sequence=1))
    assert answer.execution.sequence == 2


async def test_cleanup_records_the_wish(stub: Stub, world: World) -> None:
    world.store.put(build.execution(phase=Phase.TESTING))
    await stub.Cleanup(pb.CleanupRequest(execution_id=build.ID))
    stored = world.store.executions[build.ID]
    assert stored.cancel_requested
    assert stored.cleanup_requested


async def test_lists_are_paged_without_steps_and_filtered(stub: Stub, world: World) -> None:
    for number in range(5):
        done = Phase.DONE if number < 2 else Phase.TESTING
        verdict = Verdict.PASSED if number == 0 else None
        execution = build.execution(phase=done, verdict=verdict)
        world.store.put(replace(execution, id=f"e{number}", created_at=build.START + number))
    first = await stub.ListExecutions(pb.ListExecutionsRequest(page_size=3))
    assert [e.id for e in first.executions] == ["e4", "e3", "e2"]
    assert not first.executions[0].steps
    second = await stub.ListExecutions(pb.ListExecutionsRequest(page_size=3, page_token=first.next_page_token))
    assert [e.id for e in second.executions] == ["e1", "e0"]
    assert not second.next_page_token
    passed = await stub.ListExecutions(pb.ListExecutionsRequest(verdicts=[execution_pb2.PASSED], id_prefix="e"))
    assert [e.id for e in passed.executions] == ["e0"]
    active = await stub.ListActive(pb.ListActiveRequest(phases=[execution_pb2.TESTING]))
    assert [e.id for e in active.executions] == ["e4", "e3", "e2"]


async def test_a_page_token_of_another_kind_is_refused(stub: Stub, world: World) -> None:
    world.store.put(build.execution())
    watch = stub.Watch(pb.WatchRequest(execution_id=build.ID))
    first = await watch.read()
    assert isinstance(first, pb.WatchResponse)
    cursor = first.event.cursor
    watch.cancel()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ListExecutions(pb.ListExecutionsRequest(page_token=cursor))
    assert Answered(refused.value).info.reason == "CURSOR_INVALID"


async def test_watch_streams_to_the_end_and_resumes(stub: Stub, world: World) -> None:
    execution = world.store.put(build.execution(), EventType.CREATED)
    world.store.put(replace(execution, phase=Phase.TESTING), EventType.PHASE_CHANGED)
    world.store.put(replace(execution, phase=Phase.DONE, verdict=Verdict.PASSED), EventType.PHASE_CHANGED)
    events = [a.event async for a in stub.Watch(pb.WatchRequest(execution_id=build.ID))]
    assert [e.sequence for e in events] == [1, 2, 3]
    assert [e.type for e in events] == [1, 2, 2]
    assert events[-1].execution.status == "passed"
    again = [a.event async for a in stub.Watch(pb.WatchRequest(execution_id=build.ID, cursor=events[0].cursor))]
    assert again == events[1:]


async def test_logs_are_streamed_filtered_and_resumed(stub: Stub, world: World) -> None:
    world.store.put(build.execution())
    step, api = LogStream("unit-1", "step", step="unit", shard=1), LogStream("api-1", "application", application="api")
    world.journal.batches[build.ID] = [
        LogBatch(0, step, 0, LogLines.of([LogLine(1_500_000_001, b"one"), LogLine(2, b"\xff", partial=True)])),
        LogBatch(1, api, 0, LogLines.of([LogLine(3, b"served")])),
        LogBatch(2, step, 2, gap=LogGap(2, 4, "ROTATED: the log was rotated"), end=True),
    ]
    request = pb.StreamLogsRequest(execution_id=build.ID)
    batches = [a.batch async for a in stub.StreamLogs(request)]
    assert [line.text for b in batches for line in b.lines] == ["one", "\ufffd", "served"]
    assert (batches[0].lines[0].time.seconds, batches[0].lines[0].time.nanos) == (1, 500_000_001)
    assert batches[0].lines[1].partial
    assert (batches[2].gap.from_sequence, batches[2].gap.to_sequence, batches[2].end) == (2, 4, True)
    assert not batches[0].HasField("gap")
    assert (batches[0].stream.step, batches[0].stream.shard, batches[1].stream.application) == ("unit", 1, "api")
    resumed = [
        a.batch async for a in stub.StreamLogs(pb.StreamLogsRequest(execution_id=build.ID, cursor=batches[0].cursor))
    ]
    assert resumed == batches[1:]
    only = [a.batch async for a in stub.StreamLogs(pb.StreamLogsRequest(execution_id=build.ID, steps=["api"]))]
    assert only == [batches[1]]


async def test_results_come_in_pages_with_suites_and_artifacts_on_the_first(stub: Stub, world: World) -> None:
    spec = build.specification(build.suite("a"), build.suite("b"))
    execution = build.with_step(build.execution(spec), "a", StepPhase.FINISHED, verdict=Verdict.TESTS_FAILED)
    keys = {s.key.name: s.key for s in execution.steps}
    world.store.put(execution)
    cases = [TestCase("a", "t.C", f"t{i}", TestStatus.PASSED, 0.5) for i in range(3)]
    cases.append(TestCase("a", "t.C", "bad", TestStatus.FAILED, 0.5, "t.py", "m" * 2000, "d" * 20_000))
    kept = ArtifactEntry("steps/suite-a-0-1/reports/junit.xml", ArtifactKind.REPORT, keys["a"], 10, "ab")
    world.store.found[build.ID] = [StepResult(build.ID, keys["a"], cases, [kept])]
    world.archive.files = {(build.ID, kept.path): b"<xml/>", (build.ID, "objects/pods.jsonl"): b"{}\n"}
    request = pb.GetResultsRequest(execution_id=build.ID, page_size=3)
    first = await stub.GetResults(request)
    assert [(s.name, s.verdict, s.tests.total, s.tests.failed, s.duration) for s in first.suites] == [
        ("a", 2, 4, 1, 2.0),
        ("b", 0, 0, 0, 0.0),
    ]
    assert [(a.path, a.kind, a.step, a.bytes) for a in first.artifacts] == [
        ("objects/pods.jsonl", results_pb2.Artifact.RECORD, "", 3),
        (kept.path, results_pb2.Artifact.REPORT, "a", 10),
    ]
    assert [c.name for c in first.cases] == ["t0", "t1", "t2"]
    second = await stub.GetResults(pb.GetResultsRequest(execution_id=build.ID, page_token=first.next_page_token))
    assert not second.suites
    assert not second.artifacts
    (bad,) = second.cases
    assert (bad.name, bad.status, len(bad.message), len(bad.details)) == (
        "bad",
        results_pb2.TestCase.FAILED,
        1024,
        16384,
    )
    assert not second.next_page_token


async def test_a_page_of_results_stays_below_what_a_default_client_takes(stub: Stub, world: World) -> None:
    execution = world.store.put(build.execution())
    text = "\u20ac" * 16_000
    cases = [TestCase("unit", "", f"t{i}", TestStatus.FAILED, details=text) for i in range(300)]
    world.store.found[build.ID] = [StepResult(build.ID, execution.of_kind(StepKind.SUITE)[0].key, cases, [])]
    names: list[str] = []
    token = ""
    while True:
        page = await stub.GetResults(pb.GetResultsRequest(execution_id=build.ID, page_size=1000, page_token=token))
        names += [c.name for c in page.cases]
        token = page.next_page_token
        if not token:
            break
    assert names == [c.name for c in cases]


async def test_a_file_is_downloaded_metadata_first_in_pieces(stub: Stub, world: World) -> None:
    world.store.put(build.execution())
    data = bytes(range(256)) * 1024
    world.archive.files[build.ID, "steps/a/junit.xml"] = data
    request = pb.DownloadArtifactRequest(execution_id=build.ID, path="steps/a/junit.xml")
    first, *rest = [a async for a in stub.DownloadArtifact(request)]
    assert (first.metadata.path, first.metadata.size_bytes) == ("steps/a/junit.xml", len(data))
    assert first.metadata.content_type == "text/xml"
    assert [len(a.chunk) for a in rest] == [65_536] * 4
    assert b"".join(a.chunk for a in rest) == data


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a//b", ""])
async def test_an_unsafe_path_is_never_looked_up(path: str, stub: Stub, world: World) -> None:
    world.store.put(build.execution())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.DownloadArtifact(pb.DownloadArtifactRequest(execution_id=build.ID, path=path)).read()
    assert Answered(refused.value).problems == {("path", "string.relative_path")}


async def test_a_file_that_was_not_kept_is_not_found(stub: Stub, world: World) -> None:
    world.store.put(build.execution())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.DownloadArtifact(pb.DownloadArtifactRequest(execution_id=build.ID, path="none")).read()
    assert Answered(refused.value).info.reason == "EXECUTION_NOT_FOUND"


async def test_orphans_are_told_with_reason_action_and_times(stub: Stub, world: World) -> None:
    world.sweeper.findings = [
        Finding("ns", "uid", "e1", "i", OrphanReason.EXPIRED, SweepAction.BLOCKED, 2.5, build.START, None, ("left",))
    ]
    answer = await stub.SweepOrphans(pb.SweepOrphansRequest(dry_run=True))
    (orphan,) = answer.orphans
    assert answer.dry_run
    assert world.sweeper.dry_runs == [True]
    assert (orphan.reason, orphan.action) == (results_pb2.Orphan.EXPIRED, results_pb2.Orphan.BLOCKED)
    assert (orphan.age, orphan.created_at.seconds, list(orphan.blockers)) == (2.5, build.START // 10**6, ["left"])
    assert not orphan.HasField("expires_at")

"""The asynchronous client against a service that fails as services do."""

from __future__ import annotations

import io
import itertools
from contextlib import aclosing
from pathlib import Path

import grpc
import pytest

from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2 as ex
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as api
from k8s_execution_client.client import CHUNK, ExecutionClient
from k8s_execution_client.faults import ServiceFault, ServiceUnreachable
from k8s_execution_client.fetch import fetch
from unit.client.fake_service import FakeService, Refusal

GONE = Refusal(grpc.StatusCode.UNAVAILABLE, "connection reset")


async def test_an_execute_repeated_after_a_lost_answer_is_one_execution(
    service: FakeService, client: ExecutionClient
) -> None:
    """The client adds an idempotency key, so the second try finds the first."""
    service.refuse("Execute:answer", GONE, 2)
    execution = await client.execute(api.ExecuteRequest(name="shop"))
    assert list(service.kept) == [execution.id]
    assert len({request.idempotency_key for request in service.received["Execute"]}) == 1


async def test_a_given_idempotency_key_is_sent_as_it_is(service: FakeService, client: ExecutionClient) -> None:
    """The caller's key wins."""
    await client.execute(api.ExecuteRequest(name="shop", idempotency_key="job-7"))
    assert service.received["Execute"][0].idempotency_key == "job-7"


async def test_a_log_stream_that_is_cut_goes_on_at_its_cursor(service: FakeService, client: ExecutionClient) -> None:
    """Each batch comes once, in order."""
    service.add("run0")
    for number in range(7):
        await service.log("run0", f"line {number}")
    await service.seal("run0")
    service.cut_after("StreamLogs", 1, 3)
    request = api.StreamLogsRequest(execution_id="run0", follow=True)
    lines = [line.text async for batch in client.stream_logs(request) for line in batch.lines]
    assert lines == [f"line {number}" for number in range(7)]
    assert [r.cursor for r in service.received["StreamLogs"]] == ["", "l-1", "l-4"]


async def test_a_watch_that_is_cut_misses_and_repeats_no_event(service: FakeService, client: ExecutionClient) -> None:
    """Sequences are gap-free through cuts, to DONE."""
    service.add("run0")
    for phase in (ex.PROVISIONING, ex.TESTING, ex.CLEANING, ex.DONE):
        await service.change("run0", phase=phase)
    service.cut_after("Watch", 1, 1)
    events = [event async for event in client.watch("run0")]
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    assert events[-1].execution.phase == ex.DONE


async def test_a_stream_survives_a_restart_of_the_service(service: FakeService, client: ExecutionClient) -> None:
    """The service stops in the middle and comes back on the same port."""
    service.add("run0")
    await service.log("run0", "before")
    request = api.StreamLogsRequest(execution_id="run0", follow=True)
    async with aclosing(client.stream_logs(request)) as batches:
        first = await anext(batches)
        port = int(service.target.rpartition(":")[2])
        await service.stop()
        await service.start(port)
        await service.log("run0", "after")
        second = await anext(batches)
    assert [first.lines[0].text, second.lines[0].text] == ["before", "after"]


async def test_rich_errors_become_faults_with_all_violations(service: FakeService, client: ExecutionClient) -> None:
    """Reason and field violations are read from the status details."""
    violations = (("test_plan.suites[0].image", "must be an image"), ("policy.ttl", "must be a duration"))
    service.refuse("Execute", Refusal(grpc.StatusCode.INVALID_ARGUMENT, "bad plan", "VALIDATION_FAILED", violations))
    with pytest.raises(ServiceFault) as caught:
        await client.execute(api.ExecuteRequest())
    assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", "VALIDATION_FAILED")
    assert [v.field for v in caught.value.violations] == ["test_plan.suites[0].image", "policy.ttl"]
    assert len(service.received["Execute"]) == 1


async def test_a_refused_store_is_tried_again(service: FakeService, client: ExecutionClient) -> None:
    """UNAVAILABLE with a reason is as temporary as without."""
    service.add("run0")
    service.refuse("Status", Refusal(grpc.StatusCode.UNAVAILABLE, "store is away", "STORE_UNAVAILABLE"), 2)
    assert (await client.status("run0")).id == "run0"


async def test_nothing_at_the_address_is_said_with_the_address() -> None:
    """A service that never answered is given up after the patience."""
    async with ExecutionClient("127.0.0.1:1", patience=0.0) as client:
        with pytest.raises(ServiceUnreachable, match=r"127\.0\.0\.1:1"):
            await client.status("run0")


async def test_waiting_ends_when_the_execution_is_as_wanted(service: FakeService, client: ExecutionClient) -> None:
    """Status is held by sequence."""
    service.add("run0")
    await service.change("run0", phase=ex.CLEANING, verdict=ex.PASSED)
    execution = await client.wait_until("run0", lambda e: e.phase == ex.CLEANING)
    assert execution.verdict == ex.PASSED


async def test_results_of_all_pages_are_joined(service: FakeService, client: ExecutionClient) -> None:
    """Suites and artifacts come once, cases of all pages in order."""
    kept = service.add("run0")
    kept.results.suites.add(name="unit")
    for number in range(5):
        kept.results.cases.add(suite="unit", name=f"test_{number}")
    joined = await client.results("run0", page_size=2)
    assert [case.name for case in joined.cases] == [f"test_{n}" for n in range(5)]
    assert len(joined.suites) == 1
    assert joined.next_page_token == ""


async def test_listing_goes_through_all_pages(service: FakeService, client: ExecutionClient) -> None:
    """Newest first."""
    for number in range(5):
        service.add(f"run{number}")
    found = [e.id async for e in client.list_executions(api.ListExecutionsRequest(page_size=2))]
    assert found == ["run4", "run3", "run2", "run1", "run0"]


async def test_active_executions_are_those_not_done(service: FakeService, client: ExecutionClient) -> None:
    """DONE is left out."""
    service.add("run0")
    service.add("run1")
    await service.change("run1", phase=ex.DONE)
    assert [e.id async for e in client.list_active()] == ["run0"]


async def test_an_upload_that_fails_is_sent_again_from_its_beginning(
    service: FakeService, client: ExecutionClient
) -> None:
    """The bytes arrive whole, in pieces below the message limit."""
    service.refuse("UploadBundle:answer", GONE)
    content = bytes(itertools.islice(itertools.cycle(range(251)), CHUNK * 2 + 5))
    answer = await client.upload_bundle(io.BytesIO(content), "", len(content))
    assert service.bundles[answer.bundle_id] == content
    assert max(len(piece.chunk) for piece in service.received["UploadBundle"]) <= CHUNK


async def test_a_download_that_is_cut_is_fetched_whole(
    service: FakeService, client: ExecutionClient, tmp_path: Path
) -> None:
    """No half of a file appears."""
    service.add("run0").files["coverage/index.html"] = b"0123456789"
    service.cut_after("DownloadArtifact", 1)
    path = await fetch(client, "run0", "coverage/index.html", tmp_path)
    assert path.read_bytes() == b"0123456789"
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", ""])
async def test_a_path_that_leaves_the_folder_is_refused(client: ExecutionClient, tmp_path: Path, path: str) -> None:
    """Whatever the service says."""
    with pytest.raises(ServiceFault, match="outside"):
        await fetch(client, "run0", path, tmp_path)


async def test_nothing_is_written_through_a_link(service: FakeService, client: ExecutionClient, tmp_path: Path) -> None:
    """A link in the folder is no way out of it."""
    service.add("run0").files["out/x"] = b"x"
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "out").symlink_to(outside)
    with pytest.raises(ServiceFault, match="link"):
        await fetch(client, "run0", "out/x", folder)
    assert not list(outside.iterdir())


@pytest.mark.parametrize("serving", [True, False])
async def test_health_is_what_the_service_says(service: FakeService, client: ExecutionClient, serving: bool) -> None:
    """grpc.health.v1, without its generated code."""
    service.serving = serving
    assert await client.healthy() is serving

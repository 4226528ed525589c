"""Every class of fault through every shape of call, over a real port."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from k8s_execution.domain import faults
from k8s_execution.domain.faults import Problem, ValidationFailed
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as pb
from support import build
from unit.transports.conftest import Answered, Serve, served
from unit.transports.fakes import CANARY, FailingUseCases

if TYPE_CHECKING:
    from unit.transports.conftest import Stub

PROBLEM = Problem("policy.ttl", "9", "string.duration", "must be a duration", "write '30m'")
FAULTS: list[tuple[Exception, grpc.StatusCode, str]] = [
    (ValidationFailed([PROBLEM]), grpc.StatusCode.INVALID_ARGUMENT, "VALIDATION_FAILED"),
    (faults.NotFound("no"), grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND"),
    (faults.IdempotencyConflict("no"), grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_CONFLICT"),
    (faults.CursorInvalid("no"), grpc.StatusCode.INVALID_ARGUMENT, "CURSOR_INVALID"),
    (faults.CursorExpired("no"), grpc.StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED"),
    (faults.QueueFull("no"), grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"),
    (faults.HoldsFull(PROBLEM), grpc.StatusCode.RESOURCE_EXHAUSTED, "HOLDS_FULL"),
    (faults.TooLarge("no"), grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_LARGE"),
    (faults.FailedPrecondition("no"), grpc.StatusCode.FAILED_PRECONDITION, "FAILED_PRECONDITION"),
    (faults.ClusterUnavailable("no"), grpc.StatusCode.UNAVAILABLE, "CLUSTER_UNAVAILABLE"),
    (faults.StoreUnavailable("no"), grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"),
    (faults.Stale(CANARY), grpc.StatusCode.INTERNAL, "INTERNAL"),
    (ValueError(CANARY), grpc.StatusCode.INTERNAL, "INTERNAL"),
    (TimeoutError(CANARY), grpc.StatusCode.INTERNAL, "INTERNAL"),
]


async def _stream(call: Any) -> None:
    async for _ in call:
        pass


async def _pieces() -> AsyncIterator[pb.UploadBundleRequest]:
    yield pb.UploadBundleRequest(chunk=b"")


CALLS: dict[str, Callable[[Stub], Awaitable[Any]]] = {
    "Execute": lambda s: s.Execute(pb.ExecuteRequest()),
    "Validate": lambda s: s.Validate(pb.ValidateRequest()),
    "Status": lambda s: s.Status(pb.StatusRequest(execution_id=build.ID)),
    "Status with wait": lambda s: s.Status(pb.StatusRequest(execution_id=build.ID, wait="1s")),
    "Cleanup": lambda s: s.Cleanup(pb.CleanupRequest(execution_id=build.ID)),
    "ListActive": lambda s: s.ListActive(pb.ListActiveRequest()),
    "ListExecutions": lambda s: s.ListExecutions(pb.ListExecutionsRequest()),
    "GetResults": lambda s: s.GetResults(pb.GetResultsRequest(execution_id=build.ID)),
    "SweepOrphans": lambda s: s.SweepOrphans(pb.SweepOrphansRequest()),
    "StreamLogs": lambda s: _stream(s.StreamLogs(pb.StreamLogsRequest(execution_id=build.ID))),
    "Watch": lambda s: _stream(s.Watch(pb.WatchRequest())),
    "DownloadArtifact": lambda s: _stream(
        s.DownloadArtifact(pb.DownloadArtifactRequest(execution_id=build.ID, path="a"))
    ),
    "UploadBundle": lambda s: s.UploadBundle(_pieces()),
}


@pytest.mark.parametrize("name", CALLS)
async def test_every_fault_keeps_its_code_reason_and_nothing_unexpected_leaves(
    name: str, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """One server a fault, and the same call on each: what a caller can tell apart is the same everywhere."""
    for error, code, reason in FAULTS:
        stub = await serve(FailingUseCases(error))
        with pytest.raises(grpc.aio.AioRpcError) as refused, caplog.at_level(logging.ERROR):
            await CALLS[name](stub)
        answer = Answered(refused.value)
        assert (answer.code, answer.info.reason) == (code, reason)
        assert CANARY not in repr(refused.value) + str(answer.raw)
        assert (answer.retry is not None) == (code is grpc.StatusCode.UNAVAILABLE or reason == "QUEUE_FULL")


async def test_a_default_client_can_read_the_largest_refusal(serve: Serve) -> None:
    many = [Problem(f"labels[{'k' * 50}{i}]", "v" * 80, "string.label_key", "m" * 200, "h" * 100) for i in range(500)]
    stub = await serve(FailingUseCases(ValidationFailed(many)))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await CALLS["Execute"](stub)
    assert "more problems" in Answered(refused.value).bad_request.field_violations[-1].description


def nested(depth: int) -> bytes:
    """An ExecuteRequest whose first suite's install command is lists in lists, `depth` deep."""
    raw = b""
    for tag in [b"\x0a", b"\x32"] * depth + [b"\x0a", b"\x2a", b"\x1a", b"\x32"]:  # ListValue, Value … TestPlan
        length, size = b"", len(raw)
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        raw = tag + length + bytes([size]) + raw
    return raw


async def test_an_unreadable_request_is_refused_in_words() -> None:
    """Bytes that are no message, and nesting beyond what protobuf reads."""
    async with served(FailingUseCases(ValueError(CANARY))) as (_, channel):
        for raw in (b"\xff\xff\xff", b"\x32\x7f", nested(200)):
            call: Any = channel.unary_unary("/maestro.k8s.execution.v1.ExecutionService/Execute")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(raw)
            answer = Answered(refused.value)
            assert answer.problems == {("", "request.form")}


@pytest.mark.parametrize(("size", "ours"), [((4 << 20) + 1, True), (9 << 20, False)])
async def test_an_oversized_request_is_refused(size: int, ours: bool, serve: Serve) -> None:
    """Up to twice the limit with a reason, beyond it by gRPC itself before it is in memory."""
    stub = await serve(FailingUseCases(ValueError(CANARY)))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Execute(pb.ExecuteRequest(name="x" * size))
    answer = Answered(refused.value)
    assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (answer.info is not None and answer.info.reason == "TOO_LARGE") == ours


async def test_broken_field_rules_refuse_small_requests(serve: Serve) -> None:
    stub = await serve(FailingUseCases(ValueError(CANARY)))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ListExecutions(pb.ListExecutionsRequest(page_size=501, id_prefix="A", phases=[0]))  # type: ignore[list-item]  # not a phase
    assert Answered(refused.value).problems == {
        ("page_size", "int32.gte_lte"),
        ("id_prefix", "id_prefix"),
        ("phases[0]", "enum.not_in"),
    }


async def test_an_unknown_method_is_unimplemented() -> None:
    async with served(FailingUseCases(ValueError(CANARY))) as (_, channel):
        nothing: Any = channel.unary_unary("/maestro.k8s.execution.v1.ExecutionService/Nothing")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await nothing(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

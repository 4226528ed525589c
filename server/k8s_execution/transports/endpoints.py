"""The one table of endpoints: each RPC with its messages, its use case and its habits; every transport serves it.

The order for every door is decode → validate → use case → encode. A transport adds framing, never behaviour; a use
case never sees a message. `transports.rules` judges requests before the call; the two RPCs that answer all problems of
a plan at once judge theirs themselves and pass the problems on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from k8s_execution.domain.faults import Problem
from k8s_execution.domain.plan import Policy
from k8s_execution.transports import uploads
from k8s_execution.transports.wire import decode_plan, encode_execution, encode_logs, events, requests, results
from k8s_execution.transports.wire import validation as validation_wire
from k8s_execution.usecases import Page, StatusView, UseCases
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as pb

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

SERVICE = pb.DESCRIPTOR.services_by_name["ExecutionService"].full_name
CLEANUP_WAIT = 24 * 3600.0
"""Cleanup with `wait` has no limit of its own: the call's deadline ends it, and no environment lives longer."""

CHUNK = 64 * 1024
"""Bytes of a downloaded file in one message: gRPC's cost is per message, and larger ones gain nothing (measured)."""

SLICE = 50
"""Executions encoded in one go: some 20 µs each, and the event loop is held for at most 2 ms."""


@dataclass(frozen=True, slots=True)
class Door:
    """What a call works with.

    `now` is the wall clock in µs, only to show how long the present phase lasts already; `in_thread` runs a function
    that would hold the event loop.
    """

    use_cases: UseCases
    defaults: Policy
    problems: Callable[[Message], Awaitable[tuple[Problem, ...]]]
    in_thread: Callable[..., Awaitable[Any]]
    now: Callable[[], int]
    log_messages: encode_logs.Messages = field(default_factory=encode_logs.Messages)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How a stream is resumed: the request's field that takes a cursor, and the answer's path that gives it."""

    request_field: str
    answer_path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unary(Generic[Q, A]):
    """One request, one answer. `idempotent`: safe to send again without knowing what became of the first.

    `judged_inside`: the call passes its problems on instead of being refused. `holds`: it may wait long for something
    to happen, and a drain ends the waiting.
    """

    name: str
    request: type[Q]
    answer: type[A]
    call: Callable[[Door, Q], Awaitable[A]]
    idempotent: bool
    judged_inside: bool = False
    holds: bool = False


@dataclass(frozen=True, slots=True)
class ServerStream(Generic[Q, A]):
    """One request, many answers; `cursor` is None where the stream cannot be resumed but only repeated.

    An answer may come already encoded as `answer` in protobuf's binary form, where making a message costs too much.
    """

    name: str
    request: type[Q]
    answer: type[A]
    call: Callable[[Door, Q], AsyncIterator[A | bytes]]
    cursor: Cursor | None
    idempotent: bool = field(default=True, init=False)


@dataclass(frozen=True, slots=True)
class ClientStream(Generic[Q, A]):
    """Many requests, one answer."""

    name: str
    request: type[Q]
    answer: type[A]
    call: Callable[[Door, AsyncIterator[Q]], Awaitable[A]]
    idempotent: bool


Endpoint = Unary[Any, Any] | ServerStream[Any, Any] | ClientStream[Any, Any]


async def execute(door: Door, request: pb.ExecuteRequest) -> pb.ExecuteResponse:
    """Accept a plan."""
    call = decode_plan.execute_call(request, await door.problems(request), door.defaults)
    return pb.ExecuteResponse(execution=_shown(door, await door.use_cases.execute(call)))


async def validate(door: Door, request: pb.ValidateRequest) -> pb.ValidateResponse:
    """Judge a plan; an absent one is an empty one."""
    plan = request.request
    call = decode_plan.execute_call(plan, await door.problems(plan), door.defaults)
    report = await door.use_cases.validate(call)
    return validation_wire.response(report, await door.in_thread(validation_wire.rendered, report.objects))


async def status(door: Door, request: pb.StatusRequest) -> pb.StatusResponse:
    """Answer an execution, held by `wait` until it changes; without `after_sequence`, from what it is now."""
    wait = requests.wait_seconds(request)
    after = request.after_sequence
    if wait and not request.HasField("after_sequence"):
        after = (await door.use_cases.status(request.execution_id)).execution.sequence
    view = await door.use_cases.status(request.execution_id, after_sequence=after, wait=wait)
    return pb.StatusResponse(execution=_shown(door, view))


async def cleanup(door: Door, request: pb.CleanupRequest) -> pb.CleanupResponse:
    """End an execution, and with `wait` answer when its environment is gone."""
    wait = CLEANUP_WAIT if request.wait else 0.0
    return pb.CleanupResponse(execution=_shown(door, await door.use_cases.cleanup(request.execution_id, wait=wait)))


async def list_active(door: Door, request: pb.ListActiveRequest) -> pb.ListActiveResponse:
    """List executions that are not DONE."""
    wanted = requests.active_filter(request)
    page = await door.use_cases.list_active(wanted, request.page_size, request.page_token)
    return pb.ListActiveResponse(executions=await _listed(door, page), next_page_token=page.next_token)


async def list_executions(door: Door, request: pb.ListExecutionsRequest) -> pb.ListExecutionsResponse:
    """List all executions."""
    wanted = requests.executions_filter(request)
    page = await door.use_cases.list_executions(wanted, request.page_size, request.page_token)
    return pb.ListExecutionsResponse(executions=await _listed(door, page), next_page_token=page.next_token)


async def get_results(door: Door, request: pb.GetResultsRequest) -> pb.GetResultsResponse:
    """Answer one page of results."""
    found = await door.use_cases.results(request.execution_id, request.page_size, request.page_token)
    answer: pb.GetResultsResponse = await door.in_thread(_results, found, not request.page_token)
    return answer


async def sweep_orphans(door: Door, request: pb.SweepOrphansRequest) -> pb.SweepOrphansResponse:
    """Find, and unless it is a dry run delete, what nobody answers for."""
    findings = await door.use_cases.sweep(dry_run=request.dry_run)
    return pb.SweepOrphansResponse(orphans=map(results.orphan, findings), dry_run=request.dry_run)


async def stream_logs(door: Door, request: pb.StreamLogsRequest) -> AsyncIterator[bytes]:
    """Stream batches of log lines, encoded once for all who follow."""
    wanted = requests.log_filter(request)
    batches = door.use_cases.logs(request.execution_id, request.cursor, follow=request.follow, wanted=wanted)
    async with aclosing(batches):  # type: ignore[type-var]  # the use case is an async generator, declared as iterator
        async for batch, cursor in batches:
            yield door.log_messages.response(request.execution_id, batch, cursor)


async def watch(door: Door, request: pb.WatchRequest) -> AsyncIterator[pb.WatchResponse]:
    """Stream status events."""
    found = door.use_cases.watch(request.execution_id, request.cursor)
    async with aclosing(found):  # type: ignore[type-var]  # the use case is an async generator, declared as iterator
        async for event, cursor in found:
            yield events.response(event, cursor)


async def download_artifact(
    door: Door, request: pb.DownloadArtifactRequest
) -> AsyncIterator[pb.DownloadArtifactResponse]:
    """Stream one file: what it is, then its bytes."""
    stored, chunks = await door.use_cases.artifact(request.execution_id, request.path)
    async with aclosing(chunks):  # type: ignore[type-var]  # archives give async generators, declared as iterators
        yield results.metadata(stored)
        async for data in chunks:
            for start in range(0, len(data), CHUNK):
                yield pb.DownloadArtifactResponse(chunk=data[start : start + CHUNK])


async def upload_bundle(door: Door, pieces: AsyncIterator[pb.UploadBundleRequest]) -> pb.UploadBundleResponse:
    """Take an archive in pieces."""
    upload = uploads.Upload(pieces, door.in_thread)
    stored = await door.use_cases.upload_bundle(upload.chunks())
    return pb.UploadBundleResponse(
        bundle_id=stored.path, sha256=stored.sha256, size_bytes=stored.bytes, files=upload.files
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    Unary("Execute", pb.ExecuteRequest, pb.ExecuteResponse, execute, idempotent=False, judged_inside=True),
    Unary("Status", pb.StatusRequest, pb.StatusResponse, status, idempotent=True, holds=True),
    ServerStream(
        "StreamLogs", pb.StreamLogsRequest, pb.StreamLogsResponse, stream_logs, Cursor("cursor", ("batch", "cursor"))
    ),
    Unary("Cleanup", pb.CleanupRequest, pb.CleanupResponse, cleanup, idempotent=True, holds=True),
    Unary("ListActive", pb.ListActiveRequest, pb.ListActiveResponse, list_active, idempotent=True),
    Unary("SweepOrphans", pb.SweepOrphansRequest, pb.SweepOrphansResponse, sweep_orphans, idempotent=True, holds=True),
    Unary("Validate", pb.ValidateRequest, pb.ValidateResponse, validate, idempotent=True, judged_inside=True),
    ServerStream("Watch", pb.WatchRequest, pb.WatchResponse, watch, Cursor("cursor", ("event", "cursor"))),
    ClientStream("UploadBundle", pb.UploadBundleRequest, pb.UploadBundleResponse, upload_bundle, idempotent=True),
    ServerStream(
        "DownloadArtifact", pb.DownloadArtifactRequest, pb.DownloadArtifactResponse, download_artifact, cursor=None
    ),
    Unary("ListExecutions", pb.ListExecutionsRequest, pb.ListExecutionsResponse, list_executions, idempotent=True),
    Unary("GetResults", pb.GetResultsRequest, pb.GetResultsResponse, get_results, idempotent=True),
)


def _results(found: Any, first_page: bool) -> pb.GetResultsResponse:
    return results.response(found, first_page=first_page)


def _shown(door: Door, view: StatusView) -> execution_pb2.Execution:
    return encode_execution.execution(view.execution, queue_position=view.queue_position, now=door.now())


async def _listed(door: Door, page: Page) -> list[execution_pb2.Execution]:
    shown: list[execution_pb2.Execution] = []
    for number, view in enumerate(page.executions):
        if number % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        position = view.queue_position
        shown.append(encode_execution.execution(view.execution, queue_position=position, now=door.now(), steps=False))
    return shown

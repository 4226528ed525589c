"""A small in-process service for tests of the client: the contract over a real gRPC port, without an engine.

It keeps executions, their events, log batches, results and files in memory. A test moves an execution with `change`,
adds lines with `log`, and can script faults: `refuse` answers the next calls of an RPC with an error, `cut_after`
breaks the next streams after so many messages. `received` holds every request by RPC. It has no rules of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2 as ex
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as api
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2_grpc as stubs
from k8s_execution_client._gen.maestro.k8s.execution.v1 import logs_pb2, results_pb2

HEALTH = "/grpc.health.v1.Health/Check"


@dataclass(slots=True)
class Kept:
    """One execution and all that belongs to it; files by path."""

    execution: ex.Execution
    events: list[ex.StatusEvent] = field(default_factory=list)
    batches: list[logs_pb2.LogBatch] = field(default_factory=list)
    sealed: bool = False
    results: api.GetResultsResponse = field(default_factory=api.GetResultsResponse)
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Refusal:
    """What the next calls of an RPC are answered with."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    violations: tuple[tuple[str, str], ...] = ()


class FakeService(stubs.ExecutionServiceServicer):
    """Async context manager; `target` is where it answers."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.bundles: dict[str, bytes] = {}
        self.keys: dict[str, str] = {}
        self.received: dict[str, list[Any]] = defaultdict(list)
        self.orphans: list[results_pb2.Orphan] = []
        self.problems: list[results_pb2.Problem] = []
        self.objects: list[results_pb2.RenderedObject] = []
        self.serving = True
        self.target = ""
        self.accepted: asyncio.Queue[str] = asyncio.Queue()
        self._refusals: dict[str, list[Refusal]] = defaultdict(list)
        self._cuts: dict[str, list[int]] = defaultdict(list)
        self._changed = asyncio.Condition()
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        """Answer on a loopback port."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        stubs.add_ExecutionServiceServicer_to_server(self, server)
        server.add_generic_rpc_handlers((_Health(self),))
        self.target = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Break all calls."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def add(self, execution_id: str, **fields: Any) -> Kept:
        """Keep an execution."""
        execution = ex.Execution(id=execution_id, test_id=execution_id, phase=ex.QUEUED, **fields)
        execution.created_at.FromSeconds(1_800_000_000 + len(self.kept))
        self.kept[execution_id] = Kept(execution)
        return self.kept[execution_id]

    async def change(self, execution_id: str, kind: Any = ex.StatusEvent.UPDATED, **fields: Any) -> None:
        """Change fields of an execution and send the event."""
        kept = self.kept[execution_id]
        kept.execution.MergeFrom(ex.Execution(**fields))
        kept.execution.sequence += 1
        sequence = kept.execution.sequence
        event = ex.StatusEvent(
            execution_id=execution_id, sequence=sequence, cursor=f"w-{sequence}", type=kind, execution=kept.execution
        )
        event.time.FromSeconds(1_800_000_000 + sequence)
        async with self._changed:
            kept.events.append(event)
            self._changed.notify_all()

    async def log(self, execution_id: str, *lines: str, pod: str = "unit-pod", container: str = "main") -> None:
        """Append one batch of lines."""
        kept = self.kept[execution_id]
        stream = logs_pb2.LogStream(pod=pod, container=container, attempt=1)
        first = sum(len(b.lines) for b in kept.batches if b.stream == stream)
        batch = logs_pb2.LogBatch(
            execution_id=execution_id,
            stream=stream,
            first_sequence=first,
            lines=[logs_pb2.LogLine(text=text) for text in lines],
            cursor=f"l-{len(kept.batches) + 1}",
        )
        for index, line in enumerate(batch.lines):
            line.time.FromNanoseconds(1_800_000_000_000_000_000 + index)
        async with self._changed:
            kept.batches.append(batch)
            self._changed.notify_all()

    async def seal(self, execution_id: str) -> None:
        """No more lines come."""
        async with self._changed:
            self.kept[execution_id].sealed = True
            self._changed.notify_all()

    async def called(self, rpc: str) -> None:
        """Wait until `rpc` was called at least once."""
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: bool(self.received[rpc]))

    def refuse(self, rpc: str, refusal: Refusal, times: int = 1) -> None:
        """Answer the next calls of `rpc` so."""
        self._refusals[rpc] += [refusal] * times

    def cut_after(self, rpc: str, *messages: int) -> None:
        """Break the next streams of `rpc`, each after so many messages."""
        self._cuts[rpc] += messages

    async def Execute(self, request: api.ExecuteRequest, context: Any) -> api.ExecuteResponse:
        await self._enter("Execute", request, context)
        execution_id = self.keys.get(request.idempotency_key, "")
        if not execution_id:
            execution_id = f"run{len(self.kept)}"
            self.keys[request.idempotency_key] = execution_id
            self.add(execution_id, name=request.name, namespace=f"quality-fabric-{execution_id}")
            await self.change(execution_id, ex.StatusEvent.CREATED)
            self.accepted.put_nowait(execution_id)
        await self._enter("Execute:answer", request, context)
        return api.ExecuteResponse(execution=self.kept[execution_id].execution)

    async def Status(self, request: api.StatusRequest, context: Any) -> api.StatusResponse:
        await self._enter("Status", request, context)
        kept = await self._find(request.execution_id, context)
        after = request.after_sequence if request.HasField("after_sequence") else kept.execution.sequence
        if request.HasField("wait"):
            async with self._changed:
                await self._changed.wait_for(lambda: kept.execution.sequence > after)
        return api.StatusResponse(execution=kept.execution)

    async def Cleanup(self, request: api.CleanupRequest, context: Any) -> api.CleanupResponse:
        await self._enter("Cleanup", request, context)
        kept = await self._find(request.execution_id, context)
        return api.CleanupResponse(execution=kept.execution)

    async def StreamLogs(
        self, request: api.StreamLogsRequest, context: Any
    ) -> AsyncGenerator[api.StreamLogsResponse, None]:
        await self._enter("StreamLogs", request, context)
        kept = await self._find(request.execution_id, context)
        start = int(request.cursor.removeprefix("l-") or 0)
        batches = self._follow(lambda: kept.batches, start, lambda: kept.sealed or not request.follow)
        async for number, batch in _counted(batches):
            if not request.containers or batch.stream.container in request.containers:
                yield api.StreamLogsResponse(batch=batch)
            await self._cut("StreamLogs", number, context)

    async def Watch(self, request: api.WatchRequest, context: Any) -> AsyncGenerator[api.WatchResponse, None]:
        await self._enter("Watch", request, context)
        kept = await self._find(request.execution_id, context)
        start = int(request.cursor.removeprefix("w-") or 0)
        events = self._follow(lambda: kept.events, start, lambda: kept.execution.phase == ex.DONE)
        async for number, event in _counted(events):
            yield api.WatchResponse(event=event)
            await self._cut("Watch", number, context)

    async def ListExecutions(self, request: api.ListExecutionsRequest, context: Any) -> api.ListExecutionsResponse:
        await self._enter("ListExecutions", request, context)
        newest = list(reversed(self.kept.values()))
        fitting = [
            k.execution
            for k in newest
            if k.execution.id.startswith(request.id_prefix)
            and (not request.phases or k.execution.phase in request.phases)
        ]
        start, size = int(request.page_token or 0), request.page_size or 50
        token = str(start + size) if len(fitting) > start + size else ""
        return api.ListExecutionsResponse(executions=fitting[start : start + size], next_page_token=token)

    async def ListActive(self, request: api.ListActiveRequest, context: Any) -> api.ListActiveResponse:
        await self._enter("ListActive", request, context)
        active = [k.execution for k in self.kept.values() if k.execution.phase != ex.DONE]
        return api.ListActiveResponse(executions=active)

    async def GetResults(self, request: api.GetResultsRequest, context: Any) -> api.GetResultsResponse:
        await self._enter("GetResults", request, context)
        kept = await self._find(request.execution_id, context)
        start, size = int(request.page_token or 0), request.page_size or 200
        answer = api.GetResultsResponse(cases=kept.results.cases[start : start + size])
        if not start:
            answer.suites.extend(kept.results.suites)
            answer.artifacts.extend(
                results_pb2.Artifact(path=p, bytes=len(c), kind=results_pb2.Artifact.ARTIFACT)
                for p, c in sorted(kept.files.items())
            )
        if len(kept.results.cases) > start + size:
            answer.next_page_token = str(start + size)
        return answer

    async def UploadBundle(
        self, request_iterator: AsyncIterator[api.UploadBundleRequest], context: Any
    ) -> api.UploadBundleResponse:
        archive = bytearray()
        async for piece in request_iterator:
            self.received["UploadBundle"].append(piece)
            archive += piece.chunk
        await self._enter("UploadBundle:answer", None, context)
        digest = hashlib.sha256(archive).hexdigest()
        self.bundles[f"b-{digest[:26]}"] = bytes(archive)
        return api.UploadBundleResponse(bundle_id=f"b-{digest[:26]}", sha256=digest, size_bytes=len(archive), files=1)

    async def DownloadArtifact(
        self, request: api.DownloadArtifactRequest, context: Any
    ) -> AsyncGenerator[api.DownloadArtifactResponse, None]:
        await self._enter("DownloadArtifact", request, context)
        kept = await self._find(request.execution_id, context)
        content = kept.files[request.path]
        digest = hashlib.sha256(content).hexdigest()
        yield api.DownloadArtifactResponse(
            metadata=api.ArtifactMetadata(path=request.path, size_bytes=len(content), sha256=digest)
        )
        for number, start in enumerate(range(0, len(content), 4), 1):
            yield api.DownloadArtifactResponse(chunk=content[start : start + 4])
            await self._cut("DownloadArtifact", number, context)

    async def Validate(self, request: api.ValidateRequest, context: Any) -> api.ValidateResponse:
        await self._enter("Validate", request, context)
        return api.ValidateResponse(valid=not self.problems, problems=self.problems, objects=self.objects)

    async def SweepOrphans(self, request: api.SweepOrphansRequest, context: Any) -> api.SweepOrphansResponse:
        await self._enter("SweepOrphans", request, context)
        return api.SweepOrphansResponse(orphans=self.orphans, dry_run=request.dry_run)

    async def _enter(self, rpc: str, request: Any, context: Any) -> None:
        async with self._changed:
            self.received[rpc].append(request)
            self._changed.notify_all()
        if self._refusals[rpc]:
            await _abort(context, self._refusals[rpc].pop(0))

    async def _find(self, execution_id: str, context: Any) -> Kept:
        if execution_id not in self.kept:
            await _abort(context, Refusal(grpc.StatusCode.NOT_FOUND, "no such execution", "EXECUTION_NOT_FOUND"))
        return self.kept[execution_id]

    async def _cut(self, rpc: str, number: int, context: Any) -> None:
        if self._cuts[rpc] and number >= self._cuts[rpc][0]:
            self._cuts[rpc].pop(0)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was cut")

    async def _follow(self, items: Any, start: int, over: Any) -> AsyncGenerator[Any, None]:
        position = start
        while True:
            async with self._changed:
                while len(items()) <= position and not over():
                    await self._changed.wait()
            if len(items()) <= position:
                return
            position += 1
            yield items()[position - 1]


class _Health(grpc.GenericRpcHandler):
    """grpc.health.v1 with raw bytes."""

    def __init__(self, service: FakeService) -> None:
        self._service = service

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method != HEALTH:
            return None

        async def check(_request: bytes, _context: Any) -> bytes:
            return b"\x08\x01" if self._service.serving else b"\x08\x02"

        return grpc.unary_unary_rpc_method_handler(check)


async def _counted(items: AsyncIterator[Any]) -> AsyncGenerator[tuple[int, Any], None]:
    number = 0
    async for item in items:
        number += 1
        yield number, item


async def _abort(context: Any, refusal: Refusal) -> None:
    status = status_pb2.Status(code=refusal.code.value[0], message=refusal.message)
    if refusal.reason:
        info = error_details_pb2.ErrorInfo(reason=refusal.reason, domain="k8s-execution.maestro")
        status.details.append(_packed(info))
    if refusal.violations:
        bad = error_details_pb2.BadRequest()
        for name, description in refusal.violations:
            bad.field_violations.add(field=name, description=description)
        status.details.append(_packed(bad))
    metadata = (("grpc-status-details-bin", status.SerializeToString()),) if refusal.reason else ()
    await context.abort(refusal.code, refusal.message, metadata)


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed

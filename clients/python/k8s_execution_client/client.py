"""The asynchronous client: one method an RPC, with retries that are safe and streams that resume.

Unary calls are repeated while the service does not answer: every RPC of the contract may be, Execute because it carries
an idempotency key (one is made where the caller gave none). Streams go on from the cursor of the last item, so a reader
sees each item once whatever happens to the connection. Faults are those of `faults`; grpc's never leave this module.
It must not print, read files or know the command line.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import IO, Any, Self

import grpc

from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as api
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2_grpc as stubs
from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import DONE, Execution, StatusEvent
from k8s_execution_client._gen.maestro.k8s.execution.v1.logs_pb2 import LogBatch
from k8s_execution_client._gen.maestro.k8s.execution.v1.results_pb2 import Orphan
from k8s_execution_client.faults import ServiceFault, ServiceUnreachable
from k8s_execution_client.retry import Patience
from k8s_execution_client.wire import fault_of

CALL_SECONDS = 30.0
HOLD = "60s"
HOLD_SECONDS = 60.0
CHUNK = 1 << 20
RECEIVE_LIMIT = 64 << 20  # a page of results with details is larger than grpc's default of 4 MiB
HEALTH = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}: so small that the generated code is not needed
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", RECEIVE_LIMIT),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class ExecutionClient:
    """A connection to a service at `target` (`host:port` or `unix:/path`); an async context manager.

    `patience` (seconds) bounds how long a service that does not answer is tried again; by default briefly before its
    first answer and longer after.
    """

    def __init__(self, target: str, *, patience: float | None = None) -> None:
        """Nothing connects before the first call."""
        self.target = target
        self._limit = patience
        self._known = False
        self._channel = grpc.aio.insecure_channel(target, options=OPTIONS)
        self._stub: stubs.ExecutionServiceAsyncStub = stubs.ExecutionServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        await self.close()

    async def close(self) -> None:
        """End all calls and the connection."""
        await self._channel.close()

    async def execute(self, request: api.ExecuteRequest) -> Execution:
        """Accept a plan; answers the stored execution. Repeated after a lost answer it is the same execution."""
        if not request.idempotency_key:
            keyed = api.ExecuteRequest()
            keyed.CopyFrom(request)
            keyed.idempotency_key = uuid.uuid4().hex
            request = keyed
        answer: api.ExecuteResponse = await self._unary(self._stub.Execute, request)
        return answer.execution

    async def status(self, execution_id: str, *, wait: str = "", after_sequence: int | None = None) -> Execution:
        """The execution; with `wait` (`30s`) held until its sequence exceeds `after_sequence`, or now."""
        request = api.StatusRequest(execution_id=execution_id, after_sequence=after_sequence)
        if wait:
            request.wait = wait
        answer: api.StatusResponse = await self._unary(self._stub.Status, request, HOLD_SECONDS if wait else 0.0)
        return answer.execution

    async def wait_until(
        self, execution_id: str, wanted: Callable[[Execution], bool], *, hold: str = HOLD
    ) -> Execution:
        """Wait until the execution is as wanted, or DONE, after which nothing changes; one call is held for `hold`."""
        execution = await self.status(execution_id)
        while not wanted(execution) and execution.phase != DONE:
            execution = await self.status(execution_id, wait=hold, after_sequence=execution.sequence)
        return execution

    async def cleanup(self, execution_id: str, *, wait: bool = False) -> Execution:
        """End it if it runs and delete its environment; with `wait` answers when it is DONE."""
        request = api.CleanupRequest(execution_id=execution_id)
        answer: api.CleanupResponse = await self._unary(self._stub.Cleanup, request)
        if not wait:
            return answer.execution
        return await self.wait_until(execution_id, lambda e: e.phase == DONE)

    async def validate(self, request: api.ExecuteRequest) -> api.ValidateResponse:
        """All that is wrong with a plan, and what it would become."""
        answer: api.ValidateResponse = await self._unary(self._stub.Validate, api.ValidateRequest(request=request))
        return answer

    async def sweep(self, *, dry_run: bool) -> list[Orphan]:
        """Orphans, oldest first; without `dry_run` those that may be are deleted."""
        request = api.SweepOrphansRequest(dry_run=dry_run)
        answer: api.SweepOrphansResponse = await self._unary(self._stub.SweepOrphans, request, HOLD_SECONDS)
        return list(answer.orphans)

    def list_active(self, request: api.ListActiveRequest | None = None) -> AsyncGenerator[Execution, None]:
        """All executions that are not DONE, newest first, page after page."""
        return self._listed(self._stub.ListActive, request or api.ListActiveRequest())

    def list_executions(self, request: api.ListExecutionsRequest | None = None) -> AsyncGenerator[Execution, None]:
        """All executions, newest first, page after page."""
        return self._listed(self._stub.ListExecutions, request or api.ListExecutionsRequest())

    async def results(self, execution_id: str, *, page_size: int = 0) -> api.GetResultsResponse:
        """All suites, test cases and artifacts, pages joined (suites and artifacts come on the first only)."""
        joined = api.GetResultsResponse()
        token = ""
        while True:
            request = api.GetResultsRequest(execution_id=execution_id, page_size=page_size, page_token=token)
            answer: api.GetResultsResponse = await self._unary(self._stub.GetResults, request)
            token = answer.next_page_token
            joined.MergeFrom(answer)
            if not token:
                joined.next_page_token = ""
                return joined

    async def upload_bundle(self, archive: IO[bytes], sha256: str, size: int) -> api.UploadBundleResponse:
        """Send a tar.gz of `size` bytes with its SHA-256 in hexadecimal; the same bytes get the same id."""

        def pieces() -> Iterator[api.UploadBundleRequest]:
            archive.seek(0)
            yield api.UploadBundleRequest(metadata=api.BundleMetadata(sha256=sha256, size_bytes=size))
            while chunk := archive.read(CHUNK):
                yield api.UploadBundleRequest(chunk=chunk)

        patience = Patience(self._known, self._limit)
        while True:
            try:
                answer: api.UploadBundleResponse = await self._stub.UploadBundle(pieces())
            except grpc.aio.AioRpcError as error:
                await self._again(error, patience)
            else:
                self._known = True
                return answer

    async def download(self, execution_id: str, path: str) -> AsyncGenerator[api.DownloadArtifactResponse, None]:
        """One stored file: its metadata first, then its bytes. A cut stream is a fault: the caller begins again."""
        call = self._stub.DownloadArtifact(api.DownloadArtifactRequest(execution_id=execution_id, path=path))
        try:
            async for piece in call:
                yield piece
        except grpc.aio.AioRpcError as error:
            raise fault_of(error, self.target) from error
        finally:
            call.cancel()

    async def stream_logs(self, request: api.StreamLogsRequest) -> AsyncGenerator[LogBatch, None]:
        """Batches in order, each once; with `follow` until the logs are sealed, through restarts of the service."""
        resumed = self._resumed(self._stub.StreamLogs, request, lambda answer: str(answer.batch.cursor), lambda _: True)
        async with aclosing(resumed) as answers:
            async for answer in answers:
                yield answer.batch

    async def watch(self, execution_id: str = "", cursor: str = "") -> AsyncGenerator[StatusEvent, None]:
        """Status events, each once: of one execution until it is DONE, of all without end."""

        def is_end(last: api.WatchResponse | None) -> bool:
            return bool(execution_id) and (last is None or last.event.execution.phase == DONE)

        request = api.WatchRequest(execution_id=execution_id, cursor=cursor)
        resumed = self._resumed(self._stub.Watch, request, lambda answer: str(answer.event.cursor), is_end)
        async with aclosing(resumed) as answers:
            async for answer in answers:
                yield answer.event

    async def healthy(self) -> bool:
        """Whether the service says that it serves (grpc.health.v1). Raises ServiceFault when nothing answers."""
        check = self._channel.unary_unary(HEALTH, request_serializer=bytes, response_deserializer=bytes)
        return bytes(await self._unary(check, b"")) == SERVING

    async def _listed(
        self, method: Any, request: api.ListActiveRequest | api.ListExecutionsRequest
    ) -> AsyncGenerator[Execution, None]:
        page = copy.deepcopy(request)  # the caller's own stays as it is
        while True:
            answer = await self._unary(method, page)
            for execution in answer.executions:
                yield execution
            if not answer.next_page_token:
                return
            page.page_token = answer.next_page_token

    async def _unary(self, method: Any, request: Any, held: float = 0.0) -> Any:
        patience = Patience(self._known, self._limit)
        while True:
            try:
                answer = await method(request, timeout=CALL_SECONDS + held)
            except grpc.aio.AioRpcError as error:
                await self._again(error, patience)
            else:
                self._known = True
                return answer

    async def _resumed(
        self, method: Any, request: Any, cursor_of: Callable[[Any], str], is_end: Callable[[Any], bool]
    ) -> AsyncGenerator[Any, None]:
        """Answers of a stream, opened again after the last cursor when it breaks or ends before `is_end(last answer)`.

        A service ends its streams before it stops, so an early end is a cut like any other.
        """
        position = type(request)()
        position.CopyFrom(request)
        patience = Patience(self._known, self._limit)
        last = None
        while True:
            call = method(position)
            try:
                async for last in call:
                    patience.answered()
                    self._known = True
                    position.cursor = cursor_of(last) or position.cursor
                    yield last
            except grpc.aio.AioRpcError as error:
                await self._again(error, patience)
                continue
            finally:
                call.cancel()
            if is_end(last):
                return
            if not await patience.wait():
                raise ServiceUnreachable(self.target, "the stream ended early and stays so")

    async def _again(self, error: grpc.aio.AioRpcError, patience: Patience) -> None:
        """Wait for the next try, or raise the fault."""
        fault: ServiceFault = fault_of(error, self.target)
        if fault.code != "UNAVAILABLE" or not await patience.wait():
            raise fault from error

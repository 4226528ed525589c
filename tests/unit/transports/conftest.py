"""A real server on a loopback port, and a real client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from k8s_execution.runtime.threads import Threads
from k8s_execution.transports.grpc_server import GrpcServer
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2_grpc
from unit.transports.fakes import World

if TYPE_CHECKING:
    Stub = execution_service_pb2_grpc.ExecutionServiceAsyncStub  # only in the generated types

Serve = Callable[..., Awaitable["Stub"]]


@asynccontextmanager
async def served(use_cases: Any, **options: Any) -> AsyncIterator[tuple[GrpcServer, grpc.aio.Channel]]:
    """A server on a free port and a channel to it; the server is drained without grace at the end."""
    server = GrpcServer(use_cases, "127.0.0.1:0", **options)
    address = await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield server, channel
    finally:
        await server.drain(0)


def stub_of(channel: grpc.aio.Channel) -> Stub:
    """The typed stub."""
    return execution_service_pb2_grpc.ExecutionServiceStub(channel)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve use cases for the length of the test; gives a stub."""
    async with AsyncExitStack() as stack:

        async def start(use_cases: Any, **options: Any) -> Stub:
            _, channel = await stack.enter_async_context(served(use_cases, **options))
            return stub_of(channel)

        yield start


@pytest.fixture
def world() -> Iterator[World]:
    """Parts in memory."""
    with ThreadPoolExecutor(1) as pool:
        yield World(Threads(pool))


@pytest.fixture
async def stub(serve: Serve, world: World) -> Stub:
    """A client of the real use cases over `world`."""
    return await serve(world.use_cases())


class Answered:
    """A refused call, taken apart."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        """`from_call` of grpcio-status does not take this class, so the trailer is read directly."""
        self.code = error.code()
        self.message = error.details() or ""
        trailers = dict(error.trailing_metadata() or ())
        self.raw = cast(bytes, trailers.get("grpc-status-details-bin", b""))
        self.status = status_pb2.Status.FromString(self.raw)
        self.info = self._detail(error_details_pb2.ErrorInfo())
        self.bad_request = self._detail(error_details_pb2.BadRequest())
        self.retry = self._detail(error_details_pb2.RetryInfo())

    def _detail(self, kind: Any) -> Any:
        for detail in self.status.details:
            if detail.Unpack(kind):
                return kind
        return None

    @property
    def problems(self) -> set[tuple[str, str]]:
        """(field, rule) of every violation."""
        return {(v.field, v.reason) for v in self.bad_request.field_violations}

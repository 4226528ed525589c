"""The gRPC server: the endpoint table on a port or a Unix socket, with health and reflection, and its drain.

It must not hold rules of any endpoint. Transport security and authentication are not here yet: the address decides who
can call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from k8s_execution.domain.plan import Policy
from k8s_execution.transports.endpoints import ENDPOINTS, SERVICE, Door
from k8s_execution.transports.grpc_calls import Calls, Drain
from k8s_execution.transports.rules import FieldRules
from k8s_execution.usecases import UseCases

T = TypeVar("T")


class AddressUnusable(Exception):
    """The address cannot be served: taken, not ours, or not an address; the message says it to the user."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of the server. Sizes in bytes, times in seconds.

    `receive` is twice the contract's 4 MiB, so that a request between the two is refused with a reason and a way out
    instead of gRPC's bare text; no request can make the server hold more. `send` leaves room for a page of results or
    a rendered plan. A peer that is gone is noticed within `keepalive + keepalive_timeout`: without the ping timeout of
    its own, gRPC took 61 s to notice with a keepalive of 2 s (measured). Clients may ping every `client_ping`.
    There is no greatest age of a connection: dead peers are found by pings, and streams end themselves in a drain.
    """

    receive: int = 8 << 20
    send: int = 16 << 20
    concurrent_calls: int = 2_000
    keepalive: float = 30.0
    keepalive_timeout: float = 10.0
    client_ping: float = 10.0
    write_timeout: float = 60.0

    def options(self) -> list[tuple[str, int]]:
        """As channel arguments. Without so_reuseport=0 a second server silently shares the port."""
        return [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", self.receive),
            ("grpc.max_send_message_length", self.send),
            ("grpc.keepalive_time_ms", int(self.keepalive * 1000)),
            ("grpc.keepalive_timeout_ms", int(self.keepalive_timeout * 1000)),
            ("grpc.http2.ping_timeout_ms", int(self.keepalive_timeout * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", int(self.client_ping * 1000)),
        ]


class GrpcServer:
    """Serves the use cases at one address: `host:port` (port 0 picks one) or `unix:/path`."""

    def __init__(
        self,
        use_cases: UseCases,
        address: str,
        *,
        executor: Executor | None = None,
        defaults: Policy = Policy(),
        limits: ServerLimits = ServerLimits(),
    ) -> None:
        """`executor` takes work of more than a millisecond, else the server has two threads of its own.

        `defaults` are the policy's where a request does not say.
        """
        self._use_cases = use_cases
        self._address = address
        self._own = None if executor else ThreadPoolExecutor(2, thread_name_prefix="grpc")
        self._executor = executor or self._own
        self._defaults = defaults
        self._limits = limits
        self._drain: Drain | None = None
        self._server: grpc.aio.Server | None = None

    async def start(self) -> str:
        """Serve; the address that answers, with its real port. AddressUnusable where that cannot be."""
        server = grpc.aio.server(options=self._limits.options(), maximum_concurrent_rpcs=self._limits.concurrent_calls)
        self._drain = Drain()
        calls = Calls(self._door(), self._drain, self._limits.write_timeout)
        handlers = {endpoint.name: calls.handler(endpoint) for endpoint in ENDPOINTS}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        _add_health_and_reflection(server, self._drain.begun)
        bound = self._bind(server)
        await server.start()
        self._server = server
        return bound

    async def drain(self, grace: float) -> None:
        """Say NOT_SERVING, take no more calls, end streams and waits, give the others `grace` seconds."""
        if self._server is not None and self._drain is not None:
            self._drain.begin()
            await self._server.stop(grace)
            self._server = None
        if self._own is not None:
            self._own.shutdown(wait=False)

    def _bind(self, server: grpc.aio.Server) -> str:
        port_text = self._address.rpartition(":")[2]
        if not self._address.startswith("unix:") and (port_text == self._address or not port_text.isdigit()):
            raise AddressUnusable(f"the gRPC address {self._address} must be HOST:PORT, such as 127.0.0.1:50051")
        try:
            port = server.add_insecure_port(self._address)
        except RuntimeError as error:
            message = f"cannot serve gRPC at {self._address}: the port is taken, or the address is not this machine's"
            raise AddressUnusable(f"{message}; choose another, or port 0 for any free one") from error
        return self._address if self._address.startswith("unix:") else f"{self._address.rpartition(':')[0]}:{port}"

    def _door(self) -> Door:
        executor = self._executor
        assert executor is not None
        return Door(
            use_cases=self._use_cases,
            defaults=self._defaults,
            problems=FieldRules(executor).problems,
            in_thread=_in_thread(executor),
            now=_wall_clock,
        )


def _in_thread(executor: Executor) -> Callable[..., Awaitable[Any]]:
    def run(function: Callable[..., T], *arguments: Any) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(executor, function, *arguments)

    return run


def _wall_clock() -> int:
    """Only shown (how long the present phase lasts so far): nothing is decided by it."""
    return time.time_ns() // 1000


def _add_health_and_reflection(server: grpc.aio.Server, draining: asyncio.Event) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection

    from k8s_execution.transports.grpc_health import Health

    health = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    health_pb2_grpc.add_HealthServicer_to_server(Health([SERVICE, health], draining), server)
    reflection.enable_server_reflection((SERVICE, health, reflection.SERVICE_NAME), server)

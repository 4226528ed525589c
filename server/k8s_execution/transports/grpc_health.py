"""grpc.health.v1 for the server: SERVING until the drain begins, then NOT_SERVING, said to watchers first.

Written here because the health package's own Watch never ends, and would hold up every drain for its whole grace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the package has no types
    """Answers for the server as a whole (the empty name) and for the services named."""

    def __init__(self, services: Collection[str], draining: asyncio.Event) -> None:
        """`draining` is set when the drain begins."""
        self._services = frozenset(services) | {""}
        self._draining = draining

    async def Check(self, request: Any, context: Context) -> Any:  # noqa: N802 - the protocol's name
        """The state of one service; NOT_FOUND for another name, as the protocol says."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return health_pb2.HealthCheckResponse(status=self._state(request.service))

    async def Watch(self, request: Any, _context: Context) -> AsyncIterator[Any]:  # noqa: N802 - the protocol's name
        """The state now, and NOT_SERVING when the drain begins, which ends the stream."""
        yield health_pb2.HealthCheckResponse(status=self._state(request.service))
        await self._draining.wait()
        yield health_pb2.HealthCheckResponse(status=self._state(request.service))

    def _state(self, service: str) -> Any:
        states = health_pb2.HealthCheckResponse
        if service not in self._services:
            return states.SERVICE_UNKNOWN
        return states.NOT_SERVING if self._draining.is_set() else states.SERVING

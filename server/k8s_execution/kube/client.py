"""Requests with their rules: rate limit, credentials, retries by class, answers as JSON or as typed refusals.

It must not know kinds or facts. GET and DELETE are tried again on 429, 5xx and network errors; POST only where it
surely had no effect, since "reply lost" is for the caller to resolve (see `create`). Never logs bodies.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import aiohttp

from k8s_execution.kube.answers import Json, PassingFault, fault, json_object
from k8s_execution.kube.limits import KubeLimits
from k8s_execution.kube.ratelimit import RateLimiter
from k8s_execution.kube.slim import without_managed_fields
from k8s_execution.kube.transport import ByteStream, Params, Transport
from k8s_execution.ports.clock import Clock

T = TypeVar("T")
_FIRST_PAGE = 25  # objects of unknown size: a kubelet's pod may have 7 KB or 70


class Client:
    """One API server, as the parts of this adapter use it."""

    def __init__(self, transport: Transport, limits: KubeLimits, clock: Clock) -> None:
        """`transport` stays the caller's to close."""
        self._transport = transport
        self._limits = limits
        self._clock = clock
        self._limiter = RateLimiter(limits.requests_per_second, limits.burst, clock)

    async def get(self, path: str, params: Params = ()) -> Json:
        """GET with retries; StatusError or PassingFault."""
        return await self._retrying(lambda: self._exchange("GET", path, params), always=True)

    async def once(self, path: str, params: Params = ()) -> Json:
        """GET without retries, for callers with a rhythm of their own."""
        return await self._exchange("GET", path, params)

    async def delete(self, path: str, options: Mapping[str, Any]) -> Json:
        """DELETE with retries, ahead of everything else; `options` must make it safe to repeat."""
        return await self._retrying(lambda: self._exchange("DELETE", path, (), options, urgent=True), always=True)

    async def post(self, path: str, body: Mapping[str, Any], params: Params = (), *, harmless: bool = False) -> Json:
        """POST; tried again only if it had no effect for sure, or if it is `harmless` (a dry run).

        PassingFault with `perhaps_executed` means: nobody knows; look.
        """
        return await self._retrying(lambda: self._exchange("POST", path, params, body), always=harmless)

    async def stream(self, path: str, params: Params, silence: float | None) -> ByteStream:
        """GET whose body is read in chunks, without retries; the caller closes it."""
        return await self._with_credentials(lambda: self._transport.stream(path, params, silence))

    async def web_socket(
        self, path: str, params: Params, protocols: Sequence[str]
    ) -> aiohttp.ClientWebSocketResponse[bool]:
        """Open a WebSocket, without retries; the caller closes it."""
        return await self._with_credentials(lambda: self._transport.web_socket(path, params, protocols))

    async def pages(self, path: str, params: Params = (), *, slim: bool = False) -> AsyncGenerator[Json, None]:
        """The pages of a list, each a List object; sizes adapt so that decoding one stays short.

        The next page is on its way while the caller works on one. `slim` leaves managedFields out. A list whose
        continue token expired while it was read raises StatusError 410: the caller starts again.
        """
        coming = self._ask(path, params, min(_FIRST_PAGE, self._limits.page_limit), slim=slim)
        try:
            while True:
                size, page = await coming
                metadata = page.get("metadata")
                token = str(metadata.get("continue") or "") if isinstance(metadata, dict) else ""
                if not token:
                    break
                items = page.get("items")
                per_item = max(1, size // max(1, len(items) if isinstance(items, list) else 1))
                limit = max(1, min(self._limits.page_limit, self._limits.page_bytes // per_item))
                coming = self._ask(path, [*params, ("continue", token)], limit, slim=slim)
                yield page
        finally:
            await _ended(coming)
        yield page

    def _ask(self, path: str, params: Params, limit: int, *, slim: bool) -> asyncio.Task[tuple[int, Json]]:
        """One page, and how many bytes of it were decoded."""
        query = [*params, ("limit", str(limit))]

        async def sized() -> tuple[int, Json]:
            body = await self._raw("GET", path, query)
            body = without_managed_fields(body) if slim else body
            return len(body), json_object(body)

        return asyncio.create_task(self._retrying(sized, always=True), name=f"page of {path}")

    async def _exchange(
        self, method: str, path: str, params: Params, body: Mapping[str, Any] | None = None, *, urgent: bool = False
    ) -> Json:
        return json_object(await self._raw(method, path, params, body, urgent=urgent))

    async def _raw(
        self, method: str, path: str, params: Params, body: Mapping[str, Any] | None = None, *, urgent: bool = False
    ) -> bytes:
        async def send() -> bytes:
            status, headers, answer = await self._transport.exchange(method, path, params, body)
            if not 200 <= status < 300:
                raise fault(status, headers, answer)
            return answer

        return await self._with_credentials(send, urgent=urgent)

    async def _with_credentials(self, send: Callable[[], Awaitable[T]], *, urgent: bool = False) -> T:
        """Take a turn and send; after a 401 once more if the token file holds a new token."""
        await self._limiter.acquire(urgent=urgent)
        try:
            return await send()
        except PassingFault as refusal:
            if refusal.status != 401 or not await self._transport.renew_credentials():
                raise
        return await send()

    async def _retrying(self, send: Callable[[], Awaitable[T]], *, always: bool) -> T:
        for attempt in range(self._limits.attempts - 1):
            try:
                return await send()
            except PassingFault as passing:
                if passing.status == 401 or (passing.perhaps_executed and not always):
                    raise
                await self._clock.sleep(self._pause(attempt, passing.retry_after))
        return await send()

    def _pause(self, attempt: int, retry_after: float | None) -> float:
        pause = self._limits.retry.pause(attempt, random.random())  # noqa: S311 - jitter, not a secret
        return max(pause, min(retry_after or 0.0, self._limits.retry_after_cap))


async def _ended(task: asyncio.Task[tuple[int, Json]]) -> None:
    """Nobody waits for this page any more: end its request, and take its fault, if it has one, to nobody."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()

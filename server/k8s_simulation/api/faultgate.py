"""Scripted faults at the API server's door, and the path by which scripts are read and changed.

`GET /simulation/faults` answers `{"version": n, "faults": […], "seen": […]}`, where `seen` tells how often the
occasion of each has come (`DropReply`, `Respond` with `times`). With `?version=n&wait=s` it is held until the version
differs or s seconds have passed, so that the node need not poll. PUT replaces the script, POST adds, DELETE clears.
"""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from k8s_simulation import faults as scripts
from k8s_simulation.api.problems import ApiError, bad_request, method_not_allowed
from k8s_simulation.api.registry import Registry
from k8s_simulation.api.requests import ApiRequest, NoSuchPath
from k8s_simulation.api.resources import RESOURCES
from k8s_simulation.api.storage import encode
from k8s_simulation.api.streams import WatchStreams
from k8s_simulation.api.watching import Lister
from k8s_simulation.faults import Compact, CutWatches, DropReply, Fault, FaultBook, Respond, Slow, matches

_READS = {"get", "list", "watch"}
_MAX_WAIT = 300.0
_REASONS = {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout",
            401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired"}  # fmt: skip


class FaultGate:
    """Asked before and after every request; carries out faults that act at once."""

    def __init__(self, registry: Registry, faults: FaultBook, lister: Lister, streams: WatchStreams) -> None:
        """Follow the script."""
        self._registry = registry
        self._faults = faults
        self._lister = lister
        self._streams = streams
        self._changed = asyncio.Event()
        self._unfollow = faults.follow(self._arrived)
        self._closed = False

    def close(self) -> None:
        """Let go of waiting readers."""
        if not self._closed:
            self._unfollow()
            self._closed = True
        self._changed.set()

    def _arrived(self, new: list[Fault]) -> None:
        for fault in new:
            match fault:
                case Compact(resource=name):
                    wanted = [r for r in RESOURCES if r.stored and matches(name, r.plural)]
                    for resource in wanted:
                        self._registry.storage.compact(resource)
                    self._lister.forget()
                case CutWatches():
                    self._streams.cut(fault)
                case _:
                    pass  # the others are asked for when their occasion comes
        self._changed.set()
        self._changed = asyncio.Event()

    async def before(self, api: ApiRequest) -> None:
        """Delay or refuse a request that a fault names. Raises the refusal."""
        for slow in self._faults.of(Slow):
            if matches(slow.verb, api.verb) and matches(slow.resource, api.resource.plural):
                await asyncio.sleep(slow.seconds)
        for fault in self._faults.of(Respond):
            if not _concerns(fault, api):
                continue
            if fault.times and self._faults.count(fault) > fault.times:
                continue
            details = {"retryAfterSeconds": fault.retry_after} if fault.retry_after else None
            raise ApiError(fault.status, _REASONS.get(fault.status, "Unknown"), fault.message, details)

    def after(self, request: web.Request, api: ApiRequest, response: web.StreamResponse) -> web.StreamResponse:
        """Cut the connection instead of answering, where a fault says so; what was done stays done."""
        for fault in self._faults.of(DropReply) if api.verb not in _READS else []:
            if _concerns(fault, api) and self._faults.count(fault) == fault.nth and request.transport is not None:
                request.transport.abort()
        return response

    async def serve(self, request: web.Request) -> web.Response:
        """`/simulation/faults`."""
        if request.path != "/simulation/faults":
            raise NoSuchPath
        match request.method:
            case "GET":
                await self._wait(request)
            case "PUT":
                self._faults.replace(await _script(request))
            case "POST":
                self._faults.add(await _script(request))
            case "DELETE":
                self._faults.replace([])
            case _:
                raise method_not_allowed()
        book = self._faults
        body = {"version": book.version, "faults": scripts.render(book.all()), "seen": book.seen()}
        return web.Response(body=encode(body), content_type="application/json")

    async def _wait(self, request: web.Request) -> None:
        known, wait = request.query.get("version"), request.query.get("wait", "0")
        try:
            seconds = min(float(wait), _MAX_WAIT)
        except ValueError as error:
            raise bad_request(f"wait: {wait!r} is not a number of seconds") from error
        if known != str(self._faults.version) or seconds <= 0 or self._closed:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass  # nothing changed: the same version is the answer


def _concerns(fault: Respond | DropReply, api: ApiRequest) -> bool:
    resource = f"{api.resource.plural}/{api.subresource}" if api.subresource else api.resource.plural
    return (
        matches(fault.verb, api.verb) and matches(fault.resource, resource) and matches(fault.namespace, api.namespace)
    )


async def _script(request: web.Request) -> list[Fault]:
    try:
        return scripts.parse(json.loads(await request.read()))
    except ValueError as error:
        raise bad_request(str(error)) from error

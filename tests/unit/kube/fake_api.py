"""A Kubernetes API server that is small enough to misbehave on command.

It keeps objects in a dictionary, answers list (with limit and continue), get, create, delete and watch, and plays
scripted faults. It knows no schemas, admission or controllers: those are the simulated cluster's, against which the
same adapter is tested too. Use: `async with FakeApi() as api: ... api.config() ...`.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from k8s_execution.kube.kubeconfig import KubeConfig

Json = dict[str, Any]
_CLUSTER_SCOPED = {"namespaces"}


@dataclass(slots=True)
class Seen:
    """One request as it came."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: Json | None


@dataclass(slots=True)
class Fault:
    """What to do instead of answering, for the next `times` requests whose "METHOD path" matches `pattern`.

    `status` 0 drops the connection; with `execute` the request takes effect first (a lost reply).
    """

    pattern: str
    status: int = 0
    body: Json | bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    execute: bool = False
    times: int = 1


class Watch:
    """One open watch: lines are queued, `None` ends it, an exception class cuts it."""

    def __init__(self, plural: str) -> None:
        self.plural = plural
        self.queue: asyncio.Queue[bytes | type[ConnectionError] | None] = asyncio.Queue()


class FakeApi:
    """See the module. Attributes are the script: change them while it runs."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.objects: dict[tuple[str, str, str], Json] = {}
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.watches: list[Watch] = []
        self.watch_opened = asyncio.Event()
        self.history: list[tuple[int, str, str, Json]] = []
        self.oldest = 0
        self.version = 100
        self.tokens: set[str] | None = None
        self.logs: Callable[[web.Request, web.StreamResponse], Awaitable[None]] | None = None
        self.exec: Callable[[web.Request, web.WebSocketResponse], Awaitable[None]] | None = None
        self.exec_protocols: tuple[str, ...] = ("v5.channel.k8s.io", "v4.channel.k8s.io")
        self.git_version = "v1.34.0"
        self.url = ""
        self.peers: list[Mapping[str, Any] | None] = []
        self._runner: web.AppRunner | None = None
        self.put("namespaces", {"metadata": {"name": "kube-system", "uid": "cluster-uid"}})

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"{'https' if self._tls else 'http'}://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end_watches()
        assert self._runner is not None
        await self._runner.cleanup()

    def config(self, **more: Any) -> KubeConfig:
        """How to reach this server."""
        return KubeConfig(server=self.url, **more)

    # --- objects -------------------------------------------------------------------------------------------------

    def put(self, plural: str, body: Json) -> Json:
        """Create or replace an object as a controller would; watches see it."""
        metadata = body.setdefault("metadata", {})
        where = (plural, metadata.get("namespace", ""), metadata["name"])
        kind = "MODIFIED" if where in self.objects else "ADDED"
        self.version += 1
        metadata.setdefault("uid", f"uid-{self.version}")
        metadata.setdefault("creationTimestamp", "2026-11-24T09:00:00Z")
        metadata["resourceVersion"] = str(self.version)
        self.objects[where] = body
        self._record(plural, kind, body)
        return body

    def remove(self, plural: str, namespace: str, name: str) -> None:
        """Delete an object; watches see it."""
        body = self.objects.pop((plural, namespace, name))
        self.version += 1
        body = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        self._record(plural, "DELETED", body)

    def vanish(self, plural: str, namespace: str, name: str) -> None:
        """Delete an object so that no watch ever tells of it."""
        del self.objects[plural, namespace, name]

    def compact(self) -> None:
        """Forget the history: a watch from an earlier version is 410 Gone."""
        self.version += 1
        self.history.clear()
        self.oldest = self.version

    # --- watches -------------------------------------------------------------------------------------------------

    def send(self, plural: str, line: bytes) -> None:
        """Send a raw line to the open watches of a kind."""
        for watch in self.watches:
            if watch.plural == plural:
                watch.queue.put_nowait(line)

    def bookmark(self, plural: str) -> None:
        """Send a bookmark at the present version."""
        self.send(plural, _line("BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}}))

    def end_watches(self) -> None:
        """End all watches as a server does after timeoutSeconds."""
        for watch in self.watches:
            watch.queue.put_nowait(None)

    def cut_watches(self) -> None:
        """Drop the connections of all watches in the middle of a chunk."""
        for watch in self.watches:
            watch.queue.put_nowait(ConnectionError)

    def count(self, pattern: str) -> int:
        """How many requests came whose "METHOD path?query" matches."""
        return len([s for s in self.seen if re.search(pattern, f"{s.method} {s.path}?{s.query}")])

    # --- HTTP ----------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.seen.append(Seen(request.method, request.path, list(request.query.items()), dict(request.headers), body))
        assert request.transport is not None
        self.peers.append(request.transport.get_extra_info("peercert"))
        if self.tokens is not None and request.headers.get("Authorization", "")[7:] not in self.tokens:
            return _status(401, "Unauthorized", "Unauthorized")
        fault = self._fault(request)
        if fault is not None:
            if fault.execute:
                await self._route(request, body)
            return _play(fault, request)
        return await self._route(request, body)

    def _fault(self, request: web.Request) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.pattern, f"{request.method} {request.path_qs}"):
                fault.times -= 1
                return fault
        return None

    async def _route(self, request: web.Request, body: Json | None) -> web.StreamResponse:
        if request.path == "/version":
            return web.json_response({"gitVersion": self.git_version})
        namespace, plural, name, sub = _address(request.path)
        if sub == "log":
            return await self._log(request)
        if sub == "exec":
            return await self._exec(request)
        if request.method == "POST" and body is not None:
            return self._create(plural, namespace, body)
        if request.method == "DELETE":
            return self._delete(plural, namespace, name, body or {})
        if name:
            found = self.objects.get((plural, namespace, name))
            return web.json_response(found) if found else _status(404, "NotFound", f'{plural} "{name}" not found')
        if request.query.get("watch") == "true":
            return await self._watch(request, plural)
        return self._list(request, plural, namespace)

    def _create(self, plural: str, namespace: str, body: Json) -> web.Response:
        name = body["metadata"]["name"]
        if (plural, namespace, name) in self.objects:
            return _status(409, "AlreadyExists", f'{plural} "{name}" already exists')
        return web.json_response(self.put(plural, body), status=201)

    def _delete(self, plural: str, namespace: str, name: str, options: Json) -> web.Response:
        found = self.objects.get((plural, namespace, name))
        if found is None:
            return _status(404, "NotFound", f'{plural} "{name}" not found')
        wanted = options.get("preconditions", {}).get("uid")
        if wanted and wanted != found["metadata"]["uid"]:
            return _status(409, "Conflict", "Precondition failed: UID in precondition")
        self.remove(plural, namespace, name)
        return web.json_response({"kind": "Status", "status": "Success"})

    def _list(self, request: web.Request, plural: str, namespace: str) -> web.Response:
        start, limit = int(request.query.get("continue", "0")), int(request.query.get("limit", "0"))
        matching = [o for (p, ns, _), o in sorted(self.objects.items()) if p == plural and namespace in {"", ns}]
        matching = [o for o in matching if _selected(o, request.query)]
        end = start + limit if limit else len(matching)
        metadata = {"resourceVersion": str(self.version)}
        if end < len(matching):
            metadata["continue"] = str(end)
        return web.json_response({"kind": "List", "metadata": metadata, "items": matching[start:end]})

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        if since < self.oldest:
            return _status(410, "Expired", "too old resource version")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        watch = Watch(plural)
        for version, kind_of, kind, body in self.history:
            if version > since and kind_of == plural:
                watch.queue.put_nowait(_line(kind, body))
        self.watches.append(watch)
        self.watch_opened.set()
        try:
            while (line := await watch.queue.get()) is not None:
                if isinstance(line, type):
                    assert request.transport is not None
                    request.transport.abort()
                    break
                await response.write(line)
        finally:
            self.watches.remove(watch)
        return response

    async def _log(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        if self.logs is not None:
            await self.logs(request, response)
        return response

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=self.exec_protocols, max_msg_size=0)
        await socket.prepare(request)
        if self.exec is not None:
            await self.exec(request, socket)
        await socket.close()
        return socket

    def _record(self, plural: str, kind: str, body: Json) -> None:
        body = json.loads(json.dumps(body))
        self.history.append((self.version, plural, kind, body))
        if _selected(body, {"labelSelector": "k8s-execution.maestro/execution-id"}):
            self.send(plural, _line(kind, body))


def _selected(body: Json, query: Mapping[str, str]) -> bool:
    """Whether the selectors that this adapter uses match: label exists, involvedObject.uid or metadata.name equals."""
    label = query.get("labelSelector")
    if label and label not in body["metadata"].get("labels", {}):
        return False
    field_selector = query.get("fieldSelector", "")
    field, _, value = field_selector.partition("=")
    found = {"involvedObject.uid": body.get("involvedObject", {}).get("uid"), "metadata.name": body["metadata"]["name"]}
    return not field_selector or found[field] == value


def _address(path: str) -> tuple[str, str, str, str]:
    """(namespace, plural, name, subresource) of an API path."""
    parts = path.strip("/").split("/")
    parts = parts[3:] if parts[0] == "apis" else parts[2:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    plural, name, sub = [*parts, "", ""][:3]
    return namespace, plural, name, sub


def _line(kind: str, body: Json) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


def status_body(code: int, reason: str, message: str, **details: Any) -> Json:
    """A Status as the API server words it."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }


def _status(code: int, reason: str, message: str) -> web.Response:
    return web.json_response(status_body(code, reason, message), status=code)


def _play(fault: Fault, request: web.Request) -> web.Response:
    if fault.status == 0:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
    if isinstance(fault.body, bytes):
        return web.Response(status=fault.status, body=fault.body, headers=fault.headers)
    return web.json_response(fault.body, status=fault.status, headers=fault.headers)

"""The HTTP server of the simulated API: TLS, tokens, routes, faults.

One dispatcher for all paths, because the paths of the Kubernetes API are data (`requests.parse`). Every refusal is an
ApiError and becomes its Status body here; what is not an ApiError is a defect of the simulation and becomes a 500 that
says so.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any

from aiohttp import web

from k8s_simulation.api import discovery
from k8s_simulation.api.audit import AuditLog
from k8s_simulation.api.bodies import MAX_BODY, too_large
from k8s_simulation.api.faultgate import FaultGate
from k8s_simulation.api.handlers import Handlers
from k8s_simulation.api.problems import ApiError, internal, unauthorized
from k8s_simulation.api.proxy import KubeletProxy
from k8s_simulation.api.registry import Registry
from k8s_simulation.api.requests import ApiRequest, NoSuchPath, parse
from k8s_simulation.api.storage import encode
from k8s_simulation.api.streams import WatchStreams
from k8s_simulation.api.watching import Lister
from k8s_simulation.faults import FaultBook

_log = logging.getLogger(__name__)
_PUBLIC = {"/healthz", "/livez", "/readyz", "/version"}  # system:public-info-viewer


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that are let in, and the one the API server shows to nodes."""

    clients: tuple[str, ...]
    kubelet: str

    def admit(self, header: str) -> bool:
        """True if the Authorization header carries one of the clients' tokens."""
        scheme, _, token = header.partition(" ")
        found = [compare_digest(token.strip().encode(), known.encode()) for known in self.clients]
        return scheme.lower() == "bearer" and any(found)

    def user(self, header: str) -> str:
        """Whose token it is, by the order of `clients`: the administrator's first, nodes after."""
        _, _, token = header.partition(" ")
        admin = compare_digest(token.strip().encode(), self.clients[0].encode())
        return "kubernetes-admin" if admin else "system:nodes"


class ApiServer:
    """The API server over one registry. `start` binds, `stop` ends all streams; usable in a test's own loop."""

    def __init__(self, registry: Registry, tokens: Tokens, faults: FaultBook, audit: AuditLog | None = None) -> None:
        """Nothing is bound yet."""
        self._tokens = tokens
        self._audit = audit
        self._lister = Lister(registry.storage)
        self._streams = WatchStreams(registry, faults)
        self._proxy = KubeletProxy(registry, faults, tokens.kubelet)
        self._handlers = Handlers(registry, self._lister, self._streams, self._proxy)
        self._gate = FaultGate(registry, faults, self._lister, self._streams)
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        """Listen on host and port (0 picks one, see `port`). Raises OSError if it is taken."""
        server = web.Application(client_max_size=MAX_BODY)
        server.router.add_route("*", "/{path:.*}", self._dispatch)
        # handler_cancellation: a client that leaves ends its watch or log at once, however quiet that is
        runner = web.AppRunner(
            server, access_log=None, shutdown_timeout=1.0, handle_signals=False, handler_cancellation=True
        )
        await runner.setup()
        self._runner = runner
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        self.port = sock.getsockname()[1]
        await web.SockSite(runner, sock, ssl_context=context, backlog=1024).start()

    async def stop(self) -> None:
        """End streams and connections. May be called twice."""
        self._gate.close()
        self._streams.close()
        await self._proxy.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ApiError as error:
            return _refusal(error)
        except web.HTTPRequestEntityTooLarge:
            return _refusal(too_large())
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:  # noqa: BLE001 - the border of the server: a defect must not look like a broken connection
            _log.exception("%s %s failed", request.method, request.path)
            return _refusal(internal("a defect of the simulated API server, see its log"))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path not in _PUBLIC and not self._tokens.admit(request.headers.get("Authorization", "")):
            raise unauthorized()
        if path.startswith("/simulation/"):
            return await self._gate.serve(request)
        found = _information(request)
        if found is not None:
            return found
        try:
            api = parse(request.method, path, dict(request.query))
        except NoSuchPath:
            # the real server answers unknown paths in plain text; clients make "could not find" of it
            return web.Response(status=404, text="404 page not found\n")
        if self._audit is None:
            return await self._serve(request, api)
        return await self._audited(self._audit, request, api)

    async def _serve(self, request: web.Request, api: ApiRequest) -> web.StreamResponse:
        await self._gate.before(api)
        response = await self._handlers.handle(request, api)
        return self._gate.after(request, api, response)

    async def _audited(self, audit: AuditLog, request: web.Request, api: ApiRequest) -> web.StreamResponse:
        audited = audit.began(request, api, self._tokens.user(request.headers.get("Authorization", "")))
        code = 500
        try:
            response = await self._serve(request, api)
            code = response.status
        except ApiError as error:
            code = error.code
            raise
        except (ConnectionError, asyncio.CancelledError):
            code = 0  # the client left before the end of its answer
            raise
        else:
            return response
        finally:
            audit.ended(audited, code)


def _refusal(error: ApiError) -> web.Response:
    response = web.Response(body=encode(error.status), status=error.code, content_type="application/json")
    if error.retry_after:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _information(request: web.Request) -> web.Response | None:
    """Discovery, version and health; None for every other path."""
    path = request.path.rstrip("/")
    if path.split("/", 2)[1:2] in (["healthz"], ["livez"], ["readyz"]):
        return web.Response(text="ok")
    aggregated = "as=APIGroupDiscoveryList" in request.headers.get("Accept", "")
    parts = path.split("/")[1:]
    found: Any = None
    content_type = "application/json"
    match parts:
        case ["version"]:
            found = discovery.VERSION
        case ["api"] | ["apis"] if aggregated:
            found, content_type = discovery.aggregated(parts == ["api"]), discovery.AGGREGATED
        case _ if rule := _DISCOVERY.get((parts[0], len(parts))):
            found = rule(parts)
        case _:
            return None
    if found is None:
        return None
    return web.Response(body=encode(found), headers={"Content-Type": content_type})


_Rule = Callable[[list[str]], dict[str, Any] | None]
_DISCOVERY: dict[tuple[str, int], _Rule] = {
    ("api", 1): lambda _: discovery.api_versions(),
    ("apis", 1): lambda _: discovery.api_groups(),
    ("api", 2): lambda p: discovery.resource_list("", p[1]),
    ("apis", 2): lambda p: discovery.api_group(p[1]),
    ("apis", 3): lambda p: discovery.resource_list(p[1], p[2]),
    ("openapi", 2): lambda p: discovery.openapi_index() if p[1] == "v3" else None,
    ("openapi", 4): lambda p: discovery.openapi_document("", p[3]),
    ("openapi", 5): lambda p: discovery.openapi_document(p[3], p[4]),
}

"""The kubelet's HTTP side: /containerLogs and /exec for the API server, over TLS; who may call says `callers`.

Errors are worded as kubelet's (pkg/kubelet/server/server.go, kubelet_pods.go). Logs are passed on in large pieces as
they are on disk. Must not change pods.
"""

from __future__ import annotations

import ipaddress
import math
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from k8s_simulation.node.callers import Caller, Callers
from k8s_simulation.node.containers import Runner
from k8s_simulation.node.execs import PROTOCOLS, Session, Streams
from k8s_simulation.node.logs import ContainerLog, Query
from k8s_simulation.node.node import Node
from k8s_simulation.node.pods import PodWorker
from k8s_simulation.node.runtime import Running, Terminated, Waiting

CERTIFICATE = "kubelet.pem"
STREAMS = ("input", "output", "error", "tty")
"""How a kubelet's query names the streams of a command (k8s.io/api core/v1, ExecStdinParam and so on)."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pods(Protocol):
    """Where the server finds pods."""

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of a pod."""
        ...


class _Refused(Exception):
    """An answer other than success: status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class KubeletServer:
    """Serves on the node's address. `certificate` is a PEM file with chain and key; without it one is made."""

    def __init__(self, node: Node, callers: Callers, certificate: Path | None = None) -> None:
        self._node, self._callers, self._certificate = node, callers, certificate
        self._pods: Pods | None = None
        self._runner: web.AppRunner | None = None
        self.port = 0

    def serve(self, pods: Pods) -> None:
        """Where pods are found from now on: the agent, which itself needs the port first."""
        self._pods = pods

    async def start(self, port: int = 0) -> None:
        """Listen; `port` says where afterwards, 0 picks one. Raises OSError for a port or a certificate."""
        application = web.Application(middlewares=[self._guard])
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        application.router.add_route("*", "/exec/{namespace}/{pod}/{container}", self._exec)
        application.router.add_get("/healthz", self._healthy)
        # Open log follows and execs must not hold up the node's end.
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
        await self._runner.setup()
        made = self._certificate or make_certificate(self._node.data, self._node.address)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made)
        self._callers.prepare(context)
        site = web.TCPSite(self._runner, self._node.address, port, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening, cut what is open."""
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        peer: dict[str, Any] | None = request.get_extra_info("peercert")
        refusal = await self._callers.refusal(Caller(request.method, request.headers, peer))
        if refusal is not None:
            return web.Response(status=refusal[0], text=refusal[1])
        try:
            return await handler(request)
        except _Refused as refused:
            return web.Response(status=refused.status, text=refused.text)

    async def _healthy(self, request: web.Request) -> web.Response:
        assert request is not None
        return web.Response(text="ok")

    def _find(self, match: Mapping[str, str]) -> Runner:
        worker = self._pods.find(match["namespace"], match["pod"]) if self._pods is not None else None
        if worker is None:
            raise _Refused(404, f'pod "{match["pod"]}" not found\n')
        runner = worker.runner(match["container"])
        if runner is None:
            raise _Refused(404, f'container "{match["container"]}" not found in pod "{match["pod"]}"\n')
        return runner

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        runner = self._find(request.match_info)
        found = _chosen_log(runner, request.match_info["pod"], previous=_flag(request.query, "previous"))
        query = parse_query(request.query, time.time())
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        async with aclosing(found.read(query)) as pieces:
            async for piece in pieces:
                await response.write(piece)
        await response.write_eof()
        return response

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        runner = self._find(request.match_info)
        process, plan = runner.process, runner.plan
        argv = tuple(request.query.getall("command", []))
        if not argv:
            raise _Refused(400, "you must specify at least 1 command\n")
        if process is None or plan is None or not isinstance(runner.record.state, Running) or not process.running:
            raise _Refused(400, f'container not found ("{runner.record.name}")\n')
        socket = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=32 << 20, compress=False, heartbeat=None)
        if not socket.can_prepare(request).ok:
            raise _Refused(
                400, "this node runs commands over WebSocket (v4.channel.k8s.io, v5.channel.k8s.io), not SPDY\n"
            )
        await socket.prepare(request)
        streams = Streams(*(_flag(request.query, name) for name in STREAMS))
        try:
            await Session(socket, streams).serve(self._node.sandbox.enter(process, plan, argv), argv[0])
        except ConnectionResetError:
            pass  # the client went away; the session has ended its command
        await socket.close()
        return socket


def _chosen_log(runner: Runner, pod: str, *, previous: bool) -> ContainerLog:
    """The log that is asked for. Raises _Refused in kubelet's words."""
    name, state = runner.record.name, runner.record.state
    if previous:
        if runner.record.last is None or not runner.logs:
            raise _Refused(400, f'previous terminated container "{name}" in pod "{pod}" not found\n')
        return runner.logs[-1] if isinstance(state, Waiting) or len(runner.logs) == 1 else runner.logs[-2]
    if isinstance(state, Waiting) and (runner.record.last is None or not runner.logs):
        raise _Refused(400, f'container "{name}" in pod "{pod}" is waiting to start: {state.reason}\n')
    if not runner.logs:
        word = "terminated" if isinstance(state, Terminated) else "not available"
        raise _Refused(400, f'container "{name}" in pod "{pod}" is {word}\n')
    return runner.logs[-1]


def _flag(query: Mapping[str, str], name: str) -> bool:
    """A boolean query parameter; present and empty counts as true."""
    return name in query and query[name].lower() in {"", "1", "t", "true"}


def parse_query(query: Mapping[str, str], now: float) -> Query:
    """PodLogOptions from a query string. Raises _Refused for values that are not what they should be."""
    try:
        since = float(math.floor(now)) - int(query["sinceSeconds"]) if query.get("sinceSeconds") else None
        if text := query.get("sinceTime"):
            since = math.floor(datetime.fromisoformat(text).timestamp())
        return Query(
            follow=_flag(query, "follow"),
            timestamps=_flag(query, "timestamps"),
            since=since,
            tail_lines=int(query["tailLines"]) if query.get("tailLines") else None,
            limit_bytes=int(query["limitBytes"]) if query.get("limitBytes") else None,
        )
    except ValueError as error:
        raise _Refused(400, f"invalid log options: {error}\n") from error


def make_certificate(folder: Path, address: str) -> Path:
    """A file with a self-signed certificate and its key, made for this start. Blocking, a few milliseconds."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated-node")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / CERTIFICATE
    file.touch(mode=0o600)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + certificate.public_bytes(pem))
    return file

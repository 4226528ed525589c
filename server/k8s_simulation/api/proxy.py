"""pods/log and pods/exec: the API server's way to the node.

Bytes go through as they come, in chunks, without a look at lines or frames; every rule about logs and commands is the
node's. Only what the real API server checks itself is checked here: that the pod has the container and a node.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import (
    ClientConnectionError,
    ClientError,
    ClientSession,
    ClientTimeout,
    TCPConnector,
    WSMsgType,
    WSServerHandshakeError,
    web,
)

from k8s_simulation.api.objects import Object, name_of, namespace_of, spec_of, status_of
from k8s_simulation.api.options import check_log
from k8s_simulation.api.problems import ApiError, bad_request, internal
from k8s_simulation.api.registry import Ref, Registry
from k8s_simulation.api.requests import ApiRequest
from k8s_simulation.api.resources import NODES
from k8s_simulation.faults import CutLogs, FaultBook

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_READ_BUFFER = 1 << 20
_STATUS = b"\x03"  # the channel of the status
_LOG_OPTIONS = ("follow", "timestamps", "previous", "sinceTime", "sinceSeconds", "tailLines", "limitBytes")
_KUBELET = {"stdin": "input", "stdout": "output", "stderr": "error"}
"""What the API calls the streams of a command, and what a kubelet calls them."""
_REASONS = {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 500: "InternalError"}


class KubeletProxy:
    """Talks to nodes with the token that both got at the start."""

    def __init__(self, registry: Registry, faults: FaultBook, token: str) -> None:
        """No connection yet: the session is made on first use, in the loop that serves."""
        self._registry = registry
        self._faults = faults
        self._token = token
        self._session: ClientSession | None = None

    async def close(self) -> None:
        """End all connections to nodes."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _client(self) -> ClientSession:
        if self._session is None:
            # nodes have self-made certificates, which a real API server does not verify by default either
            self._session = ClientSession(
                connector=TCPConnector(ssl=False, limit=0),
                timeout=ClientTimeout(total=None, sock_connect=5),
                headers={"Authorization": f"Bearer {self._token}"},
                read_bufsize=_READ_BUFFER,
                trust_env=False,
            )
        return self._session

    async def log(self, request: web.Request, api: ApiRequest, pod: Object) -> web.StreamResponse:
        """GET pods/log."""
        container = _container(pod, api.query.get("container", ""))
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        check_log(api)
        if not spec_of(pod).get("nodeName"):
            return web.Response(status=204)  # not scheduled: no log, and no error
        url = f"{self._node_url(pod)}/containerLogs/{namespace_of(pod)}/{name_of(pod)}/{container}"
        options = {k: api.query[k] for k in _LOG_OPTIONS if k in api.query}
        for flag in ("follow", "timestamps", "previous"):
            if flag in options:
                options[flag] = str(api.flag(flag)).lower()
        try:
            async with self._client().get(url, params=options) as upstream:
                if upstream.status != 200:
                    raise _from_node(upstream.status, await upstream.text())
                await response.prepare(request)
                await self._copy(upstream.content, response)
        except ClientError as error:
            if not response.prepared:
                raise _unreachable(pod, error) from error
            _abort(request)
        return response

    async def _copy(self, source: Any, response: web.StreamResponse) -> None:
        cut = next((f for f in self._faults.of(CutLogs) if not f.times or self._faults.count(f) <= f.times), None)
        left = cut.after_bytes if cut else -1
        async for chunk in source.iter_any():
            if cut and len(chunk) >= left:
                await response.write(chunk[:left])
                return
            left -= len(chunk)
            await response.write(chunk)

    async def exec(self, request: web.Request, api: ApiRequest, pod: Object) -> web.StreamResponse:
        """GET or POST pods/exec, upgraded to a WebSocket."""
        container = _container(pod, api.query.get("container", ""))
        if not spec_of(pod).get("nodeName"):
            raise bad_request(f"pod {name_of(pod)} does not have a host assigned")
        if request.headers.get("Upgrade", "").lower() != "websocket":
            words = ": this server speaks WebSocket for exec, not SPDY" if "Upgrade" in request.headers else ""
            raise bad_request(f"Upgrade request required{words}")
        offered = [p.strip() for p in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        protocols = [p for p in _PROTOCOLS if p in offered]
        if not protocols:
            raise bad_request(f"unable to upgrade: none of the subprotocols {offered} is known, {list(_PROTOCOLS)} are")
        if not any(api.flag(stream) for stream in _KUBELET):
            return await _refused(request, protocols[0], "you must specify at least 1 of stdin, stdout, stderr")
        query = [(_KUBELET.get(k, k), v) for k, v in request.query.items() if k != "container"]
        url = f"{self._node_url(pod)}/exec/{namespace_of(pod)}/{name_of(pod)}/{container}"
        try:
            async with self._client().ws_connect(url, params=query, protocols=protocols, max_msg_size=0,
                                                 compress=0, autoping=True) as upstream:  # fmt: skip
                chosen = (upstream.protocol,) if upstream.protocol else ()
                downstream = web.WebSocketResponse(protocols=chosen, max_msg_size=0, compress=False)
                await downstream.prepare(request)
                await _relay(downstream, upstream)
                return downstream
        except WSServerHandshakeError:
            return await _refused(request, protocols[0], f'container not found ("{container}")')
        except ClientConnectionError as error:
            raise _unreachable(pod, error) from error

    def _node_url(self, pod: Object) -> str:
        node = self._registry.get(Ref(NODES, "", str(spec_of(pod)["nodeName"]))).obj
        addresses = {a.get("type"): a.get("address") for a in status_of(node).get("addresses") or []}
        address = addresses.get("InternalIP") or addresses.get("Hostname")
        endpoints = status_of(node).get("daemonEndpoints") or {}
        port = (endpoints.get("kubeletEndpoint") or {}).get("Port")
        if not address or not port:
            raise internal(f"no preferred addresses found for node {name_of(node)}")
        return f"https://{address}:{port}"


async def _refused(request: web.Request, protocol: str, why: str) -> web.StreamResponse:
    """Tell over the open stream that the node refused: the real server learns it after its own upgrade."""
    socket = web.WebSocketResponse(protocols=(protocol,), compress=False)
    await socket.prepare(request)
    cause = {"message": f"unable to upgrade connection: {why}"}
    status = {"metadata": {}, "status": "Failure", "message": f"Internal error occurred: {cause['message']}",
              "reason": "InternalError", "details": {"causes": [cause]}, "code": 500}  # fmt: skip
    await socket.send_bytes(_STATUS + json.dumps(status).encode())
    await socket.close()
    return socket


def _container(pod: Object, asked: str) -> str:
    """The container asked for, or the only one. Raises 400 in the real server's words."""
    spec = spec_of(pod)
    main = [str(c.get("name")) for c in spec.get("containers") or []]
    others = [str(c.get("name")) for c in spec.get("initContainers") or []]
    if not asked and len(main) == 1:
        return main[0]
    if not asked:
        choice = f"a container name must be specified for pod {name_of(pod)}, choose one of: [{' '.join(main)}]"
        inits = f" or one of the init containers: [{' '.join(others)}]" if others else ""
        raise bad_request(choice + inits)
    if asked not in [*main, *others]:
        raise bad_request(f"container {asked} is not valid for pod {name_of(pod)}")
    return asked


def _from_node(status: int, text: str) -> ApiError:
    return ApiError(status, _REASONS.get(status, "Unknown"), text.strip() or "the node gave no reason")


def _unreachable(pod: Object, error: Exception) -> ApiError:
    return internal(f"error dialing backend of node {spec_of(pod).get('nodeName')}: {error}")


def _abort(request: web.Request) -> None:
    """Cut the connection: a body already begun can end in no other honest way."""
    if request.transport is not None:
        request.transport.abort()


async def _relay(downstream: web.WebSocketResponse, upstream: Any) -> None:
    """Frames both ways until one side ends; then the other is closed with the same code."""

    async def pump(source: Any, target: Any) -> None:
        async for message in source:
            if message.type is WSMsgType.BINARY:
                await target.send_bytes(message.data)
            elif message.type is WSMsgType.TEXT:
                await target.send_str(message.data)
        await target.close(code=source.close_code or 1000)

    pumps = {asyncio.ensure_future(pump(downstream, upstream)), asyncio.ensure_future(pump(upstream, downstream))}
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

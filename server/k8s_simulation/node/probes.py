"""Probes: one look at a container (httpGet, tcpSocket, exec, grpc), and the counting that makes it a verdict.

Messages are kubelet's (pkg/probe). A look returns an empty text for success. Must not change a container's record:
the runner decides what a verdict means.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from k8s_simulation.node.network import HostNetwork, NetworkFault, PodNetwork

Object = dict[str, Any]
Execute = Callable[[tuple[str, ...], float], Awaitable[tuple[int, str]]]
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Target:
    """What a probe looks at: the pod's address, the container's named ports, and how to run a command in it."""

    network: PodNetwork | HostNetwork
    address: str
    ports: dict[str, int]
    execute: Execute

    def port(self, value: int | str) -> int:
        """A port number, or the number of a named port."""
        return self.ports.get(str(value)) or int(value)


async def look(probe: Object, target: Target) -> str:
    """Look once, within the probe's timeout; why it failed, or an empty text."""
    timeout = float(probe.get("timeoutSeconds") or 1)
    if (action := probe.get("exec")) is not None:
        return await _exec(action, target, timeout)
    if (action := probe.get("httpGet")) is not None:
        return await http_get(action, target, timeout)
    if (action := probe.get("tcpSocket")) is not None:
        return await _tcp(action, target, timeout)
    if (action := probe.get("grpc")) is not None:
        return await _grpc(action, target, timeout)
    return "missing probe handler"


async def _exec(action: Object, target: Target, timeout: float) -> str:
    try:
        code, output = await target.execute(tuple(action.get("command") or ()), timeout)
    except TimeoutError:
        return f'command timed out: "{" ".join(action["command"])}" timed out after {timeout:g}s'
    except OSError as error:
        return str(error)
    return "" if code == 0 else output.strip() or f"command exited with {code}"


async def http_get(action: Object, target: Target, timeout: float) -> str:
    """One HTTP GET; statuses 200 to 399 are success."""
    scheme = str(action.get("scheme") or "HTTP").lower()
    host = str(action.get("host") or target.address)
    port = target.port(action["port"])
    path = str(action.get("path") or "/")
    url = f"{scheme}://{host}:{port}{path if path.startswith('/') else '/' + path}"
    try:
        async with asyncio.timeout(timeout):
            status = await _request(action, target, scheme == "https", host, port)
    except TimeoutError:
        return f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    except (OSError, NetworkFault, ValueError) as error:
        return f'Get "{url}": {_cause(error, host, port)}'
    return "" if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"


async def _request(action: Object, target: Target, tls: bool, host: str, port: int) -> int:
    context: ssl.SSLContext | None = None
    if tls:
        # As kubelet: a probe does not verify certificates.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    made = await target.network.connect(host, port)
    reader, writer = await asyncio.open_connection(sock=made, ssl=context, server_hostname=host if tls else None)
    try:
        headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.34", "Accept": "*/*", "Connection": "close"}
        headers |= {h["name"]: str(h["value"]) for h in action.get("httpHeaders") or []}
        path = str(action.get("path") or "/")
        lines = [f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        words = (await reader.readline()).split()
        if len(words) < 2 or not words[0].startswith(b"HTTP/"):
            raise ValueError("EOF" if not words else "malformed HTTP response")
        return int(words[1])
    finally:
        writer.close()


async def _tcp(action: Object, target: Target, timeout: float) -> str:
    host, port = str(action.get("host") or target.address), target.port(action["port"])
    try:
        async with asyncio.timeout(timeout):
            (await target.network.connect(host, port)).close()
    except TimeoutError:
        return f"dial tcp {host}:{port}: i/o timeout"
    except (OSError, NetworkFault) as error:
        return _cause(error, host, port)
    return ""


def _cause(error: Exception, host: str, port: int) -> str:
    """An error in the words of Go's net package."""
    match error:
        case ConnectionRefusedError():
            return f"dial tcp {host}:{port}: connect: connection refused"
        case ConnectionResetError():
            return "read: connection reset by peer"
        case OSError(errno=113):
            return f"dial tcp {host}:{port}: connect: no route to host"
        case _:
            return str(error)


async def _grpc(action: Object, target: Target, timeout: float) -> str:
    """grpc.health.v1.Health/Check over a hand-made HTTP/2 exchange: one request, headers without compression."""
    port, service = target.port(action["port"]), str(action.get("service") or "")
    address = f"{target.address}:{port}"
    try:
        async with asyncio.timeout(timeout):
            made = await target.network.connect(target.address, port)
            reader, writer = await asyncio.open_connection(sock=made)
            try:
                writer.write(grpc_request(address, service))
                state = await _grpc_answer(reader, writer)
            finally:
                writer.close()
    except TimeoutError:
        return f'timeout: failed to connect service "{address}" within {timeout:g}s: context deadline exceeded'
    except (OSError, NetworkFault, asyncio.IncompleteReadError) as error:
        return f'error: failed to connect service "{address}": {error}'
    names = {0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
    if state is None:
        return "error: health rpc failed"
    return "" if state == 1 else f'service unhealthy (responded with "{names.get(state, state)}")'


def grpc_request(authority: str, service: str) -> bytes:
    """Preface, SETTINGS, HEADERS and DATA of a health check (RFC 9113, RFC 7541 literals without indexing)."""
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "kube-probe/1.34"),
    ]
    block = b"".join(b"\x00" + _literal(name) + _literal(value) for name, value in headers)
    name = service.encode()
    message = b"\x0a" + bytes([len(name)]) + name if name else b""
    data = b"\x00" + struct.pack("!I", len(message)) + message
    return _HTTP2_PREFACE + _frame(4, 0, 0, b"") + _frame(1, 4, 1, block) + _frame(0, 1, 1, data)


def _literal(text: str) -> bytes:
    data = text.encode()
    return (bytes([len(data)]) if len(data) < 127 else bytes([127, len(data) - 127])) + data


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


async def _grpc_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int | None:
    """The serving status, or None when the call ended without one."""
    data = b""
    while True:
        head = await reader.readexactly(9)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        payload = await reader.readexactly(length)
        if kind == 4 and not flags & 1:
            writer.write(_frame(4, 1, 0, b""))
        elif kind == 0:
            data += payload
        if len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[1:5], "big"):
            message = data[5 : 5 + int.from_bytes(data[1:5], "big")]
            return message[1] if message[:1] == b"\x08" and len(message) > 1 else 0
        if kind in {3, 7} or (kind in {0, 1} and flags & 1):
            return None


async def repeat(probe: Object, target: Target, failed: Callable[[str], None], verdict: Callable[[bool], bool]) -> bool:
    """Look again and again: `failed` hears every failure, `verdict` every result that its threshold makes certain.

    Ends when `verdict` returns True, with the result that made it so. Times and thresholds are those of the probe,
    Kubernetes' defaults where absent.
    """
    await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
    need = {True: int(probe.get("successThreshold") or 1), False: int(probe.get("failureThreshold") or 3)}
    last, streak = False, 0
    while True:
        message = await look(probe, target)
        good = not message
        streak = streak + 1 if good is last else 1
        last = good
        if not good:
            failed(message)
        if streak >= need[good] and verdict(good):
            return good
        await asyncio.sleep(float(probe.get("periodSeconds") or 10))

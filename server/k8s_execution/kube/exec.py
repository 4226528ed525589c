"""Runs a command in a container over a WebSocket.

kubernetes_asyncio's own client merges the output channels, speaks v4 only and decodes bytes as text; this one keeps
bytes, speaks v5 and v4, and takes a stream without its final Status for what it is: cut. It must not know what runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp

from k8s_execution.kube import channels
from k8s_execution.kube.answers import StatusError
from k8s_execution.kube.client import Client
from k8s_execution.kube.limits import KubeLimits
from k8s_execution.kube.resources import resource
from k8s_execution.kube.transport import NETWORK_ERRORS
from k8s_execution.ports.cluster import ExecFailed, ExecStream


class Session:
    """One running exec; fulfils `ports.cluster.ExecStream`.

    Whoever calls `stdout` or `wait` reads the socket, so at most one task may be in them at a time; `send` may run
    beside it.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool], limits: KubeLimits) -> None:
        """Hold an open socket with an agreed sub-protocol."""
        self._socket = socket
        self._idle = limits.exec_idle_timeout
        self._tail_limit = limits.exec_stderr_tail
        self._stderr = bytearray()
        self._status = bytearray()
        self._ended = False

    async def send(self, data: bytes) -> None:
        """Write to standard input; waits while the other side does not read. ExecFailed if it is gone or stuck."""
        for frame in channels.stdin_frames(data):
            try:
                async with asyncio.timeout(self._idle):
                    await self._socket.send_bytes(frame)
            except NETWORK_ERRORS as error:
                raise ExecFailed(f"standard input was cut: {type(error).__name__}") from error

    async def stdout(self) -> AsyncIterator[bytes]:
        """Chunks of standard output until the process ends; ExecFailed if the stream is cut."""
        while (frame := await self._next()) is not None:
            if frame:
                yield frame

    async def wait(self) -> tuple[int, bytes]:
        """Exit code and the tail of standard error; ExecFailed if the status never came. Drops unread output."""
        while await self._next() is not None:
            pass
        return channels.exit_code(bytes(self._status)), bytes(self._stderr)

    async def _next(self) -> bytes | None:
        """The next piece of standard output, b"" for any other frame, None at the end."""
        if self._ended:
            return None
        try:
            message = await self._socket.receive(timeout=self._idle)
        except NETWORK_ERRORS as error:
            raise ExecFailed(f"the exec stream was cut: {type(error).__name__}") from error
        if message.type in {aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT}:
            data = message.data.encode() if isinstance(message.data, str) else message.data
            return self._take(data)
        if not self._status:
            raise ExecFailed("the exec stream ended without its status")
        self._ended = True
        return None

    def _take(self, data: bytes) -> bytes:
        channel, payload = (data[0], data[1:]) if data else (channels.STDOUT, b"")
        if channel == channels.STDOUT:
            return payload
        if channel == channels.STDERR:
            self._stderr += payload
            del self._stderr[: -self._tail_limit]
        elif channel == channels.ERROR:
            self._status += payload
        return b""


class Executor:
    """Starts commands through `pods/exec`."""

    def __init__(self, client: Client, limits: KubeLimits) -> None:
        """Hold the client."""
        self._client = client
        self._limits = limits

    @asynccontextmanager
    async def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, stdin: bool = False
    ) -> AsyncIterator[ExecStream]:
        """Start `argv`; leaving the context closes the connection.

        ExecFailed where the API server refuses it for good, Unreachable where it does not answer or says "later".
        """
        socket = await self._open(namespace, pod, container, argv, stdin)
        try:
            if socket.protocol not in channels.PROTOCOLS:
                raise ExecFailed("the server speaks no exec protocol that reports a status")
            yield Session(socket, self._limits)
        finally:
            await socket.close()

    async def _open(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], stdin: bool
    ) -> aiohttp.ClientWebSocketResponse[bool]:
        path = resource("Pod").item(namespace, pod) + "/exec"
        query = [
            ("container", container),
            ("stdin", str(stdin).lower()),
            ("stdout", "true"),
            ("stderr", "true"),
            ("tty", "false"),
            *(("command", argument) for argument in argv),
        ]
        try:
            return await self._client.web_socket(path, query, channels.PROTOCOLS)
        except StatusError as error:
            raise ExecFailed(f"exec in {namespace}/{pod}/{container}: {error}") from error

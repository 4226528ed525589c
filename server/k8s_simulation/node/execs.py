"""Commands beside a running container: exec sessions of the API, exec probes, lifecycle hooks.

`run` is for short commands with a limit; `Session` speaks the remote command protocol over a WebSocket
(k8s.io/apimachinery remotecommand: v5.channel.k8s.io and v4.channel.k8s.io), where the first byte of a frame is its
channel: 0 stdin, 1 stdout, 2 stderr, 3 status, 4 resize, and in v5 255 closes the channel named by its payload.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import secrets
import signal
import struct
import termios
from dataclasses import dataclass
from fcntl import ioctl
from typing import Any

from aiohttp import WSMsgType, web

from k8s_simulation.node.memory import tree
from k8s_simulation.node.sandbox import Command

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_CHUNK = 32 * 1024
_OUTPUT_LIMIT = 10 * 1024  # of a probe, as kubelet's maxProbeMessageLength is applied to it


@dataclass(frozen=True, slots=True)
class Streams:
    """Which streams an exec request attaches."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


async def _start(command: Command, stdin: int, stdout: int, stderr: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command.argv,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=dict(command.env),
        cwd=command.cwd,
        pass_fds=command.descriptors,
        start_new_session=True,
        limit=_CHUNK * 8,
    )


def _kill(process: asyncio.subprocess.Process) -> None:
    for pid in reversed(tree(process.pid)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # ended by itself


async def run(command: Command, timeout: float) -> tuple[int, str]:
    """Run to the end: exit code and the beginning of its output. Raises TimeoutError after killing it, OSError."""
    pipe = asyncio.subprocess.PIPE
    process = await _start(command, asyncio.subprocess.DEVNULL, pipe, asyncio.subprocess.STDOUT)
    assert process.stdout is not None
    output = b""
    try:
        async with asyncio.timeout(timeout):
            while chunk := await process.stdout.read(_CHUNK):
                output += chunk[: _OUTPUT_LIMIT - len(output)]
            return await process.wait(), output.decode("utf-8", "replace")
    finally:
        if process.returncode is None:
            _kill(process)
            await process.wait()


class Session:
    """One exec over one WebSocket."""

    def __init__(self, socket: web.WebSocketResponse, streams: Streams) -> None:
        self._socket = socket
        self._streams = streams

    async def serve(self, command: Command, name: str) -> None:
        """Run the command to its end with the client's streams; tell its status on the status channel."""
        # kubectl takes the first frame as the sign that the connection stands.
        await self._socket.send_bytes(bytes([STDOUT if self._streams.stdout else STATUS]))
        try:
            if self._streams.tty:
                code, missing = await _Terminal(self._socket, self._streams).serve(command)
            else:
                code, missing = await self._piped(command)
        except OSError as error:
            code, missing = 127, str(error)
        await self._socket.send_bytes(bytes([STATUS]) + json.dumps(_status(code, missing, name)).encode())

    async def _piped(self, command: Command) -> tuple[int, str]:
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        process = await _start(command, pipe if self._streams.stdin else null, pipe, pipe)
        assert process.stdout is not None and process.stderr is not None
        reader = asyncio.create_task(self._receive(process))
        try:
            failed, _ = await asyncio.gather(
                self._send(STDERR, process.stderr, command.missing, wanted=self._streams.stderr),
                self._send(STDOUT, process.stdout, b"\0never", wanted=self._streams.stdout),
            )
            return await process.wait(), failed
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            if process.returncode is None:
                _kill(process)
                await process.wait()

    async def _send(self, channel: int, stream: asyncio.StreamReader, missing: bytes, *, wanted: bool) -> str:
        """Send a stream on; if it begins with `missing`, it is our tool's message, which is returned instead."""
        first = True
        while chunk := await stream.read(_CHUNK):
            if first:
                # The message may come in pieces: wait until it is clear whether it is one.
                while missing.startswith(chunk) and (more := await stream.read(_CHUNK)):
                    chunk += more
                if chunk.startswith(missing):
                    return (chunk + await stream.read()).decode("utf-8", "replace").strip()
            first = False
            if wanted:
                await self._socket.send_bytes(bytes([channel]) + chunk)
        return ""

    async def _receive(self, process: asyncio.subprocess.Process) -> None:
        """Feed stdin until the client closes it or goes away; a client that goes away ends the command."""
        stdin = process.stdin
        try:
            async for message in self._socket:
                if message.type is not WSMsgType.BINARY or not message.data or stdin is None:
                    continue
                if message.data[0] == STDIN and len(message.data) > 1:
                    stdin.write(message.data[1:])
                    await stdin.drain()
                elif message.data[0] == CLOSE and message.data[1:2] == bytes([STDIN]):
                    stdin.close()
        except (BrokenPipeError, ConnectionResetError):
            async for _ in self._socket:  # the command closed its stdin; only the client's going away matters now
                pass
        if process.returncode is None:
            _kill(process)


class _Terminal:
    """An exec with a terminal: one pseudo-terminal instead of pipes."""

    def __init__(self, socket: web.WebSocketResponse, streams: Streams) -> None:
        self._socket = socket
        self._streams = streams

    async def serve(self, command: Command) -> tuple[int, str]:
        """Run to the end; exit code, and our tool's message if the command was not found."""
        primary, secondary = pty.openpty()
        loop = asyncio.get_running_loop()
        os.set_blocking(primary, False)
        # `setsid --ctty` makes the terminal the controlling one, so that interrupts reach the command.
        wrapped = Command(("setsid", "--ctty", "--wait", *command.argv), command.env, command.cwd, command.descriptors)
        try:
            process = await _start(wrapped, secondary, secondary, secondary)
        finally:
            os.close(secondary)
        ended: asyncio.Queue[bytes] = asyncio.Queue()
        loop.add_reader(primary, _read_terminal, primary, ended)
        reader = asyncio.create_task(self._receive(primary, process))
        missing = ""
        try:
            while chunk := await ended.get():
                if chunk.startswith(command.missing):
                    missing = chunk.decode("utf-8", "replace").strip()
                elif not missing:
                    await self._socket.send_bytes(bytes([STDOUT]) + chunk)
            return await process.wait(), missing
        finally:
            loop.remove_reader(primary)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            if process.returncode is None:
                _kill(process)
                await process.wait()
            os.close(primary)

    async def _receive(self, primary: int, process: asyncio.subprocess.Process) -> None:
        async for message in self._socket:
            if message.type is not WSMsgType.BINARY or len(message.data) < 2:
                continue
            if message.data[0] == STDIN and self._streams.stdin:
                await asyncio.to_thread(_write_all, primary, message.data[1:])
            elif message.data[0] == RESIZE:
                size = json.loads(message.data[1:])
                packed = struct.pack("HHHH", int(size.get("Height", 24)), int(size.get("Width", 80)), 0, 0)
                ioctl(primary, termios.TIOCSWINSZ, packed)
        if process.returncode is None:
            _kill(process)


def _read_terminal(primary: int, ended: asyncio.Queue[bytes]) -> None:
    """Queue output; an empty chunk when the last user of the terminal is gone (EIO on Linux)."""
    try:
        ended.put_nowait(os.read(primary, _CHUNK))
    except BlockingIOError:
        return
    except OSError:
        ended.put_nowait(b"")


def _write_all(primary: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(primary, data) :]
        except BlockingIOError:
            os.sched_yield()


def _status(code: int, missing: str, name: str) -> dict[str, Any]:
    """The Status that ends an exec, in Kubernetes' words (k8s.io/cri-client remotecommand, containerd)."""
    if missing:
        where = f"stat {name}: no such file or directory" if "/" in name else "executable file not found in $PATH"
        reason = f'exec: "{name}": {where}'
        if "Permission denied" in missing:
            reason = f'exec: "{name}": permission denied'
        message = (
            "Internal error occurred: Internal error occurred: error executing command in container: failed to exec in "
            f'container: failed to start exec "{secrets.token_hex(32)}": OCI runtime exec failed: exec failed: '
            f"unable to start container process: {reason}"
        )
        causes = [{"message": message.removeprefix("Internal error occurred: ")}]
        details: dict[str, Any] = {"causes": causes}
        return {
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": "InternalError",
            "details": details,
            "code": 500,
        }
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    code = 128 - code if code < 0 else code
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: command terminated with exit code {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }

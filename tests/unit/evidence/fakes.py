"""Fakes of the ports that evidence collection uses: an archive in memory, execs that are scripted or real processes."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from k8s_execution.domain.faults import NotFound
from k8s_execution.ports.archive import StoredFile
from k8s_execution.ports.cluster import ExecFailed, ExecStream


@dataclass
class MemoryArchive:
    """Keeps files in a dictionary; a path in `refuses` cannot be stored, as on a full disk."""

    files: dict[str, bytes] = field(default_factory=dict)
    bundles: dict[str, bytes] = field(default_factory=dict)
    refuses: str = ""

    async def put(self, execution_id: str, path: str, chunks: AsyncIterator[bytes]) -> StoredFile:
        if self.refuses and self.refuses in path:
            raise OSError(28, "No space left on device")
        data = b"".join([c async for c in chunks])
        self.files[path] = data
        return StoredFile(path, len(data), hashlib.sha256(data).hexdigest())

    async def get(self, execution_id: str, path: str) -> AsyncGenerator[bytes, None]:
        yield self.files[path]

    async def list(self, execution_id: str) -> list[StoredFile]:
        return [StoredFile(p, len(d), hashlib.sha256(d).hexdigest()) for p, d in sorted(self.files.items())]

    async def put_bundle(self, chunks: AsyncIterator[bytes]) -> StoredFile:
        raise NotImplementedError

    async def get_bundle(self, bundle_id: str) -> AsyncGenerator[bytes, None]:
        if bundle_id not in self.bundles:
            raise NotFound("no such bundle")
        yield self.bundles[bundle_id]

    async def has_bundle(self, bundle_id: str) -> bool:
        return bundle_id in self.bundles


@dataclass
class ScriptedStream:
    """One exec whose end is known beforehand; `cut` leaves the status out, `deaf` refuses standard input."""

    output: bytes = b""
    code: int = 0
    complaint: bytes = b""
    cut: bool = False
    deaf: bool = False
    chunk: int = 1 << 16
    received: bytearray = field(default_factory=bytearray)

    async def send(self, data: bytes) -> None:
        if self.deaf:
            raise ExecFailed("standard input was cut")
        self.received += data

    async def stdout(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self.output), self.chunk):
            yield self.output[at : at + self.chunk]
        if self.cut:
            raise ExecFailed("the exec stream was cut")

    async def wait(self) -> tuple[int, bytes]:
        if self.cut:
            raise ExecFailed("the exec stream ended without its status")
        return self.code, self.complaint


@dataclass
class ScriptedExec:
    """Answers each agent command (its first word) with a prepared stream, and notes what was called."""

    streams: dict[str, ScriptedStream]
    calls: list[list[str]] = field(default_factory=list)

    @asynccontextmanager
    async def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, stdin: bool = False
    ) -> AsyncIterator[ExecStream]:
        assert container == "collector"
        self.calls.append(list(argv))
        yield self.streams[argv[1]]


class ProcessStream:
    """A local process, spoken to as through exec."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ExecFailed("standard input was cut") from error

    async def stdout(self) -> AsyncIterator[bytes]:
        assert self._process.stdout is not None
        while chunk := await self._process.stdout.read(65536):
            yield chunk

    async def wait(self) -> tuple[int, bytes]:
        assert self._process.stderr is not None
        complaint = await self._process.stderr.read()
        return await self._process.wait(), complaint


@dataclass
class AgentExec:
    """Runs the real agent on a folder that stands for the pod's shared volume."""

    binary: Path
    shared: Path

    @asynccontextmanager
    async def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, stdin: bool = False
    ) -> AsyncIterator[ExecStream]:
        process = await asyncio.create_subprocess_exec(
            self.binary,
            *argv[1:],
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "K8S_EXECUTION_SHARED": str(self.shared)},
        )
        try:
            yield ProcessStream(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            process._transport.close()  # type: ignore[attr-defined]  # else its pipes are closed when collected


@dataclass
class SilentExec:
    """An exec that starts and never says anything, as where the agent waits for a pipe that user code put there."""

    argv: list[str] = field(default_factory=list)
    closed: bool = False

    @asynccontextmanager
    async def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, stdin: bool = False
    ) -> AsyncIterator[ExecStream]:
        self.argv = list(argv)
        try:
            await asyncio.Event().wait()
            yield ScriptedStream()
        finally:
            self.closed = True

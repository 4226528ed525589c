"""Test code on its way into a pod: inline files packed, bundles framed for `agent receive` (docs/agent.md).

Framed because exec cannot half-close standard input in its version 4 protocol. It must not choose the source: that is
`pods`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from k8s_execution.domain.facts import PodFact
from k8s_execution.domain.naming import COLLECTOR_CONTAINER
from k8s_execution.domain.plan import ConfigFile
from k8s_execution.ports.cluster import Exec, ExecFailed, ExecStream

AGENT = "/k8s-execution-agent"
"""The program in the agent's own image: the copy on the shared volume is within reach of user code."""

FRAME_BYTES = 256 * 1024
LONGEST_ANSWER = 64 * 1024
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Received:
    """The agent's confirmation: files and bytes unpacked, SHA-256 of the compressed bytes."""

    files: int
    bytes: int
    sha256: str


def pack_inline(files: Sequence[ConfigFile]) -> bytes:
    """The files as tar.gz; the same files give the same bytes, in whatever order they are named."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(files, key=lambda f: f.path):
            content = file.content.encode()
            entry = tarfile.TarInfo(file.path)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), compresslevel=6, mtime=0)


async def send_source(exec_: Exec, pod: PodFact, chunks: AsyncIterator[bytes]) -> Received:
    """Stream a tar.gz into the pod's work folder; the agent has unpacked it and set the source marker.

    Repeatable: an agent that has the source already reads the stream and confirms. ExecFailed if the stream was cut,
    the agent refused the archive, or it confirms other bytes than were sent.
    """
    argv = [AGENT, "receive"]
    total = hashlib.sha256()
    async with exec_.exec(pod.namespace, pod.name, COLLECTOR_CONTAINER, argv, stdin=True) as stream:
        cut: ExecFailed | None = None
        try:
            await _send(stream, chunks, total)
        except ExecFailed as fault:  # the agent may have refused the archive and gone: its answer says why
            cut = fault
        try:
            text = await read_all(stream, LONGEST_ANSWER)
            code, complaint = await stream.wait()
        except ExecFailed as fault:
            raise cut or fault from fault
    answer = _answer(text, code, complaint)
    if cut is not None:
        raise cut
    if answer.sha256 != total.hexdigest():
        raise ExecFailed("the pod has other test code than was sent")
    return answer


async def _send(stream: ExecStream, chunks: AsyncIterator[bytes], total: hashlib._Hash) -> None:
    async for chunk in chunks:
        total.update(chunk)
        for at in range(0, len(chunk), FRAME_BYTES):
            piece = chunk[at : at + FRAME_BYTES]
            await stream.send(_LENGTH.pack(len(piece)) + piece)
    await stream.send(_LENGTH.pack(0))


def _answer(text: bytes, code: int, complaint: bytes) -> Received:
    try:
        answer = json.loads(text)
        if code == 0:
            return Received(int(answer["files"]), int(answer["bytes"]), str(answer["sha256"]))
        reason = str(answer["error"])
    except (ValueError, KeyError, TypeError):
        reason = complaint.decode("utf-8", "replace").strip() or "no answer"
    raise ExecFailed(f"the test code could not be unpacked in the pod: {reason[:500]}")


async def read_all(stream: ExecStream, limit: int) -> bytes:
    """All of standard output; ExecFailed if it is longer than `limit`."""
    data = b""
    async for chunk in stream.stdout():
        data += chunk
        if len(data) > limit:
            raise ExecFailed("the agent's answer is too long")
    return data

"""Downloads the stored files of an execution into a folder, checked against their SHA-256.

Paths come from the service, which got them from a pod: one that would leave the folder is refused, and nothing is
written through a link. A file appears under its name only when it is whole.
"""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from k8s_execution_client.client import ExecutionClient
from k8s_execution_client.faults import ServiceFault

TRIES = 3


async def fetch(client: ExecutionClient, execution_id: str, path: str, folder: Path) -> Path:
    """Write the stored file `path` below `folder`; where it is now. Raises ServiceFault and OSError."""
    target = _inside(folder, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, TRIES + 1):
        try:
            await _download(client, execution_id, path, target)
        except ServiceFault as fault:
            if attempt == TRIES or fault.code not in {"UNAVAILABLE", "DATA_LOSS"}:
                raise
        else:
            break
    return target


async def _download(client: ExecutionClient, execution_id: str, path: str, target: Path) -> None:
    partial = target.with_name(f".{target.name}.part")
    try:
        with partial.open("wb") as output:
            await _receive(client, execution_id, path, output)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


async def _receive(client: ExecutionClient, execution_id: str, path: str, output: BinaryIO) -> None:
    digest, size, said = hashlib.sha256(), 0, ("", 0)
    async with aclosing(client.download(execution_id, path)) as pieces:
        async for piece in pieces:
            if piece.HasField("metadata"):
                said = (piece.metadata.sha256, piece.metadata.size_bytes)
            digest.update(piece.chunk)
            size += output.write(piece.chunk)
    if said != (digest.hexdigest(), size):
        raise ServiceFault("DATA_LOSS", f"{path} arrived with {size} bytes that differ from what was stored")


def _inside(folder: Path, path: str) -> Path:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\x00" in path:
        raise ServiceFault("DATA_LOSS", f"the service names a file outside the folder: {path!r}")
    target = folder.joinpath(*parts)
    if not target.parent.resolve().is_relative_to(folder.resolve()) or target.is_symlink():
        raise ServiceFault("DATA_LOSS", f"{target} leads through a link; choose an empty folder")
    return target

"""The archive in a local folder: evidence by execution and path, uploaded bundles by content.

    root/executions/<execution id>/files/<path>   and index.json (size and SHA-256 of each, known when it was put)
    root/bundles/b-<first 26 digits of the SHA-256>

A file appears whole or not at all (temporary file, fsync, rename). Paths are checked before they touch the disk. Disk
work runs in the executor. It must not know what the files mean.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import IO, TypeVar

from k8s_execution.domain.faults import NotFound, TooLarge
from k8s_execution.ports.archive import StoredFile

T = TypeVar("T")

CHUNK = 256 << 10
LONGEST_PATH = 1024
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_BUNDLE = re.compile(r"b-[0-9a-f]{26}")


def checked_path(path: str) -> str:
    """The path if it is relative, without `.`, `..`, empty parts, NUL or backslash; ValueError with the rule."""
    parts = path.split("/")
    unsafe = "\0" in path or "\\" in path or any(part in {"", ".", ".."} for part in parts)
    if unsafe or len(path.encode()) > LONGEST_PATH:
        raise ValueError(f"{path[:80]!r} is no relative path without '.', '..' and empty parts")
    return path


class LocalArchive:
    """Fulfils `ports.archive.Archive` on a folder that only this user may read."""

    def __init__(self, root: Path, executor: Executor, *, bundle_limit: int) -> None:
        """Make the folder if need be; `bundle_limit` is the largest bundle in bytes."""
        self._root = root
        self._executor = executor
        self._bundle_limit = bundle_limit
        self._indexes: dict[str, asyncio.Lock] = {}
        for folder in (root, root / "executions", root / "bundles"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def put(self, execution_id: str, path: str, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Write a file whole or not at all; replaces an earlier one."""
        target = self._folder(execution_id) / "files" / checked_path(path)
        temporary, size, digest = await self._receive(chunks, None)
        stored = StoredFile(path, size, digest)
        async with self._indexes.setdefault(execution_id, asyncio.Lock()):
            await self._run(lambda: _place(temporary, target))
            await self._run(lambda: self._remember(execution_id, stored))
        return stored

    async def get(self, execution_id: str, path: str) -> AsyncIterator[bytes]:
        """Chunks of a file; NotFound if there is none."""
        file = self._folder(execution_id) / "files" / checked_path(path)
        async for chunk in self._chunks(file, f"execution {execution_id} kept no file {path!r}"):
            yield chunk

    async def list(self, execution_id: str) -> list[StoredFile]:
        """All files of an execution by path."""
        index = await self._run(lambda: self._index(execution_id))
        return [index[path] for path in sorted(index)]

    async def put_bundle(self, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Store an uploaded tar.gz under its content's name; TooLarge over the limit, then nothing stays."""
        temporary, size, digest = await self._receive(chunks, self._bundle_limit)
        bundle = f"b-{digest[:26]}"
        await self._run(lambda: _place(temporary, self._root / "bundles" / bundle))
        return StoredFile(bundle, size, digest)

    async def get_bundle(self, bundle_id: str) -> AsyncIterator[bytes]:
        """Chunks of a bundle; NotFound if there is none."""
        async for chunk in self._chunks(self._bundle(bundle_id), f"there is no bundle {bundle_id[:80]!r}"):
            yield chunk

    async def has_bundle(self, bundle_id: str) -> bool:
        """Whether that bundle is stored."""
        if _BUNDLE.fullmatch(bundle_id) is None:
            return False
        return await self._run(self._bundle(bundle_id).is_file)

    def _folder(self, execution_id: str) -> Path:
        if _ID.fullmatch(execution_id) is None:
            raise ValueError("not an execution id")
        return self._root / "executions" / execution_id

    def _bundle(self, bundle_id: str) -> Path:
        if _BUNDLE.fullmatch(bundle_id) is None:
            raise NotFound(f"there is no bundle {bundle_id[:80]!r}", "UploadBundle answers the id")
        return self._root / "bundles" / bundle_id

    async def _receive(self, chunks: AsyncIterator[bytes], limit: int | None) -> tuple[Path, int, str]:
        """Write chunks to a temporary file, synced; its place, size and SHA-256. Nothing stays after a fault."""
        temporary = self._root / f".incoming-{secrets.token_hex(8)}"
        digest, size = hashlib.sha256(), 0
        file = await self._run(lambda: temporary.open("xb"))
        try:
            async for chunk in chunks:
                size += len(chunk)
                _check_size(size, limit)
                digest.update(chunk)
                await self._run(lambda data=chunk: file.write(data))  # type: ignore[misc]  # bound at once, run at once
            await self._run(lambda: _sync(file))
        except BaseException:
            file.close()
            temporary.unlink(missing_ok=True)
            raise
        return temporary, size, digest.hexdigest()

    async def _chunks(self, path: Path, missing: str) -> AsyncIterator[bytes]:
        try:
            file = await self._run(lambda: path.open("rb"))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFound(missing) from error
        try:
            while chunk := await self._run(lambda: file.read(CHUNK)):
                yield chunk
        finally:
            file.close()

    def _index(self, execution_id: str) -> dict[str, StoredFile]:
        folder = self._folder(execution_id)
        try:
            rows = json.loads((folder / "index.json").read_text())
        except (FileNotFoundError, ValueError):
            return _rebuilt(folder / "files")
        return {path: StoredFile(path, size, digest) for path, (size, digest) in rows.items()}

    def _remember(self, execution_id: str, stored: StoredFile) -> None:
        index = {**self._index(execution_id), stored.path: stored}
        temporary = self._root / f".incoming-{secrets.token_hex(8)}"
        temporary.write_text(json.dumps({path: (f.bytes, f.sha256) for path, f in index.items()}))
        _place(temporary, self._folder(execution_id) / "index.json")

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _check_size(size: int, limit: int | None) -> None:
    if limit is not None and size > limit:
        raise TooLarge(f"the bundle is larger than {limit} bytes", "exclude what the tests do not need")


def _place(temporary: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary.replace(target)
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _rebuilt(files: Path) -> dict[str, StoredFile]:
    """The index of a folder whose index file was lost."""
    found: dict[str, StoredFile] = {}
    for path in sorted(p for p in files.rglob("*") if p.is_file()):
        name = path.relative_to(files).as_posix()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[name] = StoredFile(name, path.stat().st_size, digest)
    return found

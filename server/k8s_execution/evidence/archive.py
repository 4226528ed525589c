"""The archive in a local folder: evidence by execution and path, uploaded bundles by content.

    root/executions/<execution id>/files/<path>   the kept files
    root/executions/<execution id>/index.jsonl    size, time and SHA-256 of each, known when it was put
    root/bundles/b-<first 26 digits of the SHA-256>
    root/.incoming-*                              files being written

A file appears whole or not at all (temporary file, fsync, rename). The index only saves reading: what it does not know
(a lost index, an end between rename and index line) is hashed again. Paths are checked before they touch the disk, and
all disk work and hashing runs in the executor. Several processes may share the folder. It must not know what the files
mean.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

from k8s_execution.domain.faults import NotFound, TooLarge
from k8s_execution.evidence import files
from k8s_execution.ports.archive import StoredFile

T = TypeVar("T")

CHUNK = 256 << 10
LONGEST_PATH = 1024
LONGEST_NAME = 255
"""Most bytes of one part of a path that Linux file systems take (NAME_MAX)."""
LEFT_BEHIND_AFTER = 24 * 3600.0
"""Seconds after which a temporary file belongs to a process that ended while it wrote."""
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_BUNDLE = re.compile(r"b-[0-9a-f]{26}")


def checked_path(path: str) -> str:
    """The path if it is relative, without `.`, `..`, empty parts, NUL or backslash; ValueError with the rule."""
    parts = path.split("/")
    unsafe = "\0" in path or "\\" in path or any(part in {"", ".", ".."} for part in parts)
    try:
        long = len(path.encode()) > LONGEST_PATH or any(len(part.encode()) > LONGEST_NAME for part in parts)
    except UnicodeEncodeError:  # a lone surrogate has no bytes
        unsafe, long = True, False
    if unsafe or long:
        rule = (
            f"of at most {LONGEST_PATH} bytes ({LONGEST_NAME} a part)" if long else "without '.', '..' or empty parts"
        )
        raise ValueError(f"{path[:80]!r} is no relative path {rule}")
    return path


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """One bundle; `used_at` is when it was last uploaded or asked for, in seconds since the epoch."""

    id: str
    bytes: int
    used_at: float


class LocalArchive:
    """Fulfils `ports.archive.Archive` on a folder that only this user may read."""

    def __init__(self, root: Path, executor: Executor, *, bundle_limit: int) -> None:
        """Make the folder if need be; `bundle_limit` is the largest bundle in bytes."""
        self._root = root
        self._executor = executor
        self._bundle_limit = bundle_limit
        for folder in (root, root / "executions", root / "bundles"):
            files.make_folder(folder)
        files.remove_left_behind(root, time.time() - LEFT_BEHIND_AFTER)

    async def put(self, execution_id: str, path: str, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Write a file whole or not at all; replaces an earlier one. ValueError for an unsafe path."""
        folder = self._folder(execution_id)
        target = folder / "files" / checked_path(path)

        def place(incoming: _Incoming) -> None:
            stat = incoming.path.stat()  # of this file, whatever another put to the same path does
            files.place(incoming.path, target)
            files.remember(folder, path, stat, incoming.digest)

        incoming = await self._receive(chunks, None, place)
        return StoredFile(path, incoming.size, incoming.digest)

    async def get(self, execution_id: str, path: str) -> AsyncIterator[bytes]:
        """Chunks of a file; NotFound if there is none."""
        file = self._folder(execution_id) / "files" / checked_path(path)
        async for chunk in self._chunks(file, f"execution {execution_id} kept no file {path[:80]!r}"):
            yield chunk

    async def list(self, execution_id: str) -> list[StoredFile]:
        """All files of an execution by path."""
        folder = self._folder(execution_id)
        return await self._run(lambda: files.listed(folder))

    async def executions(self) -> Sequence[str]:
        """Ids of the executions of which something is kept."""
        folder = self._root / "executions"
        return await self._run(lambda: sorted(p.name for p in folder.iterdir() if _ID.fullmatch(p.name)))

    async def delete(self, execution_id: str) -> None:
        """Remove all that is kept of an execution; nothing happens if nothing is."""
        folder = self._folder(execution_id)
        await self._run(lambda: files.remove_folder(folder))

    async def put_bundle(self, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Store an uploaded tar.gz under its content's name; TooLarge over the limit, then nothing stays."""
        bundles = self._root / "bundles"
        incoming = await self._receive(
            chunks, self._bundle_limit, lambda i: files.place(i.path, bundles / _bundle_id(i.digest))
        )
        return StoredFile(_bundle_id(incoming.digest), incoming.size, incoming.digest)

    async def get_bundle(self, bundle_id: str) -> AsyncIterator[bytes]:
        """Chunks of a bundle; NotFound if there is none."""
        async for chunk in self._chunks(self._bundle(bundle_id), f"there is no bundle {bundle_id[:80]!r}"):
            yield chunk

    async def has_bundle(self, bundle_id: str) -> bool:
        """Whether that bundle is stored; its age counts from now, so that it outlives the execution that asks."""
        if _BUNDLE.fullmatch(bundle_id) is None:
            return False
        path = self._bundle(bundle_id)
        return await self._run(lambda: files.touched(path))

    async def bundles(self) -> Sequence[StoredBundle]:
        """All bundles, the one longest unused first."""
        folder = self._root / "bundles"
        found = await self._run(lambda: files.sizes_and_times(folder))
        kept = [StoredBundle(name, size, used) for name, size, used in found if _BUNDLE.fullmatch(name)]
        return sorted(kept, key=lambda b: (b.used_at, b.id))

    async def delete_bundle(self, bundle_id: str) -> None:
        """Remove a bundle; nothing happens if there is none. Who reads it at this moment reads it to its end."""
        path = self._bundle(bundle_id)
        await self._run(lambda: path.unlink(missing_ok=True))

    async def delete_bundles_unused_since(self, moment: float) -> Sequence[str]:
        """Remove bundles not uploaded or asked for since `moment` (seconds since the epoch); the ids of those removed.

        Leave executions time: a bundle is asked for when its execution is accepted, read until its last step starts.
        """
        old = [b.id for b in await self.bundles() if b.used_at < moment]
        for bundle_id in old:
            await self.delete_bundle(bundle_id)
        return old

    def _folder(self, execution_id: str) -> Path:
        if _ID.fullmatch(execution_id) is None:
            raise ValueError(f"{execution_id[:80]!r} is no execution id")
        return self._root / "executions" / execution_id

    def _bundle(self, bundle_id: str) -> Path:
        if _BUNDLE.fullmatch(bundle_id) is None:
            raise NotFound(f"there is no bundle {bundle_id[:80]!r}", "UploadBundle answers the id")
        return self._root / "bundles" / bundle_id

    async def _receive(
        self, chunks: AsyncIterator[bytes], limit: int | None, place: Callable[[_Incoming], None]
    ) -> _Incoming:
        """Write chunks to a temporary file and put it into its place; nothing stays after a fault or a cancellation."""
        incoming = _Incoming(self._root / f"{files.INCOMING}{secrets.token_hex(8)}", limit)
        try:
            async for chunk in chunks:
                await self._run(lambda data=chunk: incoming.write(data))  # type: ignore[misc]  # bound at once, run at once
            await self._run(lambda: incoming.finish(place))
        except BaseException:
            await self._run(incoming.discard)
            raise
        return incoming

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

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


@dataclass(slots=True)
class _Incoming:
    """A file on its way. The lock is for a cancelled caller, whose last write may still run when it discards."""

    path: Path
    limit: int | None
    size: int = 0
    digest: str = ""
    _file: IO[bytes] | None = None
    _hash: Any = field(default_factory=hashlib.sha256)  # the type has no public name
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _discarded: bool = False

    def write(self, chunk: bytes) -> None:
        """Take a chunk; TooLarge once the limit is passed."""
        with self._lock:
            self.size += len(chunk)
            if self.limit is not None and self.size > self.limit:
                raise TooLarge(f"the bundle is larger than {self.limit} bytes", "exclude what the tests do not need")
            self._open().write(chunk)
            self._hash.update(chunk)

    def finish(self, place: Callable[[_Incoming], None]) -> None:
        """Make the bytes durable, then let `place` move the file."""
        with self._lock:
            files.sync_and_close(self._open())
            self.digest = self._hash.hexdigest()
            place(self)

    def discard(self) -> None:
        """Close and remove what was not moved."""
        with self._lock:
            self._discarded = True
            if self._file is not None:
                self._file.close()
                self.path.unlink(missing_ok=True)

    def _open(self) -> IO[bytes]:
        if self._discarded:
            raise ValueError("the file was given up")
        if self._file is None:
            self._file = self.path.open("xb")
        return self._file


def _bundle_id(digest: str) -> str:
    return f"b-{digest[:26]}"

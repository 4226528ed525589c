"""The archive: bundles in, evidence out; files by execution and relative path."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One stored file: size and SHA-256 (hex)."""

    path: str
    bytes: int
    sha256: str


class Archive(Protocol):
    """Durable files. Paths are relative, `/`-separated and checked: no `..`, no absolute, no NUL."""

    async def put(self, execution_id: str, path: str, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Write a file whole or not at all; replaces an earlier one."""
        ...

    def get(self, execution_id: str, path: str) -> AsyncIterator[bytes]:
        """Chunks of a file; NotFound if there is none."""
        ...

    async def list(self, execution_id: str) -> list[StoredFile]:
        """All files of an execution by path."""
        ...

    async def put_bundle(self, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Store an uploaded tar.gz; its path is the bundle id `b-…`. TooLarge over the limit."""
        ...

    def get_bundle(self, bundle_id: str) -> AsyncIterator[bytes]:
        """Chunks of a bundle; NotFound if there is none."""
        ...

    async def has_bundle(self, bundle_id: str) -> bool:
        """Whether that bundle is stored."""
        ...

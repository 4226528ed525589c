"""An upload in pieces as a stream of bytes, judged on the way: whoever stores it meets the fault before the end.

The archive stores a file whole or not at all, so an exception out of `chunks` leaves nothing behind. It must not store
or buffer: one piece is held at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from k8s_execution.domain.faults import Problem, ValidationFailed
from k8s_execution.transports.tarball import Inspector, Unfit
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as pb

_AGAIN = "pack it again, for example with tar -czf, and send all of it"


class Upload:
    """One upload. `files` counts what the archive holds, once `chunks` came to its end."""

    def __init__(self, pieces: AsyncIterator[pb.UploadBundleRequest], in_thread: Callable[..., Awaitable[Any]]) -> None:
        """`pieces` are judged by their field rules already; `in_thread` takes the work of hashing and unpacking."""
        self._pieces = pieces
        self._in_thread = in_thread
        self._said = pb.BundleMetadata()
        self._hash = hashlib.sha256()
        self._size = 0
        self._inspector = Inspector()
        self.files = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes in order; ValidationFailed where they are not what they should be."""
        first = True
        async for piece in self._pieces:
            if piece.WhichOneof("part") == "metadata":
                if not first:
                    raise _refused("metadata", "", "upload.first", "must be in the first message only", "leave it out")
                self._said = piece.metadata
            elif piece.chunk:
                await self._in_thread(self._look, piece.chunk)
                yield piece.chunk
            first = False
        await self._in_thread(self._finish)

    def _look(self, data: bytes) -> None:
        self._hash.update(data)
        self._size += len(data)
        try:
            self._inspector.feed(data)
        except Unfit as unfit:
            raise _unfit(unfit) from unfit

    def _finish(self) -> None:
        digest = self._hash.hexdigest()
        if self._said.HasField("size_bytes") and self._said.size_bytes != self._size:
            value, message = str(self._said.size_bytes), f"must be the number of bytes sent, which is {self._size}"
            raise _refused("metadata.size_bytes", value, "bundle.size", message, "send all of the archive")
        if self._said.sha256 and self._said.sha256 != digest:
            message = f"must be the SHA-256 of the bytes sent, which is {digest}"
            raise _refused("metadata.sha256", self._said.sha256, "bundle.sha256", message, "send it again, unaltered")
        try:
            self.files = self._inspector.finish()
        except Unfit as unfit:
            raise _unfit(unfit) from unfit


def _unfit(unfit: Unfit) -> ValidationFailed:
    value = unfit.value.encode("utf-8", "replace").decode()
    return _refused("chunk", value, unfit.rule, unfit.message, _AGAIN)


def _refused(field: str, value: str, rule: str, message: str, hint: str) -> ValidationFailed:
    return ValidationFailed([Problem(field, value[:80], rule, message, hint)])

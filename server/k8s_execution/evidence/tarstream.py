"""A tar stream from the agent, read entry by entry as it arrives.

Only what `agent tar` writes is accepted: regular files with relative names, with pax headers for long ones (POSIX
pax interchange format; Go's archive/tar). Links, devices, sparse files and names that lead outside are an error, not
passed over: the stream comes out of a pod where user code runs. It must not store anything (`pods` does).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

BLOCK = 512
LONGEST_PAX = 64 * 1024
LONGEST_NAME = 4096
LONGEST_PART = 255


class BadStream(ValueError):
    """The stream is cut, or no tar stream of ours."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One regular file: its name and size in bytes; its contents follow in the stream."""

    name: str
    size: int


class TarStream:
    """Reads one stream: `next`, then `contents` to its end, and again, until `next` gives None."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        """`chunks` are the stream's bytes, cut anyhow."""
        self._chunks = chunks
        self._buffer = b""
        self._left = 0
        self._padding = 0

    async def next(self) -> Entry | None:
        """The next file; None at the end mark. What is left of the one before is passed over."""
        async for _ in self.contents():
            pass
        await self._exactly(self._padding)
        self._padding = 0
        extended: dict[str, str] = {}
        while True:
            header = await self._exactly(BLOCK)
            if not header.strip(b"\0"):
                return None
            kind, entry = _parse(header)
            if kind == b"x":
                extended = await self._extended(entry.size)
                continue
            entry = Entry(extended.get("path", entry.name), _number(extended.get("size", str(entry.size))))
            if kind not in {b"0", b"\0"} or any(k.startswith("GNU.sparse") for k in extended):
                raise BadStream(f"the entry {entry.name[:200]!r} is not a regular file")
            check_name(entry.name)
            self._left, self._padding = entry.size, -entry.size % BLOCK
            return entry

    async def contents(self) -> AsyncIterator[bytes]:
        """The present file's bytes."""
        while self._left:
            if not self._buffer:
                self._buffer = await self._chunk()
            piece = self._buffer[: self._left]
            self._buffer = self._buffer[len(piece) :]
            self._left -= len(piece)
            yield piece

    async def _extended(self, size: int) -> dict[str, str]:
        """The records of a pax header, each `length key=value` and a newline."""
        if size > LONGEST_PAX:
            raise BadStream("a pax header is too long")
        data = (await self._exactly(size + -size % BLOCK))[:size]
        records: dict[str, str] = {}
        while data:
            length, _, _ = data.partition(b" ")
            end = _number(length.decode("ascii", "replace"))
            key, equals, value = data[len(length) + 1 : end - 1].partition(b"=")
            if not equals or data[end - 1 : end] != b"\n":
                raise BadStream("a pax header cannot be read")
            records[_text(key)] = _text(value)
            data = data[end:]
        return records

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._buffer += await self._chunk()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    async def _chunk(self) -> bytes:
        async for chunk in self._chunks:
            if chunk:
                return chunk
        raise BadStream("the stream is cut")


def check_name(name: str) -> None:
    """BadStream unless the name is relative, stays below its folder, and can be a path."""
    parts = name.split("/")
    if len(name.encode()) > LONGEST_NAME or any(len(p.encode()) > LONGEST_PART for p in parts):
        raise BadStream("a name in the stream is too long")
    if any(p in {"", ".", ".."} for p in parts) or "\0" in name:
        raise BadStream(f"the name {name[:200]!r} is not a plain relative path")


def _parse(header: bytes) -> tuple[bytes, Entry]:
    """Type and entry of a header block in ustar format; BadStream if its checksum is wrong."""
    stated = _octal(header[148:156])
    if sum(header) - sum(header[148:156]) + 8 * 32 != stated:
        raise BadStream("a header's checksum is wrong")
    name = header[:100].rstrip(b"\0")
    prefix = header[345:500].rstrip(b"\0") if header[257:263] == b"ustar\0" else b""
    full = prefix + b"/" + name if prefix else name
    return header[156:157], Entry(_text(full), _octal(header[124:136]))


def _octal(field: bytes) -> int:
    text = field.strip(b"\0 ")
    if not text.isdigit():
        raise BadStream("a header's number cannot be read")
    try:
        return int(text, 8)
    except ValueError as error:
        raise BadStream("a header's number cannot be read") from error


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise BadStream("a number in a pax header cannot be read")
    return int(text)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadStream("a name in the stream is not UTF-8") from error

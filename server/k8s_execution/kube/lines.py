"""Splits a byte stream into lines; pure.

It must not decode: a watch carries JSON, whose reader takes bytes. Apart because aiohttp's readline breaks on long
lines, and because splitting is tested by properties.
"""

from __future__ import annotations


class LineTooLong(ValueError):
    """A line exceeded the limit; what was buffered of it is lost."""


class LineSplitter:
    """Collects chunks, gives whole lines without their newline. Scans each byte once, however chunks are cut."""

    def __init__(self, max_line: int) -> None:
        """Hold at most `max_line` bytes of an unfinished line."""
        self._max = max_line
        self._parts: list[bytes] = []
        self._held = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes; LineTooLong if the unfinished line has grown over the limit."""
        head, newline, rest = chunk.partition(b"\n")
        if not newline:
            self._hold(chunk)
            return []
        self._parts.append(head)
        lines = [b"".join(self._parts)]
        self._parts, self._held = [], 0
        *whole, tail = rest.split(b"\n")
        lines.extend(whole)
        self._hold(tail)
        return lines

    def _hold(self, part: bytes) -> None:
        if not part:
            return
        self._held += len(part)
        if self._held > self._max:
            self._parts, self._held = [], 0
            raise LineTooLong(f"a line is longer than {self._max} bytes")
        self._parts.append(part)

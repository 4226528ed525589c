"""Opaque, signed positions: log cursors, watch cursors, page tokens."""

from __future__ import annotations

from typing import Protocol


class Cursors(Protocol):
    """Turns a position into text that callers cannot make or alter, and back."""

    def encode(self, purpose: str, payload: bytes) -> str:
        """URL-safe text; the same payload gives the same text."""
        ...

    def decode(self, purpose: str, text: str) -> bytes:
        """The payload again; `faults.CursorInvalid` if it is not ours or was made for another purpose."""
        ...

"""Masking of known secret values in bytes and text.

A masker is made from the values of one execution. Values of fewer than 4 bytes are not masked (they would blind the
whole log); a multi-line value is masked line by line; its base64 and URL-encoded forms are masked too. It must not
decide *what* is a secret.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = b"***"
SHORTEST = 4


class Masker:
    """Replaces every known secret in a byte string; stateless, so it wants whole lines."""

    def __init__(self, values: Iterable[str]) -> None:
        """Prepare for these values; their encoded forms are derived."""
        needles: set[bytes] = set()
        for value in values:
            needles.update(n for n in _forms(value) if len(n) >= SHORTEST)
        longest_first = sorted(needles, key=lambda n: (-len(n), n))
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first))) if longest_first else None
        self.longest = len(longest_first[0]) if longest_first else 0

    def mask(self, data: bytes) -> bytes:
        """The bytes with every known secret replaced by `***`."""
        return data if self._pattern is None else self._pattern.sub(MASK, data)

    def cut(self, data: bytes, at: int) -> int:
        """The first position from `at` on where `data` can be cut so that masking both parts masks the whole.

        Right if `data` reaches `longest` bytes beyond `at`, or to the end of its line.
        """
        if self._pattern is not None:
            for found in self._pattern.finditer(data, 0, at + self.longest):
                if found.start() < at < found.end():
                    return found.end()
        return at

    def mask_text(self, text: str) -> str:
        """The same for text."""
        return text if self._pattern is None else self.mask(text.encode()).decode("utf-8", "replace")


def _forms(value: str) -> Iterable[bytes]:
    raw = value.encode()
    yield from raw.splitlines()
    yield base64.b64encode(raw)
    yield base64.urlsafe_b64encode(raw).rstrip(b"=")
    yield quote(value, safe="").encode()

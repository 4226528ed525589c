"""Opaque, signed positions: the text form of log cursors, watch cursors and page tokens.

A cursor is URL-safe base64 of payload and MAC (`ports.sealer.Sealer.sign`), deterministic, without padding. The
purpose is signed but not contained: a cursor made for another purpose (another execution, another listing) does not
verify. It must not know what a payload means: that is the use case's.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re

from k8s_execution.domain.faults import CursorInvalid
from k8s_execution.ports.sealer import Sealer

MAC_BYTES = 16
LONGEST = 1024
_ALPHABET = re.compile(r"[A-Za-z0-9_-]*")
_HINT = "leave the cursor out to start from the beginning"


class SignedCursors:
    """Fulfils `ports.cursors.Cursors` with the installation's key."""

    def __init__(self, sealer: Sealer) -> None:
        """`sealer` holds the key; replicas that share it accept each other's cursors."""
        self._sealer = sealer

    def encode(self, purpose: str, payload: bytes) -> str:
        """URL-safe text; the same payload gives the same text."""
        return base64.urlsafe_b64encode(payload + self._sealer.sign(purpose, payload)).rstrip(b"=").decode()

    def decode(self, purpose: str, text: str) -> bytes:
        """The payload again; CursorInvalid if it is not ours, was altered, or was made for another purpose."""
        raw = _decoded(text)
        payload, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        if not hmac.compare_digest(mac, self._sealer.sign(purpose, payload)):
            raise CursorInvalid("the cursor was not issued for this by this installation", _HINT)
        return payload


def _decoded(text: str) -> bytes:
    if len(text) > LONGEST or _ALPHABET.fullmatch(text) is None:
        raise CursorInvalid("the cursor is not one of ours", _HINT)
    padded = text + "=" * (-len(text) % 4)
    try:
        raw = base64.urlsafe_b64decode(padded)
    except binascii.Error as error:
        raise CursorInvalid("the cursor is not one of ours", _HINT) from error
    # Base64 has spare bits at its end: only the canonical text is accepted, so one position has one cursor.
    if len(raw) < MAC_BYTES or base64.urlsafe_b64encode(raw).decode() != padded:
        raise CursorInvalid("the cursor is not one of ours", _HINT)
    return raw

"""Sealing of secrets and signing of cursors with the installation key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Sealer(Protocol):
    """Encrypts (AES-GCM) and signs (HMAC-SHA256)."""

    def seal(self, execution_id: str, secrets: Mapping[str, str]) -> bytes:
        """Ciphertext bound to the execution."""
        ...

    def open(self, execution_id: str, sealed: bytes) -> dict[str, str]:
        """The secrets again; ValueError if altered or sealed for another execution."""
        ...

    def sign(self, purpose: str, payload: bytes) -> bytes:
        """A MAC over purpose and payload, 16 bytes, deterministic."""
        ...

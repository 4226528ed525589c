"""Sealing of secrets and signing of cursors with the installation key; fulfils `ports.sealer.Sealer`.

AES-256-GCM and HMAC-SHA256 under keys derived (HKDF) from one installation key of 32 bytes: a setting, or made once in
the data folder. It must not know where sealed bytes are kept.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex

KEY_BYTES = 32
NONCE_BYTES = 12
MAC_BYTES = 16
KEY_FILE = "installation.key"


class KeyRefused(ValueError):
    """The installation key cannot be used; the message says how it must look."""


def installation_key(data: Path, setting: str = "") -> bytes:
    """The installation key: from the setting (64 hex digits), else from the data folder, made there once (0600).

    Several processes may start at once on one folder: the file is linked into place whole, and the first one wins.
    """
    if setting:
        return _parse(setting, "K8S_EXECUTION_KEY")
    path = data / KEY_FILE
    if not path.exists():
        _make_key(path)
    return _parse(path.read_text().strip(), str(path))


def _make_key(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(token_hex(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        pass  # another process was first
    finally:
        temporary.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # before the first secret is sealed with it
    finally:
        os.close(folder)


def _parse(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyRefused(f"{where} must hold {2 * KEY_BYTES} hexadecimal digits")
    return key


class KeySealer:
    """Encrypts and signs; the cipher library is loaded at the first secret, most runs have none."""

    def __init__(self, key: bytes) -> None:
        """Derive one key for each use."""
        self._sealing = _derive(key, b"seal")
        self._signing = _derive(key, b"sign")

    def seal(self, execution_id: str, secrets: Mapping[str, str]) -> bytes:
        """Nonce and ciphertext, bound to the execution."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(NONCE_BYTES)
        plain = json.dumps(dict(secrets)).encode()
        return nonce + AESGCM(self._sealing).encrypt(nonce, plain, execution_id.encode())

    def open(self, execution_id: str, sealed: bytes) -> dict[str, str]:
        """The secrets again; ValueError if altered or sealed for another execution."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            plain = AESGCM(self._sealing).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], execution_id.encode())
        except (InvalidTag, ValueError) as error:  # ValueError: too short to hold a nonce
            raise ValueError(
                f"the secrets of execution {execution_id} do not open with this installation key"
            ) from error
        return {str(k): str(v) for k, v in json.loads(plain).items()}

    def sign(self, purpose: str, payload: bytes) -> bytes:
        """A MAC over purpose and payload, deterministic."""
        text = len(purpose).to_bytes(4, "big") + purpose.encode() + payload
        return hmac.digest(self._signing, text, "sha256")[:MAC_BYTES]


def _derive(key: bytes, use: bytes) -> bytes:
    """HKDF-Expand (RFC 5869) for one block: the key is uniformly random already."""
    return hmac.digest(key, use + b"\x01", hashlib.sha256)

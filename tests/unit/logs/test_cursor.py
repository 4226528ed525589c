"""Cursors: deterministic, unalterable, good for one purpose only."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.domain.faults import CursorInvalid
from k8s_execution.logs.cursor import SignedCursors
from k8s_execution.ports.cursors import Cursors


class KeyOnly:
    """The signing half of a sealer, with a fixed key."""

    def __init__(self, key: bytes = b"k") -> None:
        self._key = key

    def sign(self, purpose: str, payload: bytes) -> bytes:
        message = len(purpose).to_bytes(4, "big") + purpose.encode() + payload
        return hmac.digest(self._key, message, hashlib.sha256)[:16]

    def seal(self, execution_id: str, secrets: object) -> bytes:
        raise NotImplementedError

    def open(self, execution_id: str, sealed: bytes) -> dict[str, str]:
        raise NotImplementedError


CURSORS: Cursors = SignedCursors(KeyOnly())


@given(st.text(max_size=30), st.binary(max_size=60))
def test_a_cursor_gives_its_payload_back(purpose: str, payload: bytes) -> None:
    text = CURSORS.encode(purpose, payload)
    assert (CURSORS.decode(purpose, text), CURSORS.encode(purpose, payload)) == (payload, text)
    assert text.isascii() and not set(text) & set("+/=&?# ")


@given(st.binary(max_size=20), st.integers(0, 200), st.characters(max_codepoint=0x2FF))
def test_an_altered_cursor_is_refused(payload: bytes, at: int, other: str) -> None:
    text = CURSORS.encode("logs:x", payload)
    at %= len(text)
    altered = text[:at] + other + text[at + 1 :]
    if altered != text:
        with pytest.raises(CursorInvalid):
            CURSORS.decode("logs:x", altered)


@given(st.text(max_size=60))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(CursorInvalid):
        CURSORS.decode("logs:x", text)


@pytest.mark.parametrize("text", ["", "\n", "A" * 2000, "é" * 30, "==", "A" * 22 + "\n"])
def test_odd_texts_are_refused(text: str) -> None:
    with pytest.raises(CursorInvalid):
        CURSORS.decode("logs:x", text)


def test_a_cursor_of_another_execution_is_refused() -> None:
    with pytest.raises(CursorInvalid):
        CURSORS.decode("logs:other", CURSORS.encode("logs:x", b"\0" * 8))


def test_a_cursor_of_another_installation_is_refused() -> None:
    with pytest.raises(CursorInvalid):
        SignedCursors(KeyOnly(b"other")).decode("p", CURSORS.encode("p", b"1"))

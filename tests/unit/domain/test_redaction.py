"""Masking of known secrets."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from k8s_execution.domain.redaction import MASK, SHORTEST, Masker

SECRET = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=SHORTEST, max_size=20)


@given(st.lists(SECRET, min_size=1, max_size=4), st.binary(max_size=20), st.binary(max_size=20))
def test_a_secret_never_comes_through(secrets: list[str], before: bytes, after: bytes) -> None:
    """Wherever it stands in a line."""
    assume(not any(s in MASK.decode() for s in secrets))
    masker = Masker(secrets)
    for secret in secrets:
        masked = masker.mask(before + secret.encode() + after)
        joints = masked.replace(MASK, b"\n")
        assert not any(s.encode() in joints for s in secrets)


@pytest.mark.parametrize("secret", ["pa$$w/ord=?", "täglich", "x" * 100])
def test_encoded_forms_are_masked(secret: str) -> None:
    """Base64, URL-safe base64 and URL encoding."""
    masker = Masker([secret])
    raw = secret.encode()
    for form in (
        raw,
        base64.b64encode(raw),
        base64.urlsafe_b64encode(raw).rstrip(b"="),
        quote(secret, safe="").encode(),
    ):
        assert masker.mask(b"<" + form + b">").rstrip(b"=>") == b"<" + MASK


def test_a_secret_of_several_lines_is_masked_line_by_line() -> None:
    """A log shows it one line at a time; lines of fewer than 4 bytes stay."""
    masker = Masker(["-----BEGIN KEY-----\nabcdefgh\nxy\n"])
    assert masker.mask(b"abcdefgh") == MASK
    assert masker.mask(b"-----BEGIN KEY-----") == MASK
    assert masker.mask(b"xy") == b"xy"


def test_the_longest_secret_wins() -> None:
    """One that holds another leaves no rest."""
    assert Masker(["abcd", "abcdefgh"]).mask(b"1abcdefgh2abcd3") == b"1***2***3"


@pytest.mark.parametrize("secret", ["", "a", "abc"])
def test_short_values_are_not_masked(secret: str) -> None:
    """They would blind the whole log."""
    assert Masker([secret]).mask(b"abc a abc") == b"abc a abc"


def test_no_secrets_change_nothing() -> None:
    """Not even invalid text."""
    masker = Masker([])
    assert masker.mask(b"\xff\x00abc") == b"\xff\x00abc"
    assert masker.mask_text("abc") == "abc"
    assert masker.longest == 0


def test_special_characters_of_patterns_are_literal() -> None:
    """A secret is no pattern."""
    masker = Masker(["a.c*", "[x]+"])
    assert masker.mask(b"abcc [x]+ a.c*") == b"abcc *** ***"


@given(st.lists(SECRET, min_size=1, max_size=3), st.data())
def test_a_cut_line_is_masked_as_the_whole(secrets: list[str], data: st.DataObject) -> None:
    """Masking both parts masks the whole, wherever the line must be cut."""
    masker = Masker(secrets)
    parts = data.draw(st.lists(st.sampled_from([*secrets, "-", "ab", " "]), min_size=1, max_size=8))
    line = "".join(parts).encode()
    at = masker.cut(line, data.draw(st.integers(0, len(line))))
    assert masker.mask(line[:at]) + masker.mask(line[at:]) == masker.mask(line)


def test_text_is_masked_too() -> None:
    """For diagnoses and messages."""
    assert Masker(["hunter22"]).mask_text("password hunter22 ä") == "password *** ä"

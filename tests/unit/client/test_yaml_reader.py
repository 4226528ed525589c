"""Reading text: what is refused, and what scalars keep."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution_client.yaml_reader import MAX_BYTES, MAX_DEPTH, ReadFault, Scalar, read


def refused(text: str, *, as_json: bool = False) -> str:
    """The message of the refusal."""
    with pytest.raises(ReadFault) as caught:
        read(text, as_json=as_json)
    return str(caught.value)


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    """430 bytes that would stand for a million nodes."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 8)]
    began = time.process_time()
    assert "alias" in refused("\n".join(lines))
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 5000])
@pytest.mark.parametrize("as_json", [False, True])
def test_deep_nesting_is_refused_and_no_recursion_error(depth: int, as_json: bool) -> None:
    """One level more than allowed, and far more."""
    assert "levels deep" in refused("[" * depth + "]" * depth, as_json=as_json)


def test_the_deepest_allowed_nesting_is_read() -> None:
    """The bound itself is allowed."""
    assert read("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None


def test_a_large_file_is_refused() -> None:
    """One byte more than allowed."""
    assert "256 KiB" in refused("a: " + "x" * MAX_BYTES)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_key_given_twice_is_refused(as_json: bool) -> None:
    """The last would win in silence."""
    assert "given twice" in refused('{"a": "1", "a": "2"}', as_json=as_json)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: !!python/object:os.system x", "tag"),
        ("a: [", "line"),
        ("", "empty"),
        ("a: 1\n---\nb: 2", "document"),
        ("? [a]\n: b", "not text"),
        ("on: 1", "true or false"),
        ("<<: {a: b}", "not text"),
    ],
)
def test_what_plans_have_no_use_for_is_refused(text: str, part: str) -> None:
    """With the line and a hint."""
    assert part in refused(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("no", "bool"), ("0123", "int"), ("12:34:56", "int"), ("1.20", "float"), ("~", "null"), ("", "null"),
        ("2020-01-01", "timestamp"), ("true", "bool"), ("1_000", "int"),
    ],
)  # fmt: skip
def test_an_unquoted_scalar_keeps_its_text_and_says_what_yaml_would_make_of_it(text: str, kind: str) -> None:
    """So that the field can decide."""
    assert read(f"a: {text}") == {"a": Scalar(text, kind)}


@pytest.mark.parametrize("text", ['"no"', "'0123'", "|\n  12:34\n"])
def test_a_quoted_scalar_is_text(text: str) -> None:
    """Whatever it looks like."""
    data = read(f"a: {text}")
    assert isinstance(data, dict)
    assert isinstance(data["a"], str)


def test_json_numbers_keep_their_text() -> None:
    """1.20 stays 1.20."""
    assert read('{"a": 1.20, "b": 7, "c": null, "d": true}', as_json=True) == {
        "a": Scalar("1.20", "float"),
        "b": Scalar("7", "int"),
        "c": Scalar("null", "null"),
        "d": Scalar("true", "bool"),
    }


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No other exception leaves."""
    for as_json in (False, True):
        try:
            read(text, as_json=as_json)
        except ReadFault:
            pass


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=5)


@given(st.recursive(WORDS, lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner)))
def test_json_is_read_alike_as_json_and_as_yaml(data: object) -> None:
    """JSON is a part of YAML as far as plans use it."""
    text = json.dumps(data, ensure_ascii=False)
    try:
        as_json = read(text, as_json=True)
    except ReadFault:
        return
    assert read(text) == as_json


@pytest.mark.parametrize("password", ["!hunter2", "*hunter2", "!hunter2 x", '"hunter2\\ud800"'])
def test_a_refusal_shows_no_password(password: str) -> None:
    """Unquoted, it is read as a tag or an alias; the line is enough to find it."""
    as_json = password.startswith('"')
    text = f'{{"a": {password}}}' if as_json else f"a: {password}"
    assert "hunter2" not in refused(text, as_json=as_json)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a:\n\tb: 1\n", "with a tab: use spaces"),
        ("a: {b: ${param.X}}\n", "in quotes"),
        ("a: {b: [1, 2}\n", "not closed"),
        ("a: {b: {c: 1}\n", "not closed"),
    ],
)
def test_a_common_mistake_comes_with_its_way_out(text: str, part: str) -> None:
    with pytest.raises(ReadFault) as caught:
        read(text)
    assert part in caught.value.violations[0].hint


def test_half_a_character_is_refused() -> None:
    """JSON can escape what no message can hold."""
    assert "surrogate" in refused('{"a": "\\ud800"}', as_json=True)

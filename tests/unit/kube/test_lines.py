"""Splitting bytes into lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.kube.lines import LineSplitter, LineTooLong


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"x", b"\n"))))
def test_lines_do_not_depend_on_how_the_stream_was_cut(chunks: list[bytes]) -> None:
    """Any cutting gives the lines of the whole."""
    splitter = LineSplitter(10_000)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    assert lines == b"".join(chunks).split(b"\n")[:-1]


def test_a_line_over_the_limit_is_an_error_and_not_memory() -> None:
    """The limit holds across chunks; afterwards the splitter is empty."""
    splitter = LineSplitter(10)
    assert splitter.feed(b"12345") == []
    with pytest.raises(LineTooLong):
        splitter.feed(b"678901")
    assert splitter.feed(b"ok\n") == [b"ok"]


def test_a_long_line_in_small_chunks_is_joined_once() -> None:
    """Eight MiB in one-KiB chunks arrive whole."""
    splitter = LineSplitter(8 * 2**20)
    for _ in range(8 * 2**10 - 1):
        assert splitter.feed(b"y" * 1024) == []
    assert [len(line) for line in splitter.feed(b"y" * 1023 + b"\n")] == [8 * 2**20 - 1]

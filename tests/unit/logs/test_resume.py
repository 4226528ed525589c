"""Which lines of a second read are new."""

from __future__ import annotations

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from k8s_execution.logs.framing import Fragment, Lines
from k8s_execution.logs.resume import START, OverlapMissing, Resume, Token


def seen(*times: int) -> Token:
    resume = Resume(START)
    resume.new(Lines(list(times), [b""] * len(times)))
    return resume.token


def again(resume: Resume, times: list[int]) -> list[bytes]:
    new = resume.new(Lines(times, [str(i).encode() for i in range(len(times))]))
    return new.data if isinstance(new, Lines) else []


def test_the_token_counts_lines_at_exactly_its_time() -> None:
    assert seen(5, 7, 7, 7) == Token(7, 3, 0, 7, raw=4)


def test_lines_with_the_same_nanosecond_are_told_apart() -> None:
    assert again(Resume(seen(5, 7, 7)), [7, 7, 7, 8]) == [b"2", b"3"]


def test_a_clock_that_steps_back_loses_nothing() -> None:
    assert again(Resume(seen(5, 9, 6)), [5, 9, 6, 6, 7, 9, 10]) == [b"3", b"4", b"5", b"6"]


def test_a_read_without_the_tokens_line_is_told() -> None:
    with pytest.raises(OverlapMissing):
        again(Resume(seen(5, 6)), [8, 9])


def test_fewer_lines_at_the_tokens_time_than_seen_is_told() -> None:
    with pytest.raises(OverlapMissing):
        again(Resume(seen(5, 6, 6)), [6, 7])


def test_an_accepted_loss_is_noted_and_the_rest_is_new() -> None:
    resume = Resume(seen(5, 6), accept_loss=True)
    assert (again(resume, [8, 9]), resume.lost) == ([b"0", b"1"], True)


def test_a_whole_read_without_the_tokens_line_is_told_at_its_end() -> None:
    resume = Resume(seen(5))
    with pytest.raises(OverlapMissing):
        resume.end_of_log()


def test_an_unfinished_long_line_goes_on_at_its_next_fragment() -> None:
    first = Resume(START)
    first.new(Fragment(5, b"a", first=True, last=False, newline=False))
    first.new(Fragment(5, b"b", first=False, last=False, newline=False))
    second = Resume(first.token)
    pieces = [Fragment(5, d, first=d == b"a", last=d == b"d", newline=d == b"d") for d in (b"a", b"b", b"c", b"d")]
    new = [p.data for p in map(second.new, pieces) if isinstance(p, Fragment)]
    assert (new, second.token.fragments) == ([b"c", b"d"], 0)


def test_a_finished_long_line_is_skipped_whole() -> None:
    pieces = [Fragment(5, d, first=d == b"a", last=d == b"b", newline=d == b"b") for d in (b"a", b"b")]
    first = Resume(START)
    for piece in pieces:
        first.new(piece)
    second = Resume(first.token)
    assert [second.new(p) for p in pieces] == [None, None]
    assert again(second, [6]) == [b"0"]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.data())
def test_any_overlap_gives_every_line_once(steps: list[int], data: st.DataObject) -> None:
    times, now = [], 100
    for step in steps:
        now += (0, 0, 1, 5, -2)[step]
        times.append(now)
    cut = data.draw(st.integers(0, len(times)))
    begin = data.draw(st.integers(0, max(0, cut - 1)))
    # A rotation may not cut through one nanosecond: then the count at the token's time is not the same again.
    while begin and cut and times[begin - 1] == times[begin]:
        begin -= 1
    first = Resume(START)
    first.new(Lines(times[:cut], [b""] * cut))
    if times[begin:cut].count(first.token.time) != first.token.count and cut:
        reject()  # the clock came back to the very same nanosecond: not recognisable by time, and not met in life
    second = Resume(first.token)
    assert [int(d) + begin for d in again(second, times[begin:])] == list(range(cut, len(times)))

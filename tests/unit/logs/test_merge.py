"""Lines read from a log with holes, and the file that has them all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.logs.framing import FRAGMENT, Lines
from k8s_execution.logs.merge import LongLine, Merge
from k8s_execution.logs.resume import START, OverlapMissing, Resume, Token

words = st.lists(st.sampled_from([b"", b"a", b"b", b"cc"]), max_size=30)


def merged(merge: Merge, file: bytes, size: int) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    for at in range(0, len(file), size):
        for lines, _ in merge.feed(file[at : at + size]):
            found += zip(lines.times, lines.data, strict=True)
    return found


@given(words, st.data(), st.integers(1, 20))
def test_the_result_is_the_file_up_to_the_last_line_read(lines: list[bytes], data: st.DataObject, size: int) -> None:
    kept = [i for i in range(len(lines)) if data.draw(st.booleans())]
    held = Lines([100 + i for i in kept], [lines[i] for i in kept])
    file = b"".join(line + b"\n" for line in lines)
    merge = Merge(held, Token(7, 1, 0, 7, raw=0))
    found = merged(merge, file, size)
    assert merge.done
    assert [line for _, line in found] == lines[: len(found)]
    assert sorted(time for time, _ in found) == [time for time, _ in found]
    assert set(held.times) <= {time for time, _ in found}
    assert merge.token.raw == sum(len(line) + 1 for _, line in found)


def test_lines_without_a_time_of_their_own_get_that_of_the_line_before() -> None:
    merge = Merge(Lines([20, 30], [b"c", b"e"]), Token(10, 1, 0, 10, raw=0))
    assert merged(merge, b"b\nc\nd\ne\nf\n", 3) == [(10, b"b"), (20, b"c"), (20, b"d"), (30, b"e")]


def test_before_the_first_line_it_is_the_time_of_that_line() -> None:
    assert merged(Merge(Lines([20], [b"c"]), START), b"a\nc\n", 9) == [(20, b"a"), (20, b"c")]


def test_the_place_behind_the_last_line_is_found_again_in_the_log() -> None:
    merge = Merge(Lines([20, 20, 30], [b"c", b"c", b"e"]), Token(10, 1, 0, 10, raw=5))
    merged(merge, b"b\nc\nc\nd\ne\n", 4)
    resume = Resume(merge.token)
    new = resume.new(Lines([20, 20, 30, 40], [b"c", b"c", b"e", b"f"]))
    assert isinstance(new, Lines) and new.data == [b"f"] and resume.token.raw == 5 + 10 + 2


def test_a_place_within_the_hole_is_not_found_in_the_log() -> None:
    merge = Merge(Lines([20], [b"c"]), Token(10, 1, 0, 10, raw=0))
    (_, token), *_ = merge.feed(b"b\n")
    with pytest.raises(OverlapMissing):
        Resume(token).new(Lines([10, 20], [b"a", b"c"]))


def test_a_lost_line_that_leaves_in_fragments_is_not_merged() -> None:
    with pytest.raises(LongLine):
        Merge(Lines([20], [b"c"]), START).feed(b"x" * (FRAGMENT + 1) + b"\n")


def test_a_lost_line_is_known_to_be_long_before_it_ends() -> None:
    """Else hundreds of megabytes without a newline would be kept, and copied with every chunk."""
    merge = Merge(Lines([20], [b"c"]), START)
    assert merge.feed(b"x" * (FRAGMENT + 1)) == []
    with pytest.raises(LongLine):
        merge.feed(b"x")

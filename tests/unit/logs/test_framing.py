"""Bytes to lines: the same however the stream is chunked, byte for byte."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from k8s_execution.domain.redaction import Masker
from k8s_execution.logs.framing import FRAGMENT, Fragment, Framer, Lines, Piece
from unit.logs.scripted import BASE, stamp

Flat = list[tuple[int, bytes, bool, bool, bool]]


def flat(pieces: list[Piece]) -> Flat:
    """Pieces as rows (time, bytes, first, last, newline), so that grouping does not matter."""
    rows: Flat = []
    for piece in pieces:
        if isinstance(piece, Lines):
            rows += [(t, d, True, True, True) for t, d in zip(piece.times, piece.data, strict=True)]
        else:
            rows.append((piece.time, piece.data, piece.first, piece.last, piece.newline))
    return rows


def frame(data: bytes, size: int, masker: Masker | None = None) -> Flat:
    masker = masker or Masker(())
    framer = Framer(masker.cut, masker.longest)
    rows: Flat = []
    for at in range(0, len(data), size):
        rows += flat(framer.feed(data[at : at + size]))
    return rows + flat(framer.finish())


def test_a_line_is_time_and_bytes() -> None:
    assert frame(b"2023-11-14T22:13:20.000000007Z hello world\n", 7) == [(BASE + 7, b"hello world", True, True, True)]


def test_zones_and_short_fractions_are_read() -> None:
    data = b"2023-11-15T00:13:20.5+02:00 a\n2023-11-14T22:13:20Z b\n2023-11-14T22:13:20.000000001+00:00 c\n"
    assert [(t - BASE, d) for t, d, *_ in frame(data, 100)] == [(500_000_000, b"a"), (0, b"b"), (1, b"c")]


def test_nul_carriage_return_escapes_and_broken_text_stay_as_they_are() -> None:
    nasty = [
        b"\x00\x01",
        b"10%\r20%\r100%",
        b"\xff\xfe\xc3(",
        b"\x1b[31mred\x1b[0m",
        b"",
        b" lead and trail ",
        b"\xed\xa0\x80",
    ]
    data = b"".join(stamp(BASE + i) + d + b"\n" for i, d in enumerate(nasty))
    assert [d for _, d, *_ in frame(data, 3)] == nasty


def test_a_line_without_a_time_continues_the_line_before() -> None:
    rows = frame(stamp(BASE) + b"a\nno time here\n" + stamp(BASE + 1) + b"b\n", 1000)
    assert rows[1] == (BASE, b"no time here", False, True, True)


def test_what_looks_like_a_time_and_is_none_is_data() -> None:
    assert frame(b"2023-13-45T22:13:20.000000007Z x\n", 100)[0][1] == b"2023-13-45T22:13:20.000000007Z x"


def test_the_last_line_without_newline_is_flagged() -> None:
    assert frame(stamp(BASE) + b"done", 4) == [(BASE, b"done", True, True, False)]


def test_a_long_line_leaves_in_fragments_of_64_kib() -> None:
    rows = frame(stamp(BASE) + b"x" * (2 * FRAGMENT + 5) + b"\n", 1000)
    assert [(len(row[1]), *row[2:]) for row in rows] == [
        (FRAGMENT, True, False, False),
        (FRAGMENT, False, False, False),
        (5, False, True, True),
    ]


def test_a_line_of_exactly_64_kib_is_whole() -> None:
    assert [len(r[1]) for r in frame(stamp(BASE) + b"x" * FRAGMENT + b"\n", 999)] == [FRAGMENT]


def test_fragments_leave_before_the_line_ends() -> None:
    framer = Framer(Masker(()).cut)
    assert [type(p) for p in framer.feed(stamp(BASE) + b"x" * (FRAGMENT + 100))] == [Fragment]


@given(st.integers(-8, 8), st.integers(1, 40))
def test_a_secret_across_a_fragments_edge_is_masked(offset: int, longer: int) -> None:
    secret = "s3cret-" + "z" * longer
    masker = Masker([secret])
    at = FRAGMENT - len(secret) + offset
    line = b"a" * at + secret.encode() + b"b" * 200
    rows = frame(stamp(BASE) + line + b"\n", 10_000, masker)
    assert b"".join(masker.mask(d) for _, d, *_ in rows) == masker.mask(line)


around_the_edge = st.integers(FRAGMENT - 60, 2 * FRAGMENT + 60)
lines = st.lists(
    st.tuples(st.integers(0, 3 * 10**9), st.one_of(st.binary(max_size=40), around_the_edge), st.booleans()), max_size=8
)


@settings(deadline=None)
@given(lines, st.integers(1, 200), st.booleans())
def test_whole_and_in_pieces_give_the_same(
    content: list[tuple[int, bytes | int, bool]], size: int, newline: bool
) -> None:
    masker = Masker(["k3yk3yk3yk3y"])
    data = b""
    for time, text, stamped in content:
        text = b"k3yk3y" * (text // 6) if isinstance(text, int) else text.replace(b"\n", b"")
        data += (stamp(BASE + time) if stamped else b"") + text + b"\n"
    data = data if newline else data[:-1]
    assert frame(data, size, masker) == frame(data, len(data) or 1, masker)


def test_one_byte_at_a_time_gives_the_same() -> None:
    data = b"".join(stamp(BASE + i) + b"x" * (i * 7000) + b"\n" for i in range(20))
    assert frame(data, 1) == frame(data, len(data))


odd = st.sampled_from([
    b"", b"no stamp", b"2026-11-24T11:53:35.12345678Z short fraction", b"2026-11-24T11:53:35.123456789+00:00 zone",
    b"2026-11-24T11:53:35.+23456789Z sign", stamp(BASE + 5 * 10**9) + b"later", b"x" * (FRAGMENT + 70),
    stamp(BASE) + b"y" * (FRAGMENT + 1), stamp(BASE) + b"", stamp(BASE - 10**9) + b"\xff\x00\r",
])  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 150), odd), max_size=4), st.integers(0, 10**9 - 200), st.integers(1, 90))
def test_many_lines_at_once_are_framed_like_each_alone(changed: list[tuple[int, bytes]], begin: int, size: int) -> None:
    """Blocks of one second are split by one pattern; what does not fit it is found wherever it stands."""
    content = [stamp(BASE + begin + n) + b"line %d" % n for n in range(151)]
    for place, line in changed:
        content[place] = line
    data = stamp(BASE + begin) + b"first\n" + b"\n".join(content) + b"\n"
    first = data.index(b"\n") + 1  # the second is known from the first line on

    def in_blocks(width: int) -> Flat:
        masker = Masker(())
        framer = Framer(masker.cut, masker.longest)
        rows = flat(framer.feed(data[:first]))
        for at in range(first, len(data), width):
            rows += flat(framer.feed(data[at : at + width]))
        return rows + flat(framer.finish())

    assert in_blocks(len(data)) == in_blocks(size)

"""Bytes of a container's log, read with timestamps, to lines; pure and incremental.

Input is what `pods/log?timestamps=true` answers: each line is an RFC 3339 time, a space, the bytes, a newline (the
kubelet writes nanoseconds at fixed width in the node's own zone: pkg/kubelet/kuberuntime/logs, `timeFormatOut`; other
runtimes drop trailing zeros). Nothing is decoded: NUL, CR and invalid UTF-8 stay as they are. Lines longer than
`FRAGMENT` leave as fragments as they come, cut at places that depend only on the line's content, so however the
stream was chunked the result is the same. It must not know about resuming (`resume`) or storing (`segments`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

FRAGMENT = 64 * 1024
"""Longest piece of a line, in bytes."""

LOUD = 2 * 1024
"""From so many bytes at once on it pays to make a pattern for the present second."""

_NANOSECOND_STAMP = 30
_LONGEST_STAMP = 36
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")

Cut = Callable[[bytes, int], int]
"""Where to cut a line at or after a position (`Masker.cut`), so that no secret is torn."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines in columns: times in ns since the epoch, bytes without newline."""

    times: list[int]
    data: list[bytes]


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of one line. `first`: the line begins here; `last`: it ends here; `newline`: with a newline.

    A line that carries no time of its own (the kubelet writes none where it glues partial entries) is taken as a
    continuation of the line before: `first` is False.
    """

    time: int
    data: bytes
    first: bool
    last: bool
    newline: bool


Piece = Lines | Fragment


class Framer:
    """Cuts one stream into pieces; `feed` chunks in order, then `finish` once."""

    def __init__(self, cut: Cut, lookahead: int = 0) -> None:
        """`cut` is asked with at least `lookahead` bytes beyond the position, or the whole line."""
        self._cut = cut
        self._enough = FRAGMENT + max(lookahead, 1)
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._open_time: int | None = None  # the time of the line of which fragments have left already
        self._stamps = Stamps()

    def feed(self, chunk: bytes) -> list[Piece]:
        """The pieces that this chunk completes."""
        end = chunk.rfind(b"\n")
        if end < 0:
            self._keep(chunk)
            return list(self._overflow())
        self._keep(chunk[:end])
        block = b"".join(self._rest)
        tail = chunk[end + 1 :]
        self._rest, self._rest_size = [tail], len(tail)
        pieces = list(self._whole(block))
        pieces.extend(self._overflow())
        return pieces

    @property
    def torn(self) -> bool:
        """Whether what stands after the last newline is not even a whole stamp: the read was cut there."""
        rest = b"".join(self._rest)
        return bool(rest) and self._open_time is None and self._stamps.parse(rest) is None

    def finish(self) -> list[Piece]:
        """What stands after the last newline, as a fragment without one."""
        line = b"".join(self._rest)
        self._rest, self._rest_size = [], 0
        if not line and self._open_time is None:
            return []
        return list(self._pieces_of(line, newline=False))

    def _keep(self, data: bytes) -> None:
        self._rest.append(data)
        self._rest_size += len(data)

    def _overflow(self) -> Iterator[Piece]:
        """Fragments of an unfinished line that has become long enough to cut."""
        if self._rest_size < self._enough + _LONGEST_STAMP:
            return
        line = b"".join(self._rest)
        time, first, line = self._opened(line)
        while len(line) >= self._enough:
            at = self._cut(line, FRAGMENT)
            yield Fragment(time, line[:at], first, last=False, newline=False)
            line, first = line[at:], False
        # What is left is the middle of a line, so it is never taken for one with a stamp.
        self._open_time = time
        self._rest, self._rest_size = [line], len(line)

    def _opened(self, line: bytes) -> tuple[int, bool, bytes]:
        """Time, whether the line begins here, and its bytes without the stamp."""
        if self._open_time is not None:
            return self._open_time, False, line
        found = self._stamps.parse(line)
        if found is None:
            return self._stamps.latest, False, line
        return found[0], True, line[found[1] :]

    def _whole(self, block: bytes) -> Iterator[Piece]:
        if self._open_time is None and (loud := self._stamps.columns(block)) is not None:
            yield loud
            return
        lines = block.split(b"\n")
        begin = 0
        if self._open_time is not None:
            yield from self._pieces_of(lines[0], newline=True)
            begin = 1
        while begin < len(lines):
            times, data = self._stamps.column(lines, begin)
            begin += len(times)
            if times:
                yield Lines(times, data)
            if begin < len(lines):
                yield from self._pieces_of(lines[begin], newline=True)
                begin += 1

    def _pieces_of(self, line: bytes, *, newline: bool) -> Iterator[Piece]:
        """One line that is long, has no stamp, no newline, or of which a part has left."""
        time, first, line = self._opened(line)
        self._open_time = None
        while len(line) > FRAGMENT:
            at = self._cut(line, FRAGMENT)
            if at >= len(line):
                break
            yield Fragment(time, line[:at], first, last=False, newline=False)
            line, first = line[at:], False
        yield Fragment(time, line, first, last=True, newline=newline)


class Stamps:
    """Parses timestamps fast: consecutive lines mostly share the second, so its value is kept."""

    def __init__(self) -> None:
        """Nothing seen yet; `latest` is the time of the last stamp."""
        self.latest = 0
        self._second = b""
        self._base = 0

    def columns(self, block: bytes) -> Lines | None:
        """The lines of a block that are all of the second seen last and none of them long; None for any other.

        One pattern for the whole block: a third less than looking at line after line.
        """
        if not self._second or len(block) < LOUD:
            return None
        first, *parts = _stamps_of(self._second).split(b"\n" + block)
        data = parts[1::2]
        if first or len(data) != block.count(b"\n") + 1:  # another second, another zone, or no stamp
            return None
        if len(block) > FRAGMENT and max(map(len, data)) > FRAGMENT:
            return None
        base = self._base
        times = [base + int(nanos) for nanos in parts[::2]]
        self.latest = times[-1]
        return Lines(times, data)

    def column(self, lines: list[bytes], begin: int) -> tuple[list[int], list[bytes]]:
        """Times and bytes of the lines from `begin` up to the first that is long or has no stamp."""
        times: list[int] = []
        data: list[bytes] = []
        second, base = self._second, self._base
        for index in range(begin, len(lines)):
            line = lines[index]
            if line[:20] == second and line[29:31] == b"Z " and line[20:29].isdigit():
                time, at = base + int(line[20:29]), 31
            else:
                found = self.parse(line)
                if found is None:
                    break
                time, at = found
                second, base = self._second, self._base
            if len(line) - at > FRAGMENT:
                break
            times.append(time)
            data.append(line[at:])
        if times:
            self.latest = times[-1]
        return times, data

    def parse(self, line: bytes) -> tuple[int, int] | None:
        """Time in ns and where the bytes begin; None if the line does not begin with a time and a space."""
        found = _STAMP.match(line[:_LONGEST_STAMP])
        if found is None or line[found.end() : found.end() + 1] != b" ":
            return None
        second, fraction, zone = found.groups()
        try:
            base = _second(second, zone)
        except ValueError:  # looks like a time and is none, such as month 13
            return None
        if zone == b"Z" and found.end() == _NANOSECOND_STAMP:
            self._second, self._base = second + b".", base
        self.latest = base + int((fraction or b"").ljust(9, b"0"))
        return self.latest, found.end() + 1


@lru_cache(maxsize=16)
def _stamps_of(second: bytes) -> re.Pattern[bytes]:
    """Where lines of this second begin (it ends with the point); shared by all streams."""
    return re.compile(rb"\n" + re.escape(second) + rb"(\d{9})Z ")


def _second(second: bytes, zone: bytes) -> int:
    moment = datetime.fromisoformat((second + (b"+00:00" if zone == b"Z" else zone)).decode())
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000_000

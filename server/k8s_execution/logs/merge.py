"""Lines read from a log that has lost some, and the file that has them all, to the whole; pure and incremental.

A rotation only takes lines away, so what was read is a subsequence of the file: the file's lines in their order are
the truth, and each that equals the next one read has that line's time. A line that only the file has gets the time
of the line before it. It must not read anything, nor know what is done where a line is not found (`tail`).
"""

from __future__ import annotations

from dataclasses import replace

from k8s_execution.logs.framing import FRAGMENT, Lines
from k8s_execution.logs.resume import Resume, Token


class LongLine(Exception):
    """The file holds a line that leaves in fragments."""


class Merge:
    """`feed` the file from `base.raw` on, until `done`. `token` is the place behind what was given out.

    Its `raw` is the offset in the file. Within a hole no line of the log is at its time and count: whoever goes on
    from there does not find it, and so goes on in the file.
    """

    def __init__(self, held: Lines, base: Token) -> None:
        """`held` was read behind `base`, of which `raw` must be known."""
        self._held = held
        self._at = 0
        self._resume = Resume(base, overlaps=False)
        self._rest = b""
        self._last_was_read = False
        self._base = self.token = base

    @property
    def done(self) -> bool:
        """Whether every line that was read has been found."""
        return self._at == len(self._held.times)

    @property
    def adjoining(self) -> bool:
        """Whether the file so far ends with a line that was read: nothing shows that the next one read is not next."""
        return self._last_was_read

    @property
    def untouched(self) -> bool:
        """Whether the file had nothing so far."""
        return self.token == self._base

    def left(self) -> Lines:
        """The lines read that were not found yet."""
        return Lines(self._held.times[self._at :], self._held.data[self._at :])

    def again(self) -> None:
        """The file will be fed from `token.raw` on: an unfinished line comes again."""
        self._rest = b""

    def feed(self, chunk: bytes) -> list[tuple[Lines, Token]]:
        """The pieces that this chunk completes, each with the place behind it; LongLine."""
        if len(self._rest) > FRAGMENT:
            raise LongLine  # not only once it ends: it may have no end for hundreds of megabytes
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        found: list[tuple[Lines, Token]] = []
        at = 0
        while at < len(lines) and not self.done:
            count = self._same(lines, at)
            found.append(self._read(count) if count else self._lost(lines[at : at + self._other(lines, at)]))
            at += len(found[-1][0].data)
        return found

    def _same(self, lines: list[bytes], at: int) -> int:
        """How many lines from `at` on are the next ones read."""
        held, begin = self._held.data, self._at
        most = min(len(lines) - at, len(held) - begin)
        return next((n for n in range(most) if lines[at + n] != held[begin + n]), most)

    def _other(self, lines: list[bytes], at: int) -> int:
        """How many lines from `at` on are not the next one read."""
        wanted = self._held.data[self._at]
        return next((n for n in range(1, len(lines) - at) if lines[at + n] == wanted), len(lines) - at)

    def _read(self, count: int) -> tuple[Lines, Token]:
        end = self._at + count
        piece = Lines(self._held.times[self._at : end], self._held.data[self._at : end])
        self._resume.new(piece)
        self._at, self._last_was_read = end, True
        self.token = replace(self._resume.token, raw=self.token.raw + _size(piece.data))
        return piece, self.token

    def _lost(self, data: list[bytes]) -> tuple[Lines, Token]:
        if any(len(line) > FRAGMENT for line in data):
            raise LongLine
        self._last_was_read = False
        time = self.token.time or self._held.times[0]
        self.token = replace(
            self.token,
            time=time,
            count=self.token.count + len(data),
            fragments=0,
            latest=max(self.token.latest, time),
            raw=self.token.raw + _size(data),
        )
        return Lines([time] * len(data), data), self.token


def _size(data: list[bytes]) -> int:
    return sum(map(len, data)) + len(data)

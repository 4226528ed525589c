"""Where to go on in a container's log, and which lines of a second read are new; pure.

The token is (full timestamp, lines seen at exactly it). `sinceTime` has whole seconds only, so a resumed read begins
with lines seen before: they are skipped up to the token's line, by place and not by comparing times, so lines with
the same nanosecond and clocks that step back lose nothing. If a later line comes before the token's line, the two
reads do not overlap: the log was rotated between them, or it is another run's log. It must not read or store.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from k8s_execution.logs.framing import Fragment, Lines, Piece

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Token:
    """The place behind the last stored piece; all zero where nothing was stored.

    `count` lines began at exactly `time`; of the last of them `fragments` pieces are stored and more are to come
    (0: it is complete). `latest` is the greatest time seen, which is more than `time` only if the clock stepped back.
    `raw` is how many bytes of the log lie before the place, newlines included; -1 once a loss made it unknown.
    """

    time: int = 0
    count: int = 0
    fragments: int = 0
    latest: int = 0
    raw: int = 0

    @property
    def empty(self) -> bool:
        """Whether nothing was stored yet."""
        return self.count == 0

    @property
    def since(self) -> int | None:
        """From where a second read must begin, in µs; None for the beginning."""
        return None if self.empty else self.time // SECOND * 1_000_000


START = Token()
"""The place before the first line."""


class OverlapMissing(Exception):
    """The second read does not hold the token's line."""


class Resume:
    """Passes what is new of one read, in order; `token` always names the place behind what was passed."""

    def __init__(self, token: Token, *, accept_loss: bool = False, overlaps: bool = True) -> None:
        """Start behind `token`; with `accept_loss` a missing overlap is noted in `lost` instead of raised.

        `overlaps` is False for a read that begins exactly at the token.
        """
        self.token = token
        self.lost = False
        self.searching = overlaps and not token.empty
        self._accept_loss = accept_loss
        self._met = 0  # lines at exactly the token's time met so far
        self._skip: int | None = 0  # fragments of the current line still to skip; None: all of them

    def new(self, piece: Piece) -> Piece | None:
        """The part of the piece that was not seen before; OverlapMissing if the token's line is not there."""
        if isinstance(piece, Fragment):
            return self._fragment(piece)
        if self.searching:
            piece = self._search(piece)
        if not piece.times:
            return None
        self._skip = 0
        self._advance(piece)
        return piece

    def end_of_log(self) -> None:
        """A read of all there is has ended; OverlapMissing if the token's line was not in it."""
        if self.searching:
            self._missing()

    def _search(self, lines: Lines) -> Lines:
        met = self._met + lines.times.count(self.token.time)
        if met < self.token.count and max(lines.times, default=0) <= self.token.latest:
            # The token's line comes later, and nothing here says that it does not; a loud second is 100,000 lines.
            self._met = met
            return Lines([], [])
        for index, time in enumerate(lines.times):
            if self._begins(time):
                # A whole line: also where fragments of it were stored, which then were all of it.
                self.token = replace(self.token, fragments=0)
                return Lines(lines.times[index + 1 :], lines.data[index + 1 :])
            if not self.searching:
                return Lines(lines.times[index:], lines.data[index:])
        return Lines([], [])

    def _begins(self, time: int) -> bool:
        """A line begins while searching; whether it is the token's line."""
        if time == self.token.time:
            self._met += 1
            if self._met == self.token.count:
                self.searching = False
                return True
        elif time > self.token.latest:
            self._missing()
        return False

    def _missing(self) -> None:
        if not self._accept_loss:
            raise OverlapMissing
        self.lost, self.searching = True, False

    def _fragment(self, piece: Fragment) -> Fragment | None:
        if self.searching:
            found = piece.first and self._begins(piece.time)
            if found:
                self._skip = self.token.fragments or None
            elif self.searching:
                return None
        elif piece.first:
            self._skip = 0
        if self._skip is None:
            self._skip = 0 if piece.last else None
            return None
        if self._skip:
            self._skip -= 1
            return None
        self._advance_fragment(piece)
        return piece

    def _advance(self, lines: Lines) -> None:
        times, token = lines.times, self.token
        last, greatest = times[-1], max(times)
        same = 1
        while same < len(times) and times[-1 - same] == last:
            same += 1
        if same == len(times) and last == token.time:
            same += token.count
        raw = token.raw if token.raw < 0 else token.raw + sum(map(len, lines.data)) + len(times)
        self.token = Token(last, same, 0, max(token.latest, greatest), raw)

    def _advance_fragment(self, piece: Fragment) -> None:
        token = self.token
        raw = token.raw if token.raw < 0 else token.raw + len(piece.data) + piece.newline
        stored = 0 if piece.last else (1 if piece.first else token.fragments + 1)
        if not piece.first:
            self.token = replace(token, fragments=stored, raw=raw)
            return
        count = token.count + 1 if piece.time == token.time else 1
        self.token = Token(piece.time, count, stored, max(token.latest, piece.time), raw)

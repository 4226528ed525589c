"""Lines read from a step's log to lines known to be all there is up to them, by the step's output file.

While the tail keeps up with the writer nothing can be lost and lines pass through. Behind (`lag`), and wherever a read
shows a hole, they are held back until the file says that they stand where they should; if they do not, what is
missing is read from the file and both are stored in order (`merge`), or a gap says that it could not be had. It must
not read the log, nor know about facts of the container: that is the tail's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

from k8s_execution.logs import fill
from k8s_execution.logs.batching import Batcher
from k8s_execution.logs.fill import NotTheSame, Place, StepFile, raw_bytes
from k8s_execution.logs.framing import Lines, Piece
from k8s_execution.logs.gaps import GapReason
from k8s_execution.logs.merge import LongLine, Merge
from k8s_execution.logs.resume import Resume, Token
from k8s_execution.ports.cluster import ExecFailed, LogGone, Unreachable

HELD = 12 * 1024 * 1024
"""Bytes of memory, about, in which lines are held back for one step before they are looked up: 8 MiB of usual lines."""

LINE = 64
"""Bytes that a line takes beside its text: of short lines nearly all."""

TRIES = 10
"""Failed or too short looks into the file after which it counts as not to be had."""

SLICE = 256
"""Lines stored in one step of the event loop."""


class OnlyTheFile(Exception):
    """What was read is not found in the file, which goes on: from here on only the file can be followed."""


class Proving:
    """Between one tail and its batcher. `stored` is the place behind the last line given to the batcher.

    `hole`: the next line comes after lost ones; `suspect`: perhaps.
    """

    def __init__(
        self, batcher: Batcher, stored: Token, file: StepFile | None, pause: Callable[[], Awaitable[None]]
    ) -> None:
        """`pause` is waited for between two looks into the file."""
        self._batcher = batcher
        self._pause = pause
        self.file = file
        if file is not None and stored.fragments:
            file.last = b""  # an earlier owner stopped within a line
        self.stored = stored
        self.hole = False
        self.suspect = False
        self._held = Lines([], [])
        self._size = 0

    @property
    def possible(self) -> bool:
        """Whether there is a file in which the next line's place is known."""
        return self.file is not None and self.stored.raw >= 0

    @property
    def holding(self) -> bool:
        """Whether lines are held back."""
        return self._size > 0

    @property
    def _urgent(self) -> bool:
        return self.hole or self.suspect

    def drop(self) -> None:
        """Forget what is held back: it will be read again behind `stored`."""
        self._held, self._size = Lines([], []), 0
        self.hole = self.suspect = False

    def lost(self) -> None:
        """The next line comes after a hole of unknown size."""
        if self.possible:
            self.hole = True
        else:
            self._gap()

    async def take(self, piece: Piece, token: Token, *, hold: bool) -> Token:
        """The next piece, `token` behind it by what was read; the place behind it by what is known. OnlyTheFile."""
        if self.possible and isinstance(piece, Lines) and (hold or self._urgent or self.holding):
            self._held.times.extend(piece.times)
            self._held.data.extend(piece.data)
            self._size += _size(piece)
            due = self._urgent or not hold or self._size + LINE * len(self._held.times) >= HELD
            return await self.settle(token) if due else token
        if self.hole and self.possible:
            raise OnlyTheFile
        token = await self.settle(token) if self.holding else token
        self._pass(piece, token)
        return token

    async def settle(self, token: Token) -> Token:
        """Look up what is held back and store it; `token` is behind it. OnlyTheFile."""
        held, hole = self._held, self.hole
        if not held.times or self.file is None:
            return token
        if hole or await self._differs(self.file, token.raw, held.data[-1] + b"\n"):
            token = await self._merge(self.file, held, token, certain=hole)
        else:
            await self._pass_all(held)
        self.drop()
        return token

    async def _differs(self, file: StepFile, offset: int, last: bytes) -> bool:
        """Whether the file has something else there; if it cannot be read, it does not; the end is looked at too.

        After a look that nobody answered there is no second one: what was read must be stored before the seal gives up.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + fill.CHECK_SECONDS
        for _ in range(TRIES):
            match await file.place(offset, last):
                case Place.END | Place.INSIDE | Place.SHORT:
                    return False
                case Place.OTHER | Place.BEYOND:
                    return True
                case Place.UNKNOWN if loop.time() >= until:
                    return False
                case Place.UNKNOWN:
                    await self._pause()
        return False

    async def _merge(self, file: StepFile, held: Lines, token: Token, *, certain: bool) -> Token:
        """Store the lines held back among those that were lost; the place behind them. `certain`: some were."""
        merge = Merge(held, self.stored)
        enough = self.stored.raw + _size(held)
        for _ in range(TRIES):
            try:
                await self._feed(file, merge)
            except (ExecFailed, Unreachable):
                pass  # looked at again
            except LongLine as error:
                raise OnlyTheFile from error
            except LogGone:
                if merge.adjoining or (merge.untouched and not certain):
                    await self._pass_all(merge.left())
                    return self.stored
                break
            except NotTheSame:
                break
            if merge.done:
                return merge.token
            if self.stored.raw >= enough:
                raise OnlyTheFile
            await self._pause()
        self._gap()
        await self._pass_all(merge.left())
        return replace(token, raw=-1)

    async def _feed(self, file: StepFile, merge: Merge) -> None:
        merge.again()
        async with aclosing(file.behind(self.stored.raw)) as chunks:
            async for chunk in chunks:
                for lines, token in merge.feed(chunk):
                    self._pass(lines, token)
                if merge.done:
                    return

    async def _pass_all(self, held: Lines) -> None:
        """Store lines in slices that leave the event loop to others."""
        resume = Resume(self.stored, overlaps=False)
        for at in range(0, len(held.times), SLICE):
            piece = Lines(held.times[at : at + SLICE], held.data[at : at + SLICE])
            resume.new(piece)
            self._pass(piece, resume.token)
            await asyncio.sleep(0)

    def _pass(self, piece: Piece, token: Token) -> None:
        self._batcher.add(piece, token)
        self.stored = token
        if self.file is not None:
            self.file.last = raw_bytes([piece], last=True)

    def _gap(self) -> None:
        self.hole = False
        self.stored = replace(self.stored, raw=-1)
        self._batcher.gap(GapReason.ROTATED)


def _size(lines: Lines) -> int:
    return sum(map(len, lines.data)) + len(lines.data)

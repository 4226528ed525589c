"""Follows one run of one container, from where the journal stands to its proven end.

A read that ends is no proof that the container ended: rotation, proxies and the kubelet's own limit end follows too.
The log is at its end when the container is known to be terminated and a later read of all there is brings nothing
new. Anything else is read again behind the last stored line (`resume`), at a bounded rate. A read that does not hold
that line shows a rotation, or the log of the container's next run; facts decide which, and lines are stored only
then. Lines that may come after a hole are held back until they are proven by the step's output file, or put in their
place among what was lost (`proving`); where there is no file a loss is a gap. It must not decide what to follow
(`targets`), judges a log's end by `end`, and survives no fault of its own: `collector` contains it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum, auto

from k8s_execution.domain.redaction import Masker
from k8s_execution.logs.batching import Batcher, CapReached
from k8s_execution.logs.chunks import Chunks
from k8s_execution.logs.end import LogEnd, Proof
from k8s_execution.logs.fill import NotTheSame, ReadFrom, StepFile, first_time, last_time
from k8s_execution.logs.framing import Framer, Piece
from k8s_execution.logs.gaps import GapReason
from k8s_execution.logs.lag import Lag
from k8s_execution.logs.proving import TRIES, OnlyTheFile, Proving
from k8s_execution.logs.resume import OverlapMissing, Resume, Token
from k8s_execution.logs.run import Run
from k8s_execution.logs.targets import Source, Target
from k8s_execution.ports.cluster import ContainerLogs, ExecFailed, LogGone, LogNotReady, LogRequest, Unreachable
from k8s_execution.runtime.backoff import delay

PROMPT_US = 2_000_000
"""A first line so long after the start (known to the second) was perhaps not the first."""

BACKLOG = 16 * 1024
"""Bytes that a first read finds at once where the step has been printing before."""

AT_ONCE = 0.02
"""Seconds in which more of such a backlog comes."""

HOLD = 0.25
"""Seconds that lines are held back while nothing more comes."""

LATER_US = 1_000_000
"""A line this much after a run's end, which is known to the second, is a later run's."""

SLICE = 64 * 1024
"""Bytes worked on in one step of the event loop (about 1 ms)."""


class _Outcome(Enum):
    """How a read ended."""

    ENDED = auto()
    SILENT = auto()
    CUT = auto()
    NOT_READY = auto()
    GONE = auto()
    NO_OVERLAP = auto()
    ONLY_FILE = auto()
    NOT_THE_SAME = auto()


class Tail:
    """One follow; `run` returns when the stream's end is in the journal."""

    def __init__(
        self,
        logs: ContainerLogs,
        run: Run,
        token: Token,
        masker: Masker,
        batcher: Batcher,
        file: ReadFrom | None = None,
    ) -> None:
        """Go on behind `token`; `batcher` writes what is new; `file` is what fills a gap, where there is one."""
        self._logs = logs
        self._from_file = False
        self._run = run
        self._masker = masker
        self._batcher = batcher
        self._proving = Proving(batcher, token, StepFile(file) if file is not None else None, self._look)
        self._end = LogEnd(self._proving, batcher)
        self._resume = Resume(token)
        self._framer = Framer(masker.cut, masker.longest)
        self._lag = Lag()
        self._reads = 0
        self._accept_loss = False
        self._failures = 0
        self._fresh = False  # whether the present read brought anything new
        self._clean = False  # whether the last read that was answered ended by itself, and none has failed since

    async def run(self) -> None:
        """Follow to the end; OSError where the disk refuses, then start again from the journal."""
        try:
            while not await self._round():
                pass
        except CapReached:
            # Nothing more is kept, so nothing more is read; the stream still ends when the container does.
            while not (self._run.target.terminated or self._run.finishing):
                await self._changed(None)
        self._batcher.end()

    async def _round(self) -> bool:
        """One read and what follows from it; whether the log is at its end."""
        target, finishing = self._run.target, self._run.finishing
        if target.source is Source.LOST:
            return self._lost()
        proving = target.terminated or finishing
        outcome = await self._read(target, follow=not proving)
        if self._fresh:
            self._failures = 0
        clean = self._clean
        if outcome in {_Outcome.CUT, _Outcome.SILENT}:
            self._clean = False
        elif outcome is _Outcome.ENDED:
            self._clean = True
        match outcome:
            case _Outcome.ENDED if proving and (not self._fresh or not target.terminated):
                try:
                    return await self._finish(target)
                except OverlapMissing:
                    self._clean = clean  # what ended was another run's log
                    return await self._doubt(target)
            case _Outcome.ENDED if proving:
                pass  # it brought something, so it proves nothing: look once more
            case _Outcome.SILENT if not proving:
                pass
            case _Outcome.NO_OVERLAP:
                return await self._doubt(target)
            case _Outcome.ONLY_FILE:
                self._from_file = True
            case _Outcome.NOT_THE_SAME:
                self._proving.file, self._from_file, self._accept_loss = None, False, True
            case _Outcome.GONE:
                return self._lost()
            case _ if self._from_file:
                return await self._look_again(outcome, target)
            case _Outcome.NOT_READY if finishing and not target.terminated:
                return self._proving.stored.empty or self._lost()
            case _:
                await self._pause()
        return False

    async def _read(self, target: Target, *, follow: bool) -> _Outcome:
        self._proving.drop()
        token = self._proving.stored
        follow = follow and not self._from_file
        self._fresh = False
        self._framer = Framer(self._masker.cut, self._masker.longest)
        self._resume = Resume(token, accept_loss=self._accept_loss, overlaps=not self._from_file)
        self._lag = Lag()
        self._reads += 1
        limit = asyncio.timeout(self._patience(follow))
        try:
            async with limit:
                self._run.following = limit if follow else None
                await self._consume(self._open(target, token, follow), limit, follow)
        except TimeoutError:
            return _Outcome.SILENT if limit.expired() else _Outcome.CUT
        except OverlapMissing:
            return _Outcome.NO_OVERLAP
        except LogNotReady:
            return _Outcome.NOT_READY
        except LogGone:
            return _Outcome.GONE
        except OnlyTheFile:
            return _Outcome.ONLY_FILE
        except NotTheSame:
            return _Outcome.NOT_THE_SAME
        except (Unreachable, ExecFailed):
            return _Outcome.CUT
        finally:
            self._run.following = None
        return _Outcome.ENDED

    def _open(self, target: Target, token: Token, follow: bool) -> AsyncIterable[bytes]:
        if self._from_file and self._proving.file is not None:
            return self._proving.file.rest(token.raw, token.time or (target.started_at or 0) * 1000)
        request = LogRequest(
            namespace=target.namespace,
            pod=target.stream.pod,
            container=target.stream.container,
            follow=follow,
            previous=target.source is Source.PREVIOUS,
            since=token.since,
        )
        return self._logs.read(request)

    async def _look_again(self, outcome: _Outcome, target: Target) -> bool:
        """After a look into the output file that brought no end; whether the file cannot be had any more."""
        if outcome is not _Outcome.ENDED:
            self._failures += 1
        if target.terminated and self._failures >= TRIES:
            self._batcher.gap(GapReason.ROTATED)
            return True
        await self._look()
        return False

    async def _consume(self, source: AsyncIterable[bytes], limit: asyncio.Timeout, follow: bool) -> None:
        loop = asyncio.get_running_loop()
        chunks = Chunks(source)
        try:
            asked = None  # until the first chunk what takes time is the request
            while (chunk := await self._next(chunks, limit, follow)) is not None:
                waited = 0.0 if asked is None else loop.time() - asked
                with self._at_work(limit, follow):
                    await self._take(chunk, waited)
                asked = loop.time()
            with self._at_work(limit, follow):
                await self._settle()
        finally:
            await chunks.aclose()
        if not follow:
            self._resume.end_of_log()
            self._note_loss()
            if self._proving.hole:
                raise OnlyTheFile

    @contextmanager
    def _at_work(self, limit: asyncio.Timeout, follow: bool) -> Iterator[None]:
        """The read's patience is with its source: a look into the output file has limits of its own."""
        self._run.following = None
        limit.reschedule(None)
        yield
        limit.reschedule(asyncio.get_running_loop().time() + self._patience(follow))
        self._run.following = limit if follow else None

    async def _next(self, chunks: Chunks, limit: asyncio.Timeout, follow: bool) -> bytes | None:
        """The next chunk, None at the end; what is held back does not wait for it for long."""
        if self._proving.holding and not await chunks.ready(HOLD):
            with self._at_work(limit, follow):
                await self._settle()
        chunk = await chunks.next()
        if not self._beginning:
            return chunk
        size = len(chunk or b"")
        parts = [chunk or b""]
        while 0 < size < BACKLOG and await chunks.ready(AT_ONCE) and (more := await chunks.next()) is not None:
            parts.append(more)
            size += len(more)
        return b"".join(parts) if size else chunk

    async def _take(self, chunk: bytes, waited: float) -> None:
        """Frame and store a chunk, letting others run between its slices."""
        for at in range(0, len(chunk), SLICE):
            if at:
                await asyncio.sleep(0)
            data = chunk[at : at + SLICE]
            pieces = self._framer.feed(data)
            if not pieces:
                continue
            self._lag.arrived(time.time(), 0.0 if at else waited, len(data), last_time(pieces))
            if self._beginning:
                self._doubt_beginning(first_time(pieces), len(data))
            await self._store(pieces)

    @property
    def _beginning(self) -> bool:
        """Whether the next line would be the first, of a log that can be proven."""
        return self._proving.stored.empty and self._proving.possible and not self._proving.holding

    def _doubt_beginning(self, first: int, size: int) -> None:
        """Whether the node may have rotated the log before its first read: then its beginning must be proven.

        Looked at only where it can be: the step had ended, or had run or printed for a while, before its first read.
        `first` is the time of the first line, `size` the bytes that came at once.
        """
        target = self._run.target
        late = target.started_at is None or first > (target.started_at + PROMPT_US) * 1000
        if target.terminated or late or size >= BACKLOG:
            self._proving.suspect = True

    async def _finish(self, target: Target) -> bool:
        """A read of all there is brought nothing new: the last line, if it has no newline, and the proof of the end.

        OverlapMissing, if that line is a later run's.
        """
        torn = self._framer.torn and not self._from_file
        rest = [] if torn else self._framer.finish()
        if any(map(self._is_a_later_run, rest)):
            raise OverlapMissing
        if target.terminated and not self._from_file and (torn or rest):
            proof = await self._end.of_last_line(rest)
            if proof is not Proof.WHOLE:
                self._from_file = proof is Proof.FILE_HAS_MORE
                await self._pause()
                return False
        try:
            await self._store(rest)
        except OnlyTheFile:
            self._from_file = True
            return False
        if target.terminated and not self._from_file:
            self._from_file = await self._end.of_all() is Proof.FILE_HAS_MORE
            return not self._from_file
        return True

    async def _store(self, pieces: list[Piece]) -> None:
        proving = self._proving
        for piece in pieces:
            if self._may_be_another_run() or self._is_a_later_run(piece):
                raise OverlapMissing
            new = self._resume.new(piece)
            self._note_loss()
            if new is not None:
                self._fresh = True
                hold = self._lag.behind and not self._from_file
                self._resume.token = await proving.take(new, self._resume.token, hold=hold)

    async def _settle(self) -> None:
        self._resume.token = await self._proving.settle(self._resume.token)

    def _may_be_another_run(self) -> bool:
        """A second read of a run that had said nothing: there is no line by which to recognise it."""
        return (
            self._reads > 1 and self._resume.token.empty and not self._accept_loss
            and self._run.target.restarts and self._run.target.source is Source.CURRENT
        )  # fmt: skip

    def _is_a_later_run(self, piece: Piece) -> bool:
        """Whether the line was written after this run had ended, by the same clock."""
        target = self._run.target
        if not target.restarts or target.finished_at is None:
            return False
        return first_time([piece]) > (target.finished_at + LATER_US) * 1000

    def _note_loss(self) -> None:
        if self._resume.lost:
            self._resume.lost = self._accept_loss = False
            self._fresh = True
            self._proving.lost()
            if not self._proving.hole:
                self._resume.token = replace(self._resume.token, raw=-1)

    async def _doubt(self, target: Target) -> bool:
        """A read did not overlap: facts tell of a restart, else the log was rotated. Whether nothing more can be had.

        The log of the run before (`PREVIOUS`) does not grow, so it is not rotated: that read has met a later run.
        """
        if target.restarts:
            loop = asyncio.get_running_loop()
            until = loop.time() + self._run.pace.settle
            while self._run.target.source is Source.CURRENT and loop.time() < until:
                await self._changed(until - loop.time())
            if target.source is Source.PREVIOUS:
                return self._lost()
            if self._run.target.source is not Source.CURRENT:
                return False
        self._accept_loss = True
        return False

    def _lost(self) -> bool:
        """Nothing more can be had: a gap, unless the follow had ended with the run.

        The kubelet ends a follow by itself only when the container no longer runs. What looks so after the kubelet
        died is told apart by the next read, at once after it, which fails. An output file that ends has been cut.
        """
        if self._from_file or not self._clean:
            self._batcher.gap(GapReason.GONE)
        return True

    async def _look(self) -> None:
        await self._changed(self._run.pace.look)

    def _patience(self, follow: bool) -> float:
        return self._run.patience() if follow else self._run.pace.stalled

    async def _pause(self) -> None:
        pace = self._run.pace
        seconds = delay(self._failures, base=pace.first_retry, cap=pace.longest_retry, spread=random.random())  # noqa: S311 - jitter
        self._failures += 1
        await self._changed(seconds)

    async def _changed(self, seconds: float | None) -> None:
        """Wait for other facts, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._run.changed.wait()
        except TimeoutError:
            pass  # nothing changed in that time
        self._run.changed.clear()

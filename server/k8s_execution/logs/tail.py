"""Follows one run of one container, from where the journal stands to its proven end.

A read that ends is no proof that the container ended: rotation, proxies and the kubelet's own limit end follows too.
The log is at its end when the container is known to be terminated and a later read of all there is brings nothing
new. Anything else is read again behind the last stored line (`resume`), at a bounded rate. A read that does not hold
that line shows a rotation, or the log of the container's next run; facts decide which, and lines are stored only
then. What a rotation took is read from the step's output file (`fill`), or is a gap. It must not decide what to
follow (`targets`) and survives no fault of its own: `collector` contains it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterable
from enum import Enum, auto

from k8s_execution.domain.redaction import Masker
from k8s_execution.logs.batching import Batcher, CapReached
from k8s_execution.logs.fill import NotTheBeginning, NotTheSame, ReadFrom, StepFile, first_time, raw_bytes
from k8s_execution.logs.framing import Framer, Piece
from k8s_execution.logs.gaps import GapReason
from k8s_execution.logs.resume import OverlapMissing, Resume, Token
from k8s_execution.logs.run import Run
from k8s_execution.logs.targets import Source, Target
from k8s_execution.ports.cluster import ContainerLogs, ExecFailed, LogGone, LogNotReady, LogRequest, Unreachable
from k8s_execution.runtime.backoff import delay

PROMPT_US = 2_000_000
"""A first line so long after the start (known to the second) was perhaps not the first."""

BACKLOG = 16 * 1024
"""Bytes that a first read finds at once where the step has been printing before."""

LONG_LOG = 1024 * 1024
"""Bytes from which on a node may have rotated a log while it was followed."""

FILE_TRIES = 5
"""Failed looks into the output file of a terminated step after which its rest is given up."""

SLICE = 32 * 1024
"""Bytes worked on in one step of the event loop (about 1 ms)."""


class _Outcome(Enum):
    """How a read ended."""

    ENDED = auto()
    SILENT = auto()
    CUT = auto()
    NOT_READY = auto()
    GONE = auto()
    NO_OVERLAP = auto()
    NO_BEGINNING = auto()
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
        self._file = StepFile(file) if file is not None else None
        self._from_file = False
        self._first_time = 0
        self._begun = not token.empty  # whether the log's beginning is stored, or was looked at
        self._doubtful = False  # whether a part of the log may have been rotated away unseen
        self._run = run
        self._masker = masker
        self._batcher = batcher
        self._resume = Resume(token)
        self._framer = Framer(masker.cut, masker.longest)
        self._reads = 0
        self._accept_loss = False
        self._failures = 0
        self._fresh = False  # whether the present read brought anything new

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
        match outcome:
            case _Outcome.ENDED if proving and (not self._fresh or not target.terminated):
                self._store(self._framer.finish())
                await self._prove_end(target)
                return True
            case _Outcome.ENDED if proving:
                pass  # it brought something, so it proves nothing: look once more
            case _Outcome.SILENT if not proving:
                pass
            case _Outcome.NO_OVERLAP:
                await self._doubt(target)
            case _Outcome.NO_BEGINNING:
                self._from_file = True
            case _Outcome.NOT_THE_SAME:
                self._file, self._from_file, self._accept_loss = None, False, True
            case _Outcome.GONE:
                return self._lost()
            case _ if self._from_file:
                return await self._look_again(outcome, target)
            case _Outcome.NOT_READY if finishing and not target.terminated:
                return self._resume.token.empty or self._lost()
            case _:
                await self._pause()
        return False

    async def _read(self, target: Target, *, follow: bool) -> _Outcome:
        token = self._resume.token
        follow = follow and not self._from_file
        self._fresh = False
        self._framer = Framer(self._masker.cut, self._masker.longest)
        self._resume = Resume(token, accept_loss=self._accept_loss, overlaps=not self._from_file)
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
        except NotTheBeginning:
            return _Outcome.NO_BEGINNING
        except NotTheSame:
            return _Outcome.NOT_THE_SAME
        except (Unreachable, ExecFailed):
            return _Outcome.CUT
        finally:
            self._run.following = None
        return _Outcome.ENDED

    def _open(self, target: Target, token: Token, follow: bool) -> AsyncIterable[bytes]:
        if self._from_file and self._file is not None:
            return self._file.rest(token.raw, token.time or self._first_time)
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
        if target.terminated and self._failures >= FILE_TRIES:
            self._batcher.gap(GapReason.ROTATED)
            return True
        await self._changed(self._run.pace.look)
        return False

    async def _consume(self, chunks: AsyncIterable[bytes], limit: asyncio.Timeout, follow: bool) -> None:
        loop = asyncio.get_running_loop()
        try:
            async for chunk in chunks:
                limit.reschedule(loop.time() + self._patience(follow))
                await self._take(chunk)
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
        if not follow:
            self._resume.end_of_log()
            self._note_loss()

    async def _take(self, chunk: bytes) -> None:
        """Frame and store a chunk, letting others run between its slices."""
        for at in range(0, len(chunk), SLICE):
            if at:
                await asyncio.sleep(0)
            pieces = self._framer.feed(chunk[at : at + SLICE])
            if pieces and not self._begun:
                await self._prove_beginning(pieces)
            self._store(pieces)

    async def _prove_beginning(self, pieces: list[Piece]) -> None:
        """Whether the first read began where the step did, or the node had rotated the log before; by its file.

        Looked at only where it can be: the step had ended, or had run or printed for a while, before its first read.
        """
        self._begun = True
        target, time = self._run.target, first_time(pieces)
        late = target.started_at is None or time > (target.started_at + PROMPT_US) * 1000
        first = raw_bytes(pieces)
        if self._file is None or self._from_file or not (target.terminated or late or len(first) >= BACKLOG):
            return
        self._doubtful = True
        if not await self._file.begins_with(first):
            self._first_time = time
            raise NotTheBeginning

    async def _prove_end(self, target: Target) -> None:
        """A long log, or a doubtful one, must be as long as the step's file; if not, something was lost unseen."""
        raw = self._resume.token.raw
        if self._file is None or self._from_file or raw < 0 or not target.terminated:
            return
        if (self._doubtful or raw >= LONG_LOG) and not await self._file.ends_at(raw):
            self._batcher.gap(GapReason.ROTATED)

    def _store(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if self._may_be_another_run():
                raise OverlapMissing
            new = self._resume.new(piece)
            self._note_loss()
            if new is not None:
                self._fresh = True
                self._batcher.add(new, self._resume.token)
                if self._file is not None:
                    self._file.last = raw_bytes([new], last=True)

    def _may_be_another_run(self) -> bool:
        """A second read of a run that had said nothing: there is no line by which to recognise it."""
        return (
            self._reads > 1 and self._resume.token.empty and not self._accept_loss
            and self._run.target.restarts and self._run.target.source is Source.CURRENT
        )  # fmt: skip

    def _note_loss(self) -> None:
        if self._resume.lost:
            self._resume.lost = self._accept_loss = False
            self._fresh = True
            self._batcher.gap(GapReason.ROTATED)

    async def _doubt(self, target: Target) -> None:
        """A read did not overlap: wait whether facts tell of a restart, else the log was rotated."""
        if target.restarts and target.source is Source.CURRENT:
            loop = asyncio.get_running_loop()
            until = loop.time() + self._run.pace.settle
            while self._run.target.source is Source.CURRENT and loop.time() < until:
                await self._changed(until - loop.time())
            if self._run.target.source is not Source.CURRENT:
                return
        if self._file is not None and self._resume.token.raw >= 0:
            self._from_file = True
        else:
            self._accept_loss = True

    def _lost(self) -> bool:
        self._batcher.gap(GapReason.GONE)
        return True

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

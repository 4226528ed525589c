"""Lines of one stream to batches in the journal: by size, or by time for what trickles.

One timer a batch, none a line. Whole lines (or fragments cut where no secret is torn) are masked together when the
batch is written. It must not read logs (`tail`) or know the file (`segments`).
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable

from k8s_execution.domain.redaction import Masker
from k8s_execution.logs.framing import Fragment, Piece
from k8s_execution.logs.gaps import GapReason
from k8s_execution.logs.resume import Token
from k8s_execution.logs.segments import Journal
from k8s_execution.ports.logs import LogLines, LogStream

FLUSH_BYTES = 64 * 1024
RETRY_SECONDS = 1.0
"""Pause before a timed flush that the disk refused is tried again."""


class CapReached(Exception):
    """The execution's logs are as large as they may become; the gap is recorded."""


class Batcher:
    """Collects the new pieces of one stream. Used by one tail; `close` drops what was not flushed."""

    def __init__(
        self, journal: Journal, stream: LogStream, masker: Masker, *, cap: int, interval: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:  # fmt: skip
        """`interval` gives the seconds a line may wait, `cap` bounds the journal in bytes (to within one batch)."""
        self._journal = journal
        self._stream = stream
        self._masker = masker
        self._cap = cap
        self._interval = interval
        self._wake = wake
        self._times: list[int] = []
        self._data: list[bytes] = []
        self._partial: list[int] = []
        self._size = 0
        self._token = Token()
        self._timer: asyncio.TimerHandle | None = None
        self._capped = False

    def add(self, piece: Piece, token: Token) -> None:
        """Take in a piece; `token` is the place behind it. OSError if the disk refuses; CapReached."""
        if isinstance(piece, Fragment):
            if not piece.newline:
                self._partial.append(len(self._times))
            self._times.append(piece.time)
            self._data.append(piece.data)
            self._size += len(piece.data)
        else:
            self._times += piece.times
            self._data += piece.data
            self._size += sum(map(len, piece.data))
        self._token = token
        if self._size + 8 * len(self._times) >= FLUSH_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval(), self._due)

    def flush(self) -> None:
        """Write what is there as one batch."""
        self._stop_timer()
        if not self._times:
            return
        if self._journal.bytes >= self._cap:
            self._drop()
            if not self._capped:
                self._capped = True
                self.gap(GapReason.TRUNCATED)
            raise CapReached
        text = self._masker.mask(b"\n".join(self._data))
        lines = LogLines(array("q", self._times), text, array("I", self._partial))
        self._journal.append_lines(self._stream, lines, self._token)
        self._drop()
        self._wake()

    def gap(self, reason: GapReason) -> None:
        """Write what is there, then a gap."""
        if self._times:
            self.flush()
        self._journal.append_gap(self._stream, reason)
        self._wake()

    def end(self) -> None:
        """Write what is there, then the stream's end."""
        try:
            self.flush()
        except CapReached:
            pass  # its gap stands before the end
        self._journal.append_end(self._stream)
        self._wake()

    def close(self) -> None:
        """Forget what was not written: the next tail reads it again from the journal's token on."""
        self._stop_timer()
        self._drop()

    def _due(self) -> None:
        self._timer = None
        try:
            self.flush()
        except CapReached:
            pass  # the gap is recorded; the tail meets the cap at its next line, or its end
        except OSError:  # a full disk: the lines stay here until it takes them or the tail fails on the next ones
            self._timer = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._due)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self) -> None:
        self._times, self._data, self._partial, self._size = [], [], [], 0

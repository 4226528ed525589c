"""Whether a log that brings nothing more is whole: the step's output file says so, or a second read that ends alike.

Apart from `tail`, which reads and goes on: here nothing is read of the log, and nothing stored but the gap where the
file shows that both differ.
"""

from __future__ import annotations

from enum import Enum, auto

from k8s_execution.logs.batching import Batcher
from k8s_execution.logs.fill import Place, raw_bytes
from k8s_execution.logs.framing import Piece
from k8s_execution.logs.gaps import GapReason
from k8s_execution.logs.proving import Proving


class Proof(Enum):
    """What is known of a log's end."""

    WHOLE = auto()
    UNPROVEN = auto()
    """Look once more."""

    FILE_HAS_MORE = auto()
    """Go on with the step's output file."""


class LogEnd:
    """The end of one follow."""

    def __init__(self, proving: Proving, batcher: Batcher) -> None:
        """Take what knows where the stored lines stand in the file, and what writes a gap."""
        self._proving = proving
        self._batcher = batcher
        self._rest: list[Piece] = []  # what stood behind the last newline of the read before

    async def of_last_line(self, rest: list[Piece]) -> Proof:
        """Whether what stands behind the last newline is the log's last line; nothing, if it is no line.

        An API server that loses the node in the middle of an answer ends it as if it were whole: the file tells, or a
        second read that ends at the same place.
        """
        proving = self._proving
        if proving.file is not None and proving.possible:
            data = raw_bytes(rest)
            place = await proving.file.place(proving.stored.raw + len(data), data or None)
            if place in {Place.OTHER, Place.INSIDE}:
                return Proof.FILE_HAS_MORE
            if place is Place.END:
                return Proof.WHOLE
        same, self._rest = bool(rest) and rest == self._rest, rest
        return Proof.WHOLE if same else Proof.UNPROVEN

    async def of_all(self) -> Proof:
        """Whether all that a terminated container printed is stored: its log must be as long as the step's file.

        Always looked at: what a step prints while its container runtime is away never reaches the log.
        """
        raw, file = self._proving.stored.raw, self._proving.file
        if file is None or raw < 0:
            return Proof.WHOLE
        match await file.place(raw, end=True):
            case Place.INSIDE:
                return Proof.FILE_HAS_MORE
            case Place.OTHER:
                self._batcher.gap(GapReason.ROTATED)
            case Place.END | Place.SHORT | Place.UNKNOWN | Place.BEYOND:
                pass  # a file that has less, such as one that the step itself has wiped, says nothing of the log
        return Proof.WHOLE

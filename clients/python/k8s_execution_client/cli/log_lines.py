"""Batches of log as lines for people: prefix, time, gaps, and nothing a terminal would obey.

Pure but for the function it is given to write with.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import TYPE_CHECKING

from k8s_execution_client.terminal import safe

if TYPE_CHECKING:
    from k8s_execution_client._gen.maestro.k8s.execution.v1.logs_pb2 import LogBatch, LogLine

Write = Callable[[str], None]


class LogLines:
    """Writes batches; `write` gets text with its line break, `note` (gaps, which are no lines of the log) without.

    `raw` leaves the text as the container wrote it, for files and pipes. A piece of an overlong line is written without
    a line break, so that the pieces join; not with `prefix`, where pieces of several streams would mix.
    """

    def __init__(self, write: Write, note: Write, *, prefix: bool, timestamps: bool = False, raw: bool = False) -> None:
        """Nothing is written yet."""
        self._write = write
        self._note = note
        self._prefix = prefix
        self._timestamps = timestamps
        self._raw = raw

    def batch(self, batch: LogBatch) -> None:
        """Write one batch: its gap, then its lines."""
        prefix = prefix_of(batch) if self._prefix else ""
        if batch.HasField("gap"):
            self._note(f"{prefix_of(batch)}--- {gap_text(batch)} ---")
        for line in batch.lines:
            text = line.text if self._raw else safe(line.text)
            end = "" if line.partial and not self._prefix else "\n"
            self._write(f"{prefix}{_stamp(line) if self._timestamps else ''}{text}{end}")


def prefix_of(batch: LogBatch) -> str:
    """`[pod container] `; restarts of a container are told apart."""
    stream = batch.stream
    restart = f" restart {stream.restart}" if stream.restart else ""
    return f"[{safe(stream.pod)} {safe(stream.container)}{restart}] "


def gap_text(batch: LogBatch) -> str:
    """What is missing and why."""
    gap = batch.gap
    count = gap.to_sequence - gap.from_sequence + 1
    missing = f"{count} lines are missing" if count > 0 else "lines are missing"
    return f"{missing} before line {gap.to_sequence + 1}: {safe(gap.reason)}"


def _stamp(line: LogLine) -> str:
    moment = line.time.ToDatetime(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}Z "

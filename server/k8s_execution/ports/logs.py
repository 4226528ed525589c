"""Logs: who collects them, and the segment store that everyone reads."""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

from k8s_execution.domain.facts import PodFact
from k8s_execution.domain.redaction import Masker


@dataclass(frozen=True, slots=True)
class LogStream:
    """Names one container's log within an execution; `restart` counts the container's runs from 0."""

    pod: str
    container: str
    step: str = ""
    step_kind: str = ""
    application: str = ""
    attempt: int = 1
    shard: int = 0
    restart: int = 0


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line: time in nanoseconds since the epoch (the container runtime's), masked raw bytes without newline.

    `partial` marks a fragment of a line longer than 64 KiB, or a last line without newline.
    """

    time: int
    data: bytes
    partial: bool = False


@dataclass(frozen=True, slots=True)
class LogLines:
    """The lines of a batch in columns, because at 100,000 lines a second an object a line is what costs.

    `times` in ns, the masked bytes joined by newline, and the indexes of the lines without newline, ascending. Equal
    if the lines are.
    """

    times: array[int] = field(default_factory=lambda: array("q"))
    text: bytes = b""
    partial: array[int] = field(default_factory=lambda: array("I"))

    @classmethod
    def of(cls, lines: Iterable[LogLine]) -> Self:
        """The columns of these lines."""
        rows = list(lines)
        partial = array("I", [number for number, line in enumerate(rows) if line.partial])
        return cls(array("q", [line.time for line in rows]), b"\n".join(line.data for line in rows), partial)

    @property
    def raw_bytes(self) -> int:
        """How many bytes the lines are, newlines included."""
        return len(self.text) + 1 - len(self.partial) if self.times else 0

    def __len__(self) -> int:
        """How many lines."""
        return len(self.times)

    def __iter__(self) -> Iterator[LogLine]:
        """Line by line."""
        without = frozenset(self.partial)
        rows = zip(self.times, self.text.split(b"\n") if self.times else (), strict=True)
        return (LogLine(time, data, number in without) for number, (time, data) in enumerate(rows))


@dataclass(frozen=True, slots=True)
class LogGap:
    """What could not be had: sequences [from, to] (to may equal from - 1 where the number is unknown) and why."""

    from_sequence: int
    to_sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class LogBatch:
    """The durable unit: lines of one stream with a dense sequence. `index` is its place in the execution's order."""

    index: int
    stream: LogStream
    first_sequence: int
    lines: LogLines = LogLines()
    gap: LogGap | None = None
    end: bool = False


@dataclass(frozen=True, slots=True)
class LogSummary:
    """What was sealed: totals over all streams, SHA-256 of the journal, and the reasons of its gaps."""

    lines: int
    bytes: int
    sha256: str
    gaps: tuple[str, ...]


Fill = Callable[[PodFact, int], AsyncIterator[bytes]]
"""Reads a step's output file from a byte offset through the collector, where the API's log has a gap."""


class LogCollector(Protocol):
    """Follows containers and stores what they say."""

    def observe(self, execution_id: str, pods: Sequence[PodFact], masker: Masker) -> None:
        """Follow every container of these pods that is not followed yet; cheap, called at every reconcile."""
        ...

    def unread(self, execution_id: str) -> frozenset[str]:
        """The pods of which a log is not yet read to its proven end."""
        ...

    async def seal(self, execution_id: str, pods: Sequence[PodFact], timeout: float) -> LogSummary:
        """Read every log to its present end, end every stream, seal the journal; repeatable after a crash."""
        ...

    async def forget(self, execution_id: str) -> None:
        """Stop all follows of an execution (it is no longer ours, or done)."""
        ...


class LogReader(Protocol):
    """Reads the segment store: the same batches live, late and after the end."""

    def read(self, execution_id: str, after: int, *, follow: bool) -> AsyncGenerator[LogBatch, None]:
        """Batches with an index greater than `after`; with `follow` until the journal is sealed, else what is there."""
        ...

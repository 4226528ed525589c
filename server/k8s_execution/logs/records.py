"""One batch as bytes and back; pure.

The journal of an execution is a sequence of frames, nothing else. A frame, all numbers little-endian:

    length u32, crc32 u32        of the body (zlib.crc32)
    body:
      flags u8                   1 end of stream, 2 gap, 4 seal
      stream_bytes u16           length of the stream's JSON
      lines u32, partials u32
      first_sequence u64
      token i64 u32 u32 i64 i64  time, count, fragments, latest, raw: where the stream goes on behind it (`resume`)
      stream                     JSON of `LogStream`, so that every frame can be read alone
      times                      lines x i64, ns since the epoch
      partial                    partials x u32, which lines have no newline
      text                       the masked lines joined by newline; of a gap or a seal its JSON

**The digest** of a journal (`LogSummary.sha256`) is SHA-256 over the lines of all batches in the order of the journal,
each line's masked bytes followed by one newline unless it is partial. Times, gaps and streams do not enter. A batch
holds either lines or a gap; `end` may come with either.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from array import array
from dataclasses import asdict, dataclass
from functools import lru_cache

from k8s_execution.logs.resume import Token
from k8s_execution.ports.logs import LogBatch, LogGap, LogLines, LogStream

HEAD = struct.Struct("<II")
_BODY = struct.Struct("<BHIIQqIIqq")
LARGEST = 64 * 1024 * 1024
"""No frame is longer: a greater length is damage."""

END, GAP, SEAL = 1, 2, 4


class Damaged(ValueError):
    """Bytes that are no whole frame of ours."""


@dataclass(frozen=True, slots=True)
class Record:
    """A decoded frame, its lines in columns. `note` is the JSON of a gap or a seal."""

    flags: int
    stream: LogStream
    first_sequence: int
    token: Token
    lines: LogLines
    note: bytes = b""

    @property
    def gap(self) -> LogGap | None:
        """The gap, if it is one."""
        if not self.flags & GAP:
            return None
        note = json.loads(self.note)
        return LogGap(self.first_sequence, int(note["to"]), str(note["reason"]))

    def batch(self, index: int) -> LogBatch:
        """The batch as readers get it; `index` is its place in the journal."""
        return LogBatch(index, self.stream, self.first_sequence, self.lines, self.gap, bool(self.flags & END))


@lru_cache(maxsize=1024)
def stream_json(stream: LogStream) -> bytes:
    """A stream's name as JSON; defaults are left out."""
    return json.dumps({k: v for k, v in asdict(stream).items() if v not in {"", 0}}).encode()


@lru_cache(maxsize=1024)
def _stream(text: bytes) -> LogStream:
    values = json.loads(text)
    return LogStream(
        pod=values.get("pod", ""),
        container=values.get("container", ""),
        step=values.get("step", ""),
        step_kind=values.get("step_kind", ""),
        application=values.get("application", ""),
        attempt=values.get("attempt", 0),
        shard=values.get("shard", 0),
        restart=values.get("restart", 0),
    )


def gap_note(to_sequence: int, reason: str) -> bytes:
    """The JSON of a gap."""
    return json.dumps({"to": to_sequence, "reason": reason}).encode()


def encode(record: Record) -> bytes:
    """The frame of a record."""
    stream = stream_json(record.stream)
    lines, token = record.lines, record.token
    body = b"".join((
        _BODY.pack(
            record.flags, len(stream), len(lines.times), len(lines.partial), record.first_sequence,
            token.time, token.count, token.fragments, token.latest, token.raw,
        ),
        stream, _integers(lines.times), _integers(lines.partial), record.note or lines.text,
    ))  # fmt: skip
    return HEAD.pack(len(body), zlib.crc32(body)) + body


def decode(body: bytes, crc: int) -> Record:
    """The record of a frame's body; Damaged if the checksum is not its own."""
    if zlib.crc32(body) != crc or len(body) < _BODY.size:
        raise Damaged("a frame of the log journal is damaged")
    flags, stream_bytes, lines, partials, first, *token = _BODY.unpack_from(body)
    at = _BODY.size
    stream = _stream(body[at : at + stream_bytes])
    at += stream_bytes
    times = _column("q", body[at : at + 8 * lines])
    at += 8 * lines
    partial = _column("I", body[at : at + 4 * partials])
    text = body[at + 4 * partials :]
    if flags & (GAP | SEAL):
        return Record(flags, stream, first, Token(*token), LogLines(), text)
    return Record(flags, stream, first, Token(*token), LogLines(times, text, partial))


def _integers(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def _column(code: str, data: bytes) -> array[int]:
    numbers = array(code)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers

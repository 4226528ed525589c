"""Lines of log in protobuf's binary form, written column by column; pure, and the hottest path of the service.

What is written is byte for byte what protobuf itself writes for `LogBatch.lines` (field numbers come from the
descriptors, and the tests compare), at a third of the cost: protobuf's Python binding makes two objects a line. A
column of nanoseconds becomes varints by arithmetic on one large integer, 64 bits a line. It must not know batches,
cursors or streams: that is `encode_logs`.
"""

from __future__ import annotations

from array import array
from itertools import chain
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from k8s_execution.ports.logs import LogLines
from k8s_execution_client._gen.maestro.k8s.execution.v1 import logs_pb2 as pb

NANO = 1_000_000_000
BLOCK = 512
"""Lines worked on at once: the masks below have so many lanes."""

KEPT_LENGTHS = 4096
"""Lengths of lines of which the bytes before the text are kept."""

_VARINT, _BYTES = 0, 2


def varint(number: int) -> bytes:
    """A number from 0 on as protobuf's varint: seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _tag(message: Any, name: str, wire_type: int) -> bytes:
    field: FieldDescriptor = message.DESCRIPTOR.fields_by_name[name]
    return varint(field.number << 3 | wire_type)


_LINE = _tag(pb.LogBatch, "lines", _BYTES)
_TIME = _tag(pb.LogLine, "time", _BYTES)
_TEXT = _tag(pb.LogLine, "text", _BYTES)
_PARTIAL = _tag(pb.LogLine, "partial", _VARINT) + b"\x01"
_SECONDS = _tag(Timestamp, "seconds", _VARINT)
_NANOS = _tag(Timestamp, "nanos", _VARINT)


def _lanes(value: int) -> int:
    """The value in each of BLOCK lanes of 64 bits."""
    return int.from_bytes(value.to_bytes(8, "little") * BLOCK, "little")


_ONES = _lanes(1)
_SEPTETS = [_lanes(0x7F << 7 * place) for place in range(5)]
_REACHES = [_lanes((1 << 32) - (1 << 7 * place)) for place in range(1, 5)]
"""Added to a number below 2^31, this sets bit 32 if the number needs more than `place` bytes."""


def varints(numbers: array[int]) -> list[bytes]:
    """At most BLOCK numbers from 0 to 2^30 (`array("Q")`) as varints.

    Each number's septets are moved apart to bytes; all but the last byte that it needs get the bit that says so.
    """
    column = int.from_bytes(numbers.tobytes() if _LITTLE else _swapped(numbers), "little")
    spread, widths = 0, _ONES
    for place, mask in enumerate(_SEPTETS):
        spread |= (column & mask) << place
    for place, reach in enumerate(_REACHES):
        more = column + reach >> 32 & _ONES
        spread |= more << 8 * place + 7
        widths += more
    # Lanes beyond the last number hold nothing that is looked at.
    data = spread.to_bytes(8 * BLOCK, "little")
    sizes = widths.to_bytes(8 * BLOCK, "little")[: 8 * len(numbers) : 8]
    return [data[at : at + size] for at, size in zip(range(0, 8 * len(numbers), 8), sizes, strict=True)]


_LITTLE = array("H", [1]).tobytes() == b"\x01\x00"


def _swapped(numbers: array[int]) -> bytes:
    copy = numbers[:]
    copy.byteswap()
    return copy.tobytes()


class _Texts(dict[int, bytes]):
    """Tag and length of a text by its length; proto3 leaves an empty one out."""

    def __missing__(self, length: int) -> bytes:
        made = _TEXT + varint(length) if length else b""
        if length < KEPT_LENGTHS:
            self[length] = made
        return made


_TEXTS = _Texts()


class _Heads(dict[int, bytes]):
    """What stands before a line's nanoseconds, for one second; the key is the text's length * 8 + their bytes."""

    def __init__(self, second: int) -> None:
        super().__init__()
        self._second = _SECONDS + varint(second) if second else b""

    def __missing__(self, key: int) -> bytes:
        length, size = key >> 3, key & 7
        time = _TIME + varint(len(self._second) + len(_NANOS) + size) + self._second + _NANOS
        made = _LINE + varint(len(time) + size + len(_TEXTS[length]) + length) + time
        if length < KEPT_LENGTHS:
            self[key] = made
        return made


def encoded(lines: LogLines) -> bytes:
    """The lines as the field `lines` of a LogBatch; bytes that are no UTF-8 become U+FFFD."""
    if not lines.times:
        return b""
    text = lines.text
    if not text.isascii():
        text = text.decode("utf-8", "replace").encode()
    data = text.split(b"\n")
    without = frozenset(lines.partial)
    parts: list[bytes] = []
    for begin, end, second in _runs(lines.times):
        if begin + 1 == end or not without.isdisjoint(range(begin, end)):
            parts += (_one(lines.times[n], data[n], partial=n in without) for n in range(begin, end))
            continue
        parts += _block(second, lines.times[begin:end], data[begin:end])
    return b"".join(parts)


def _runs(times: array[int]) -> list[tuple[int, int, int]]:
    """(begin, end, second) of lines that follow each other within one second, at most BLOCK at a time."""
    found, begin, count = [], 0, len(times)
    while begin < count:
        second = times[begin] // NANO
        low, high = second * NANO, second * NANO + NANO
        end = min(begin + BLOCK, count)
        column = times[begin:end]
        if min(column) < low or max(column) >= high:
            end = begin + next(n for n, time in enumerate(column) if not low <= time < high)
        found.append((begin, end, second))
        begin = end
    return found


def _block(second: int, times: array[int], data: list[bytes]) -> chain[bytes]:
    """Lines of one second, all with newline and none at its very beginning (whose nanos proto3 leaves out)."""
    base = second * NANO
    nanos = array("Q", [time - base for time in times])
    if 0 in nanos or second < 0:
        return chain(_one(time, line, partial=False) for time, line in zip(times, data, strict=True))
    heads = _Heads(second)
    fractions, lengths = varints(nanos), list(map(len, data))
    keys = [length << 3 | len(fraction) for length, fraction in zip(lengths, fractions, strict=True)]
    columns = zip(map(heads.__getitem__, keys), fractions, map(_TEXTS.__getitem__, lengths), data, strict=True)
    return chain.from_iterable(columns)


def _one(time: int, data: bytes, *, partial: bool) -> bytes:
    """A line by itself."""
    second, nanos = divmod(time, NANO)
    stamp = (_SECONDS + varint(second % (1 << 64)) if second else b"") + (_NANOS + varint(nanos) if nanos else b"")
    line = _TIME + varint(len(stamp)) + stamp + _TEXTS[len(data)] + data + (_PARTIAL if partial else b"")
    return _LINE + varint(len(line)) + line

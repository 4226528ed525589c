"""The journal's file: finding whole frames in it, reading runs of them, the sidecars of a sealed one.

All functions block on the disk: run them in the executor, except `append` (one write to the page cache). It must not
know about streams' state or followers: that is `segments` and `reader`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from k8s_execution.logs.records import HEAD, LARGEST, SEAL, Damaged, Record, decode
from k8s_execution.ports.logs import LogBatch, LogSummary

JOURNAL = "journal"
INDEX = "index"
SUMMARY = "seal.json"
RUN_BYTES = 128 * 1024
"""How much one read of a late reader takes (to within one frame). Every slow reader holds so much."""


@dataclass(slots=True)
class Index:
    """Where the batches of a journal begin. `end` is where the last whole frame ends; the seal is not in `offsets`."""

    offsets: array[int] = field(default_factory=lambda: array("Q"))
    end: int = 0
    sealed: bool = False
    closed: bool = False

    def extend(self, fd: int) -> None:
        """Take in frames that another process appended since; an unfinished last frame is not there yet."""
        size = os.fstat(fd).st_size
        while self.end + HEAD.size < size and not self.sealed:
            head = os.pread(fd, HEAD.size + 1, self.end)
            length = HEAD.unpack_from(head)[0]
            if length > LARGEST or self.end + HEAD.size + length > size:
                return
            if head[HEAD.size] & SEAL:
                self.sealed = True
            else:
                self.offsets.append(self.end)
            self.end += HEAD.size + length


def frames(fd: int) -> Iterator[tuple[int, int, Record]]:
    """(begin, end, record) of every whole, undamaged frame from the beginning; stops before the first that is not."""
    size = os.fstat(fd).st_size
    at = 0
    while at + HEAD.size < size:
        length, crc = HEAD.unpack(os.pread(fd, HEAD.size, at))
        end = at + HEAD.size + length
        if length > LARGEST or end > size:
            return
        try:
            record = decode(os.pread(fd, length, at + HEAD.size), crc)
        except Damaged:
            return
        yield at, end, record
        at = end


def append(fd: int, frame: bytes, end: int) -> None:
    """One write at the end, whole or not at all; OSError where the disk is full."""
    written = 0
    try:
        written = os.write(fd, frame)
    finally:
        if written != len(frame):
            os.ftruncate(fd, end)
    if written != len(frame):
        raise OSError(errno.ENOSPC, "the disk took only a part of a log frame")


def read_run(fd: int, index: Index, first: int) -> list[LogBatch]:
    """Batches from `first` on, about `RUN_BYTES` of them; Damaged if one does not match its checksum."""
    offsets = index.offsets
    count = len(offsets)
    if first >= count:
        return []
    begin, last = offsets[first], first + 1
    while last < count and offsets[last] - begin < RUN_BYTES:
        last += 1
    end = offsets[last] if last < count else index.end
    data = os.pread(fd, end - begin, begin)
    batches = []
    for number in range(first, last):
        at = offsets[number] - begin
        length, crc = HEAD.unpack_from(data, at)
        batches.append(decode(data[at + HEAD.size : at + HEAD.size + length], crc).batch(number))
    return batches


def digest(fd: int) -> LogSummary:
    """Totals and SHA-256 of a whole journal, as `records` defines them."""
    total, lines, size = hashlib.sha256(), 0, 0
    gaps: dict[str, None] = {}
    for _, _, record in frames(fd):
        columns = record.lines
        if record.gap is not None:
            stream = record.stream
            gaps[f"{record.gap.reason}: {stream.pod}/{stream.container} run {stream.restart}"] = None
        if not columns.times:
            continue
        lines += len(columns.times)
        size += columns.raw_bytes
        _hash(total, record)
    return LogSummary(lines, size, total.hexdigest(), tuple(gaps))


def _hash(total: hashlib._Hash, record: Record) -> None:
    columns = record.lines
    if not columns.partial:
        total.update(columns.text)
        total.update(b"\n")
        return
    without = set(columns.partial)
    for number, data in enumerate(columns.text.split(b"\n")):
        total.update(data if number in without else data + b"\n")


def write_sidecars(folder: Path, index: Index, summary: LogSummary) -> None:
    """What a late reader needs to start anywhere at once, written after the seal frame is on the disk."""
    offsets = array("Q", index.offsets)
    _replace(folder / INDEX, offsets.tobytes())
    text = json.dumps({**asdict(summary), "batches": len(offsets), "journal_bytes": index.end}, indent=1)
    _replace(folder / SUMMARY, text.encode() + b"\n")
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_index(folder: Path, fd: int) -> Index:
    """The index of a journal: from the sidecar of a sealed one, else by hopping from frame to frame."""
    try:
        note = json.loads((folder / SUMMARY).read_bytes())
        offsets = array("Q")
        offsets.frombytes((folder / INDEX).read_bytes())
    except FileNotFoundError:
        index = Index()
        index.extend(fd)
        return index
    return Index(offsets, int(note["journal_bytes"]), sealed=True)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)

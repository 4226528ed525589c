"""Looks through an uploaded tar.gz as it passes: is it one, is every name in it safe, how many files are in it. Pure.

Keeps at most one header and one long name in memory. The agent checks again where it unpacks (it trusts nobody): this
is to tell the caller at once. It must not keep or unpack contents.
"""

from __future__ import annotations

import tarfile
import zlib

BLOCK = 512
UNPACKED_LIMIT = 512 << 20
ENTRIES_LIMIT = 100_000
"""What the agent takes at most (agent/receive.go)."""
_NAME_LIMIT = 64 * 1024
_STEP = 1 << 20
_NAMES = {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}
_FOLDERS_AND_LINKS = {tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE}
_DEVICES = {tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE}


class Unfit(Exception):
    """Why the archive is refused, in words; `rule` names the rule and `value` what broke it."""

    def __init__(self, rule: str, message: str, value: str = "") -> None:
        """Hold the three."""
        super().__init__(message)
        self.rule = rule
        self.message = message
        self.value = value


class Inspector:
    """Feed it the bytes in order, then `finish`; both raise Unfit."""

    def __init__(self) -> None:
        """Begin before the first byte."""
        self.files = 0
        self._entries = 0
        self._gzip = zlib.decompressobj(wbits=31)
        self._unpacked = 0
        self._pending = b""
        self._skip = 0
        self._name_left = 0
        self._name_kind = b""
        self._name = b""
        self._long_name = ""
        self._ended = False

    def feed(self, data: bytes) -> None:
        """The next bytes of the archive."""
        while data:
            if self._gzip.eof:
                if data.strip(b"\0"):
                    raise Unfit("bundle.form", "must be one gzip stream, with nothing after it")
                return
            try:
                plain = self._gzip.decompress(data, _STEP)
            except zlib.error as error:
                raise Unfit("bundle.form", "must be a tar.gz archive, and is no gzip stream") from error
            data = self._gzip.unconsumed_tail or self._gzip.unused_data
            self._unpacked += len(plain)
            if self._unpacked > UNPACKED_LIMIT:
                raise Unfit("bundle.unpacked", f"must not unpack to more than {UNPACKED_LIMIT >> 20} MiB")
            self._tar(plain)

    def finish(self) -> int:
        """The number of files, when all bytes were fed."""
        while not self._gzip.eof:
            plain = self._gzip.decompress(b"", _STEP)
            if not plain:
                break
            self._tar(plain)
        if not self._gzip.eof:
            raise Unfit("bundle.form", "must be a whole tar.gz archive, and is cut off")
        if not self._ended or self._skip or self._name_left:
            raise Unfit("bundle.form", "must be a tar.gz archive, and does not end as one")
        return self.files

    def _tar(self, plain: bytes) -> None:
        data = self._pending + plain if self._pending else plain
        at = 0
        while at < len(data) and not self._ended:
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
            elif self._name_left:
                step = min(self._name_left, len(data) - at)
                self._take_name(data[at : at + step])
            elif len(data) - at < BLOCK:
                break
            else:
                step = BLOCK
                self._header(data[at : at + BLOCK])
            at += step
        self._pending = b"" if self._ended else data[at:]

    def _header(self, block: bytes) -> None:
        if not any(block):
            self._ended = True
            return
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise Unfit("bundle.form", "must be a tar.gz archive, and holds no tar inside") from error
        padding = -header.size % BLOCK
        if header.size < 0 or header.size > UNPACKED_LIMIT:
            raise Unfit("bundle.unpacked", f"must not unpack to more than {UNPACKED_LIMIT >> 20} MiB")
        if header.type in _NAMES:
            if header.size > _NAME_LIMIT:
                raise Unfit("bundle.name", "must not hold names of more than 64 KiB")
            self._name_kind, self._name, self._name_left = header.type, b"", header.size + padding
            return
        self._skip = 0 if header.type in _FOLDERS_AND_LINKS else header.size + padding
        if header.type != tarfile.XGLTYPE:
            self._entry(header)

    def _take_name(self, piece: bytes) -> None:
        self._name += piece
        self._name_left -= len(piece)
        if self._name_left:
            return
        if self._name_kind == tarfile.GNUTYPE_LONGNAME:
            self._long_name = self._name.partition(b"\0")[0].decode("utf-8", "surrogateescape")
        elif self._name_kind != tarfile.GNUTYPE_LONGLINK:
            self._long_name = _pax_path(self._name) or self._long_name

    def _entry(self, header: tarfile.TarInfo) -> None:
        name, self._long_name = self._long_name or header.name, ""
        self._entries += 1
        if self._entries > ENTRIES_LIMIT:
            raise Unfit("bundle.entries", f"must hold at most {ENTRIES_LIMIT} entries")
        if header.type in _DEVICES:
            raise Unfit("bundle.entry", "must hold only files, folders and links", name)
        if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise Unfit("bundle.path", "must hold only relative paths without '..'", name)
        self.files += header.type != tarfile.DIRTYPE


def _pax_path(records: bytes) -> str:
    """The `path` of a pax header: records `LENGTH key=value newline`, the length counting the whole record."""
    found = ""
    while records.strip(b"\0"):
        length, _, _ = records.partition(b" ")
        if not length.isdigit() or int(length) <= len(length) + 1:
            raise Unfit("bundle.form", "must be a tar.gz archive, and has a broken extended header")
        key, _, value = records[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"path":
            found = value.decode("utf-8", "surrogateescape")
        records = records[int(length) :]
    return found

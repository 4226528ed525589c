"""The agent's tar stream, whole, cut anyhow, and hostile."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator

import pytest

from k8s_execution.evidence.tarstream import BadStream, TarStream

LONG = "reports/" + "/".join(["d" * 100] * 4) + "/ü.xml"


def tar(*entries: tuple[str, bytes], **header: object) -> bytes:
    """A tar of these files; `header` changes every entry."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for attribute, value in header.items():
                setattr(info, attribute, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


async def chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def read(data: bytes, size: int = 1000) -> list[tuple[str, bytes]]:
    stream, found = TarStream(chunks(data, size)), []
    while (entry := await stream.next()) is not None:
        found.append((entry.name, b"".join([c async for c in stream.contents()])))
    return found


FILES = [("reports/a.xml", b"x" * 511), ("artifacts/empty", b""), (LONG, b"y" * 1025), ("manifest.json", b"{}")]


@pytest.mark.parametrize("size", [1, 7, 511, 512, 513, 1 << 20])
async def test_entries_are_read_however_the_stream_is_cut(size: int) -> None:
    assert await read(tar(*FILES), size) == FILES


async def test_contents_may_be_passed_over() -> None:
    stream, names = TarStream(chunks(tar(*FILES), 100)), []
    while (entry := await stream.next()) is not None:
        names.append(entry.name)
    assert names == [name for name, _ in FILES]


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "reports/../../x", "..", "reports//x", "reports/.", "a/" + "n" * 256, "a/" * 3000 + "x"]
)
async def test_names_that_lead_outside_are_refused(name: str) -> None:
    with pytest.raises(BadStream, match="name"):
        await read(tar((name, b"")))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
async def test_only_regular_files_are_accepted(kind: bytes) -> None:
    with pytest.raises(BadStream, match="regular"):
        await read(tar(("reports/x", b""), type=kind, linkname="/etc/passwd"))


async def test_a_nul_in_a_pax_name_is_refused() -> None:
    with pytest.raises(BadStream, match="plain relative"):
        await read(tar(("reports/x", b""), pax_headers={"path": "reports/x\0y"}))


async def test_a_sparse_file_is_refused() -> None:
    with pytest.raises(BadStream, match="regular"):
        await read(tar(("reports/x", b""), pax_headers={"GNU.sparse.major": "1"}))


@pytest.mark.parametrize("kept", [0, 1, 511, 512, 900, 1024, 1535])
async def test_a_cut_stream_is_an_error(kept: int) -> None:
    with pytest.raises(BadStream, match="cut"):
        await read(tar(*FILES)[:kept])


async def test_a_damaged_header_is_an_error() -> None:
    data = bytearray(tar(*FILES))
    data[0] ^= 1
    with pytest.raises(BadStream, match="checksum"):
        await read(bytes(data))


async def test_a_pax_header_cannot_be_endless() -> None:
    with pytest.raises(BadStream, match="pax"):
        await read(tar(("reports/x", b""), pax_headers={"comment": "c" * 100_000}))

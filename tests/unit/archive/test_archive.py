"""The archive on a real folder: whole files only, safe paths, truthful listings, bundles by content."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.domain.faults import NotFound, TooLarge
from k8s_execution.evidence.archive import CHUNK, LocalArchive, checked_path
from k8s_execution.ports.archive import Archive, StoredFile

ID = "a" * 26
LIMIT = 1 << 20


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    """These parts as a stream."""
    for part in parts:
        yield part


async def joined(stream: AsyncIterator[bytes]) -> bytes:
    """A whole stream."""
    return b"".join([part async for part in stream])


def sha256(data: bytes) -> str:
    """The hex digest."""
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """The bounded pool of the service."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the archive lies; not made yet."""
    return tmp_path / "data" / "archive"


@pytest.fixture
def archive(root: Path, executor: ThreadPoolExecutor) -> LocalArchive:
    """An empty archive."""
    return LocalArchive(root, executor, bundle_limit=LIMIT)


def below(root: Path, *, folders: bool) -> list[Path]:
    """All folders, or all files."""
    return [p for p in root.rglob("*") if p.is_dir() is folders]


def left_behind(root: Path) -> list[str]:
    """Temporary files that lie about."""
    return [p.name for p in root.glob(".incoming-*")]


async def test_what_is_put_is_got_with_size_and_digest(archive: LocalArchive) -> None:
    """Bytes, size and SHA-256 of several chunks."""
    stored = await archive.put(ID, "steps/unit/report.xml", chunks(b"abc", b"", b"def"))
    assert stored == StoredFile("steps/unit/report.xml", 6, sha256(b"abcdef"))
    assert await joined(archive.get(ID, "steps/unit/report.xml")) == b"abcdef"


async def test_an_empty_file_is_a_file(archive: LocalArchive) -> None:
    """A stream of no chunks."""
    stored = await archive.put(ID, "empty", chunks())
    assert stored == StoredFile("empty", 0, sha256(b""))
    assert await joined(archive.get(ID, "empty")) == b""


async def test_a_big_file_comes_in_bounded_chunks(archive: LocalArchive) -> None:
    """No chunk is larger than 256 KiB."""
    data = os.urandom(3 * CHUNK + 17)
    await archive.put(ID, "big", chunks(data))
    got = [part async for part in archive.get(ID, "big")]
    assert b"".join(got) == data
    assert [len(part) for part in got] == [CHUNK, CHUNK, CHUNK, 17]


async def test_a_second_put_replaces_the_first(archive: LocalArchive) -> None:
    """In the file and in the listing; a reader of the first reads it to its end."""
    await archive.put(ID, "log", chunks(b"x" * (CHUNK + 1)))
    reader = archive.get(ID, "log")
    first = await anext(reader)
    await archive.put(ID, "log", chunks(b"second"))
    assert first + await joined(reader) == b"x" * (CHUNK + 1)
    assert await joined(archive.get(ID, "log")) == b"second"
    assert await archive.list(ID) == [StoredFile("log", 6, sha256(b"second"))]


async def test_the_listing_is_by_path(archive: LocalArchive) -> None:
    """Folders and files in plain order of their paths."""
    for path in ("b", "a/z", "a-b", "a/b/c"):
        await archive.put(ID, path, chunks(path.encode()))
    assert [f.path for f in await archive.list(ID)] == ["a-b", "a/b/c", "a/z", "b"]


async def test_nothing_kept_lists_nothing(archive: LocalArchive) -> None:
    """An execution without evidence."""
    assert await archive.list("b" * 26) == []


async def test_a_file_that_is_not_there_is_not_found(archive: LocalArchive) -> None:
    """Neither a missing name, nor a folder, nor something below a file."""
    await archive.put(ID, "a/b", chunks(b"x"))
    for path in ("c", "a", "a/b/c"):
        with pytest.raises(NotFound):
            await joined(archive.get(ID, path))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "..",
        "a/../b",
        "./a",
        "a//b",
        "a/",
        "a/.",
        "a\0b",
        "a\\b",
        "x" * 256,
        "a/" * 600 + "a",
        "\ud800",
    ],
)
async def test_an_unsafe_path_is_refused(archive: LocalArchive, root: Path, path: str) -> None:
    """Before anything touches the disk, for writing and for reading."""
    with pytest.raises(ValueError, match="no relative path"):
        await archive.put(ID, path, chunks(b"x"))
    with pytest.raises(ValueError, match="no relative path"):
        await joined(archive.get(ID, path))
    assert below(root, folders=False) == []


@pytest.mark.parametrize("execution_id", ["", "..", "a/b", "A", "-a", "a" * 65, "a\n"])
async def test_an_unsafe_execution_id_is_refused(archive: LocalArchive, execution_id: str) -> None:
    """It names a folder."""
    with pytest.raises(ValueError, match="no execution id"):
        await archive.put(execution_id, "a", chunks(b"x"))


@given(st.text(max_size=40))
def test_a_checked_path_stays_inside(path: str) -> None:
    """Whatever passes the check, joined to a folder, lies below it."""
    try:
        checked_path(path)
    except ValueError:
        return
    inside = os.path.normpath(f"/root/files/{path}")
    assert inside == f"/root/files/{path}"


async def test_folders_and_files_are_for_this_user_only(archive: LocalArchive, root: Path) -> None:
    """Mode 0700 all the way, whatever the umask."""
    await archive.put(ID, "a/b/c", chunks(b"x"))
    await archive.put_bundle(chunks(b"x"))
    assert {oct(p.stat().st_mode & 0o777) for p in [root, *below(root, folders=True)]} == {"0o700"}


class Broken(Exception):
    """What the source of the bytes raises."""


async def test_a_broken_source_leaves_nothing(archive: LocalArchive, root: Path) -> None:
    """The earlier file stays as it was."""

    async def source() -> AsyncIterator[bytes]:
        yield b"half"
        raise Broken

    await archive.put(ID, "log", chunks(b"first"))
    with pytest.raises(Broken):
        await archive.put(ID, "log", source())
    assert await joined(archive.get(ID, "log")) == b"first"
    assert left_behind(root) == []


async def test_a_cancelled_put_leaves_nothing(archive: LocalArchive, root: Path) -> None:
    """Cancelled while it waits for bytes."""
    waits = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield b"half"
        waits.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(archive.put(ID, "log", source()))
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await archive.list(ID) == []
    assert left_behind(root) == []


async def test_a_place_that_cannot_be_had_leaves_nothing(archive: LocalArchive, root: Path) -> None:
    """A file where a folder is needed."""
    await archive.put(ID, "a", chunks(b"x"))
    with pytest.raises(OSError, match="exist"):
        await archive.put(ID, "a/b", chunks(b"y"))
    assert left_behind(root) == []
    assert [f.path for f in await archive.list(ID)] == ["a"]


async def test_a_lost_index_is_made_again(archive: LocalArchive, root: Path) -> None:
    """The digests are computed from the files."""
    await archive.put(ID, "a/b", chunks(b"x"))
    before = await archive.list(ID)
    (root / "executions" / ID / "index.jsonl").unlink()
    assert await archive.list(ID) == before
    assert (root / "executions" / ID / "index.jsonl").exists()


async def test_a_torn_index_line_spoils_only_itself(archive: LocalArchive, root: Path) -> None:
    """A crash in the middle of a line, and another file put after it."""
    await archive.put(ID, "a", chunks(b"1"))
    index = root / "executions" / ID / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-20])
    await archive.put(ID, "b", chunks(b"2"))
    assert await archive.list(ID) == [StoredFile("a", 1, sha256(b"1")), StoredFile("b", 1, sha256(b"2"))]


async def test_a_file_without_an_index_line_is_listed(archive: LocalArchive, root: Path) -> None:
    """The process ended between rename and index line."""
    await archive.put(ID, "a", chunks(b"1"))
    index = root / "executions" / ID / "index.jsonl"
    before = index.read_bytes()
    await archive.put(ID, "b", chunks(b"2"))
    await archive.put(ID, "a", chunks(b"other"))
    index.write_bytes(before)
    assert await archive.list(ID) == [StoredFile("a", 5, sha256(b"other")), StoredFile("b", 1, sha256(b"2"))]


async def test_the_index_saves_reading(archive: LocalArchive, root: Path) -> None:
    """A listing does not read the files: here one that cannot be read any more."""
    await archive.put(ID, "a", chunks(b"1"))
    file = root / "executions" / ID / "files" / "a"
    stat = file.stat()
    with file.open("r+b") as content:
        content.write(b"2")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert await archive.list(ID) == [StoredFile("a", 1, sha256(b"1"))]


async def test_many_at_once_are_all_listed(archive: LocalArchive) -> None:
    """No index line is lost to another."""
    await asyncio.gather(*(archive.put(ID, f"f{n:03}", chunks(b"%d" % n)) for n in range(60)))
    assert [f.path for f in await archive.list(ID)] == [f"f{n:03}" for n in range(60)]


async def test_two_archives_share_a_folder(root: Path, executor: ThreadPoolExecutor) -> None:
    """As two processes do."""
    first = LocalArchive(root, executor, bundle_limit=LIMIT)
    second = LocalArchive(root, executor, bundle_limit=LIMIT)
    await asyncio.gather(*((first, second)[n % 2].put(ID, f"f{n:02}", chunks(b"x")) for n in range(20)))
    assert await first.list(ID) == await second.list(ID)
    assert len(await first.list(ID)) == 20


async def test_an_execution_is_deleted_whole(archive: LocalArchive) -> None:
    """And only that one; once more is no fault."""
    other = "b" * 26
    await archive.put(ID, "a/b", chunks(b"x"))
    await archive.put(other, "a", chunks(b"x"))
    assert await archive.executions() == [ID, other]
    await archive.delete(ID)
    await archive.delete(ID)
    assert await archive.executions() == [other]
    assert await archive.list(ID) == []


async def test_the_loop_goes_on_while_the_disk_works(root: Path) -> None:
    """Everything runs in the executor: with its only thread held up, the loop still turns and the put waits."""
    with ThreadPoolExecutor(1) as pool:
        archive = LocalArchive(root, pool, bundle_limit=LIMIT)
        gate = threading.Event()
        pool.submit(gate.wait)
        task = asyncio.create_task(archive.put(ID, "a", chunks(b"x")))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not task.done()
        gate.set()
        assert (await task).bytes == 1


async def test_a_bundle_is_named_by_its_content(archive: LocalArchive) -> None:
    """The same bytes are the same bundle, however they are cut."""
    first = await archive.put_bundle(chunks(b"tar", b"gz"))
    second = await archive.put_bundle(chunks(b"targz"))
    assert first == second == StoredFile(f"b-{sha256(b'targz')[:26]}", 5, sha256(b"targz"))
    assert await archive.has_bundle(first.path)
    assert await joined(archive.get_bundle(first.path)) == b"targz"


async def test_a_bundle_over_the_limit_is_too_large(archive: LocalArchive, root: Path) -> None:
    """As soon as it is, and nothing stays; a bundle of just the limit is taken."""
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"x" * (LIMIT // 4)

    with pytest.raises(TooLarge, match=str(LIMIT)):
        await archive.put_bundle(endless())
    assert asked == 5
    assert left_behind(root) == []
    assert await archive.bundles() == []
    assert (await archive.put_bundle(chunks(b"x" * LIMIT))).bytes == LIMIT


@pytest.mark.parametrize(
    "bundle_id", ["", "b-", "b-" + "g" * 26, "b-" + "0" * 26, "../../etc/passwd", "b-" + "0" * 26 + "\n"]
)
async def test_a_bundle_that_is_not_there_is_not_found(archive: LocalArchive, bundle_id: str) -> None:
    """Whatever is asked for, also what is no bundle id."""
    assert not await archive.has_bundle(bundle_id)
    with pytest.raises(NotFound):
        await joined(archive.get_bundle(bundle_id))


async def test_bundles_unused_for_long_are_deleted(archive: LocalArchive, root: Path) -> None:
    """By when they were last uploaded or asked for."""
    old, asked, fresh = [await archive.put_bundle(chunks(c)) for c in (b"old", b"asked", b"fresh")]
    for stored in (old, asked):
        os.utime(root / "bundles" / stored.path, (1_000, 1_000))
    assert await archive.has_bundle(asked.path)
    assert (await archive.bundles())[0].id == old.path
    assert await archive.delete_bundles_unused_since(time.time() - 3600) == [old.path]
    assert {b.id for b in await archive.bundles()} == {asked.path, fresh.path}
    await archive.delete_bundle(old.path)  # once more is no fault


def test_old_temporary_files_are_removed_at_start(root: Path, executor: ThreadPoolExecutor) -> None:
    """Those of dead processes; not those that another process may be writing."""
    LocalArchive(root, executor, bundle_limit=LIMIT)
    dead, alive = root / ".incoming-dead", root / ".incoming-alive"
    for path in (dead, alive):
        path.write_bytes(b"x")
    os.utime(dead, (1_000, 1_000))
    LocalArchive(root, executor, bundle_limit=LIMIT)
    assert left_behind(root) == [alive.name]


WRITER = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from k8s_execution.evidence.archive import LocalArchive

async def main():
    archive = LocalArchive(Path(sys.argv[1]), ThreadPoolExecutor(2), bundle_limit=1)

    async def same(number):
        for _ in range(64):
            yield bytes([number % 256]) * 4096

    number = 0
    while True:
        await archive.put("a" * 26, f"f{number % 3}", same(number))
        print(number, flush=True)
        number += 1

asyncio.run(main())
"""


def kill_a_writer(root: Path) -> None:
    """Let a process write ten files, then kill it at once."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        for _ in range(10):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(30)


async def test_a_killed_writer_leaves_whole_files(root: Path, executor: ThreadPoolExecutor) -> None:
    """kill -9 in the middle of a put: every listed file is of one piece, and the listing is true."""
    kill_a_writer(root)
    archive = LocalArchive(root, executor, bundle_limit=LIMIT)
    found = await archive.list(ID)
    assert [f.path for f in found] == ["f0", "f1", "f2"]
    for file in found:
        data = await joined(archive.get(ID, file.path))
        assert len(data) == 64 * 4096 == file.bytes
        assert data == data[:1] * len(data)
        assert sha256(data) == file.sha256


def test_it_fulfils_the_port(archive: LocalArchive) -> None:
    """Checked by mypy."""
    port: Archive = archive
    assert port is archive

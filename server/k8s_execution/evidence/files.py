"""Durable files in folders: the archive's blocking work, called on threads.

A rename is durable only once its folder is synced, and a new folder only once its parent is. It must not know
executions, bundles or the event loop.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import IO

from k8s_execution.ports.archive import StoredFile

INCOMING = ".incoming-"
INDEX = "index.jsonl"
FOLDER_MODE = 0o700


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, each for this user only, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)  # another process may make it at this moment
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_and_close(file: IO[bytes]) -> None:
    """Make the file's bytes durable."""
    file.flush()
    os.fsync(file.fileno())
    file.close()


def place(temporary: Path, target: Path) -> None:
    """Move a synced file to its place, durably; replaces an earlier one."""
    make_folder(target.parent)
    temporary.replace(target)
    sync_folder(target.parent)


def touched(path: Path) -> bool:
    """Whether the file exists; then its time is now."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def sizes_and_times(folder: Path) -> list[tuple[str, int, float]]:
    """Name, size and modification time (seconds) of the files in a folder."""
    with os.scandir(folder) as entries:
        stats = [(e.name, e.stat()) for e in entries if e.is_file()]
    return [(name, stat.st_size, stat.st_mtime) for name, stat in stats]


def remove_folder(folder: Path) -> None:
    """Remove a folder and all in it, if it exists."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass  # nothing was kept, or another process removes it at this moment


def remove_left_behind(folder: Path, before: float) -> None:
    """Remove temporary files that nobody has written to since `before`."""
    for name, _, written in sizes_and_times(folder):
        if name.startswith(INCOMING) and written < before:
            (folder / name).unlink(missing_ok=True)


def remember(folder: Path, path: str, stat: os.stat_result, digest: str) -> None:
    """Add a line to a folder's index. Begun with a newline, so that a line cut by a crash spoils only itself."""
    line = "\n" + json.dumps([path, *_identity(stat), digest])
    descriptor = os.open(folder / INDEX, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, line.encode())  # one write: appends of several processes do not mix
    finally:
        os.close(descriptor)


def listed(folder: Path) -> list[StoredFile]:
    """What lies below `files`, by path; hashed anew (and remembered) where the index does not know it as it is."""
    known = _index(folder)
    found: list[StoredFile] = []
    for file in sorted(p for p in (folder / "files").rglob("*") if p.is_file()):
        path, stat = file.relative_to(folder / "files").as_posix(), file.stat()
        identity, digest = known.get(path, (None, ""))
        if identity != _identity(stat):
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            remember(folder, path, stat, digest)
        found.append(StoredFile(path, stat.st_size, digest))
    return sorted(found, key=lambda f: f.path)


Identity = tuple[int, int, int]
"""Size, modification time in ns and inode: the same for the same bytes, as files are replaced and never written to."""


def _identity(stat: os.stat_result) -> Identity:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _index(folder: Path) -> dict[str, tuple[Identity, str]]:
    """Identity and digest of each path; the last line counts, a damaged one does not."""
    try:
        text = (folder / INDEX).read_bytes()
    except FileNotFoundError:
        return {}
    known: dict[str, tuple[Identity, str]] = {}
    for line in text.splitlines():
        try:
            path, size, changed, inode, digest = json.loads(line)
            known[str(path)] = ((int(size), int(changed), int(inode)), str(digest))
        except (ValueError, TypeError):
            continue
    return known

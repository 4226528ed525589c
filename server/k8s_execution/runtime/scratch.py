"""Folders of a process for as long as it lives, all below one of its user, with an owner's lock each.

A process that is killed cannot put its folder away; the next one can, because the operating system frees the lock of a
dead owner. Nothing here may outlive the process on purpose: that is what the data folder is for.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

_LOCK = ".lock"


def home() -> Path:
    """Where the folders of this user are."""
    return Path(tempfile.gettempdir()) / f"k8s-execution-{os.getuid()}"


@contextmanager
def scratch() -> Iterator[Path]:
    """A new folder that only this user may enter, removed at the end with all that is in it.

    Its path is short, so that a Unix socket fits into it. Where somebody else has taken the common folder's name, it
    lies beside it, and nobody cleans up after a killed process.
    """
    if not _own(home()):
        with tempfile.TemporaryDirectory(prefix="k8s-execution-", ignore_cleanup_errors=True) as beside:
            yield Path(beside)
        return
    folder, lock = _taken(home())
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def sweep() -> int:
    """Remove the folders of dead owners; how many. What cannot be removed now is left for the next time."""
    if not _own(home()):
        return 0
    return sum(_sweep(lock) for lock in sorted(home().glob(f"*{_LOCK}")))


def _own(folder: Path) -> bool:
    """Whether the folder is there, made if need be, and only ours: others may write where it lies."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        log.warning("%s cannot be used: %s", folder, error)
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _taken(parent: Path) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock. The lock is there before the folder, and after it."""
    while True:
        folder = parent / secrets.token_hex(4)
        descriptor = os.open(_lock_of(folder), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if _locked(descriptor) and _lock_of(folder).exists():
            folder.mkdir(mode=0o700)
            return folder, descriptor
        os.close(descriptor)  # a sweep came between, and took it for a dead owner's


def _sweep(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False  # another sweep was first
    try:
        return _locked(descriptor) and _remove(lock.with_suffix(""))
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> bool:
    """Whether the folder is gone; its lock goes with it, else the next sweep would not find it."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        _open_up(folder)
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        log.warning("%s cannot be removed yet", folder)
        return False
    _lock_of(folder).unlink(missing_ok=True)
    return True


def _open_up(folder: Path) -> None:
    """Let the owner write into each folder: tools leave some that nobody may, such as Go's module cache."""
    for at, inner, _ in os.walk(folder):
        for path in (Path(at, name) for name in inner if not Path(at, name).is_symlink()):
            with suppress(OSError):  # another user's, or gone meanwhile: what cannot be removed is told
                path.chmod(0o700)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK)

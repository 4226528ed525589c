"""Ownership with SQLite: every process on a data folder holds a file lock `owners/<id>`; a free lock is a dead owner.

The operating system frees the lock when the process ends, however it ends, so a dead owner is known at once and no
clock is needed.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path


class OwnerLock:
    """Our own lock, and a look at those of others."""

    def __init__(self, folder: Path) -> None:
        """Take a fresh owner id and its lock in `folder`."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self.owner = secrets.token_hex(8)
        self._descriptor = os.open(folder / self.owner, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_dead(self, owner: str) -> bool:
        """Whether nobody holds that owner's lock; a dead owner's file is removed."""
        if owner == self.owner:
            return False
        if not owner:
            return True
        path = self._folder / owner
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True  # somebody saw it dead before us
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            path.unlink(missing_ok=True)
            return True
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Give the lock up; what we own may be adopted from now on."""
        (self._folder / self.owner).unlink(missing_ok=True)
        os.close(self._descriptor)

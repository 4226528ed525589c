"""Child processes that cannot outlive their parent.

Linux only: PR_SET_PDEATHSIG makes the kernel signal the child when the parent's thread ends, however it ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from collections.abc import Callable
from typing import IO

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded here: between fork and exec nothing should be


def dies_with_parent(number: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """A preexec function: the child gets this signal when its parent dies."""
    parent = os.getpid()

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the call: nobody would signal any more
            os.kill(os.getpid(), int(number))

    return prepare


async def spawn(command: list[str], output: IO[bytes] | None = None) -> asyncio.subprocess.Process:
    """Start a child that dies with this process; its output goes to the file, or to our standard error."""
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output or 2,
        stderr=output or 2,
        preexec_fn=dies_with_parent(),
        start_new_session=True,  # Ctrl-C reaches the parent only, which then ends its children in order
    )


async def terminate(process: asyncio.subprocess.Process, patience: float = 10.0) -> None:
    """SIGTERM, and SIGKILL for one that has not ended after `patience` seconds."""
    if process.returncode is not None:
        return
    try:
        process.terminate()
        async with asyncio.timeout(patience):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    except ProcessLookupError:
        await process.wait()

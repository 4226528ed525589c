"""Runs a command's coroutine and turns what comes out into messages on stderr and exit codes.

The only place where faults become text, so that every command fails alike. Imports nothing heavy: faults are known by
this package's own types, which import nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import typer

from k8s_execution_client.exit_codes import ExitCode, of_reason
from k8s_execution_client.faults import BundleFault, PlanInvalid, ServiceFault, ServiceUnreachable

NOT_INSTALLED = (
    "this needs the server's code, which is not installed: `pip install k8s-execution`, "
    "or name a running service with --server"
)


class UsageFault(Exception):
    """The command cannot do what was asked; the message says why and what to do instead. Exit code 2."""


class ServerMissing(Exception):
    """The server's package is not installed."""


class ServiceBroken(Exception):
    """The embedded service could not start or ended; the message says why. Exit code 6."""


def say(text: str) -> None:
    """A line for people, on stderr. Where nobody reads it any more, what is being told goes on all the same."""
    try:
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        pass


def perform(command: Callable[[], Coroutine[Any, Any, int | None]]) -> None:
    """Run the coroutine to its end and leave with its exit code (None is 0)."""
    import asyncio

    try:
        code = asyncio.run(_cancelled_by_sigterm(command)) or ExitCode.PASSED
        sys.stdout.flush()
    except (UsageFault, PlanInvalid, BundleFault) as fault:
        code = _failed(str(fault), ExitCode.USAGE)
    except ServerMissing:
        code = _failed(NOT_INSTALLED, ExitCode.USAGE)
    except ServiceBroken as fault:
        code = _failed(str(fault), ExitCode.SERVICE)
    except ServiceUnreachable as fault:
        code = _failed(f"{fault} (is it running? `k8s-execution serve --simulate` starts one)", ExitCode.SERVICE)
    except ServiceFault as fault:
        code = _failed(f"{fault.reason or fault.code}: {fault}", of_reason(fault.reason, fault.code))
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except asyncio.CancelledError:
        code = ExitCode.TERMINATED
    except BrokenPipeError:
        # The reader of a pipe went away (`logs -f | head`); without this the interpreter complains when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.BROKEN_PIPE
    raise typer.Exit(int(code))


async def _cancelled_by_sigterm(command: Callable[[], Coroutine[Any, Any, int | None]]) -> int | None:
    """SIGTERM ends a command in order, as Ctrl-C does: an embedded service has children and folders to put away."""
    import asyncio
    import signal

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await command()


def _failed(text: str, code: ExitCode) -> ExitCode:
    say(f"k8s-execution: {text}")
    return code

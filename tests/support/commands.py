"""The command line as a user has it: a folder, a data folder of its own, a process, its two outputs and exit code."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.cluster import environment
from support.service import COMMAND

PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)

    def __str__(self) -> str:
        """All of it, for a failing assertion."""
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


@dataclass(frozen=True, slots=True)
class Folder:
    """A user's folder and home; nothing outside of it is written."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, content: object) -> Path:
        """A file: text as it is, anything else as JSON, which is YAML too."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
        return file

    async def start(self, *arguments: str | Path) -> Process:
        """Start `k8s-execution` there, in a session of its own so that a signal reaches it alone."""
        return await asyncio.create_subprocess_exec(
            str(COMMAND),
            *map(str, arguments),
            cwd=self.path,
            env={**environment(*map(str, arguments)), "XDG_DATA_HOME": str(self.path / "home"), **self.environment},
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )

    async def run(self, *arguments: str | Path) -> Ended:
        """Run a command to its end."""
        return await ended(await self.start(*arguments))


async def ended(process: Process, before: str = "") -> Ended:
    """Wait for the end; `before` is what was read of its standard error already."""
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), before + err.decode())


async def until_said(process: Process, wanted: Callable[[str], object]) -> str:
    """Read standard error up to the first line that is wanted; what was read."""
    assert process.stderr is not None
    read = ""
    async with asyncio.timeout(PATIENCE):
        while line := (await process.stderr.readline()).decode():
            read += line
            if wanted(line):
                return read
    raise AssertionError(f"it ended without the line:\n{read}")

"""The Authorization header of a connection.

A token from a file is read again once a minute and after a 401, as client-go does (bound service account tokens
rotate). It must not know requests. Apart from `transport` because it is the one part that reads files while running.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from pathlib import Path

from k8s_execution.kube.answers import PassingFault
from k8s_execution.ports.clock import Clock


class Credentials:
    """A fixed token, a token file, or nothing (client certificates need no header)."""

    def __init__(self, token: str, token_file: str, lifetime: float, clock: Clock, executor: Executor) -> None:
        """Hold where the token comes from; a file is read for the first time when first asked for."""
        self._token = token
        self._file = token_file
        self._lifetime = lifetime
        self._clock = clock
        self._executor = executor
        self._read_at: float | None = None

    async def headers(self) -> dict[str, str]:
        """What to send; PassingFault if the token file cannot be read and none was read before."""
        if self._file and (self._read_at is None or self._clock.monotonic() - self._read_at >= self._lifetime):
            await self._read()
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    async def renew(self) -> bool:
        """Read the token file again after a 401; whether there is a new token to try."""
        if not self._file:
            return False
        before = self._token
        await self._read()
        return self._token != before

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            text = await loop.run_in_executor(self._executor, Path(self._file).read_text, "utf-8")
        except (OSError, UnicodeDecodeError) as error:
            if not self._token:
                raise PassingFault(f"token file {self._file} cannot be read", perhaps_executed=False) from error
            text = self._token  # being replaced at this moment: the old token may still serve
        self._token = text.strip()
        self._read_at = self._clock.monotonic()

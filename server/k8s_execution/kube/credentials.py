"""The Authorization header of a connection, and what it does when a credential ends.

A token from a file is read again once a minute and after a 401, as client-go does (bound service account tokens
rotate). A plug-in is run before its credential expires and after a 401; many requests that meet the same end cause
one run. It must not know requests. Apart from `transport` because it is the one part that reads files and starts
programs while running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Protocol

from k8s_execution.kube.answers import PassingFault
from k8s_execution.kube.execplugin import PluginCredential, PluginRunner
from k8s_execution.ports.clock import Clock

EARLY = 60.0
"""Seconds before its end at which a plug-in's credential is replaced; at most a tenth of its life."""

RUN_AGAIN = 5.0
"""Seconds in which a plug-in is not run a second time, whatever the server says: it may ask a slow login server."""


class Credentials(Protocol):
    """What a transport asks for."""

    async def headers(self) -> dict[str, str]:
        """What to send; PassingFault where no credential can be had."""
        ...

    async def renew(self) -> bool:
        """After a 401: whether there is something new to try."""
        ...


class TokenCredentials:
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
        return _bearer(self._token)

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


class PluginCredentials:
    """The credential of an exec plug-in; `use_certificate` is told of every new client certificate."""

    def __init__(
        self, runner: PluginRunner, clock: Clock, use_certificate: Callable[[PluginCredential], None] | None = None
    ) -> None:
        """Nothing is run before the first request."""
        self._runner = runner
        self._clock = clock
        self._use_certificate = use_certificate
        self._lock = asyncio.Lock()
        self._current: PluginCredential | None = None
        self._made_at = self._tried_at = float("-inf")
        self._failure: PassingFault | None = None

    async def headers(self) -> dict[str, str]:
        """The token; the plug-in runs first where there is none or the present one is about to end."""
        async with self._lock:
            if self._current is None or self._left() <= self._margin():
                await self._replace()
            return _bearer(self._current.token) if self._current else {}

    async def renew(self) -> bool:
        """Run the plug-in after a 401, unless it ran just now (then another request did, or it does not help)."""
        asked_at = self._clock.monotonic()
        async with self._lock:
            if self._made_at > asked_at:
                return True
            if self._clock.monotonic() - self._tried_at < RUN_AGAIN:
                return False
            before = self._current
            await self._run()
            return self._current != before

    def _left(self) -> float:
        """Seconds until the present credential ends."""
        if self._current is None or self._current.lifetime is None:
            return float("inf")
        return self._made_at + self._current.lifetime - self._clock.monotonic()

    def _margin(self) -> float:
        return min(EARLY, (self._current.lifetime or 0.0) / 10) if self._current else 0.0

    async def _replace(self) -> None:
        """A new credential if one can be had; a failure matters only once the present one is over."""
        if self._clock.monotonic() - self._tried_at < RUN_AGAIN:
            failure = self._failure
        else:
            try:
                await self._run()
            except PassingFault as fault:
                failure = fault
            else:
                return
        if failure is not None and (self._current is None or self._left() <= 0):
            raise failure

    async def _run(self) -> None:
        try:
            made = await self._runner.run()
        except PassingFault as fault:
            self._failure, self._tried_at = fault, self._clock.monotonic()
            raise
        self._failure, self._made_at = None, self._clock.monotonic()
        self._tried_at = self._made_at
        if made.certificate and self._use_certificate is not None:
            self._use_certificate(made)
        self._current = made


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}

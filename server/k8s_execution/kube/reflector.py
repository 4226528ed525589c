"""Keeps the facts of one kind equal to the cluster's: list, watch, and again for ever.

After Kubernetes' client-go `tools/cache/reflector.go`: list in pages, watch from the list's version with bookmarks,
relist on 410 with deletions synthesised. Beyond it: silence is noticed, an unreadable line leads to a relist and not to
a frozen cache, and a cache that lost its connection for long says so (`synced`). It must not interpret facts. Network
and server faults never end it; anything else does, and shall end the process (a frozen cache is worse than a restart).
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing, closing
from dataclasses import dataclass
from typing import Any, Generic, NoReturn

from k8s_execution.domain import naming
from k8s_execution.kube import parse
from k8s_execution.kube.answers import PassingFault, StatusError
from k8s_execution.kube.cache import F, FactCache, Key
from k8s_execution.kube.client import Client
from k8s_execution.kube.limits import KubeLimits
from k8s_execution.kube.lines import LineSplitter, LineTooLong
from k8s_execution.kube.resources import resource
from k8s_execution.kube.slim import without_managed_fields
from k8s_execution.ports.clock import Clock
from k8s_execution.runtime import garbage

_LOG = logging.getLogger(__name__)
_TURN_SECONDS = 0.001


class Expired(Exception):
    """The position in the watch is of no use any more: list again."""


class _Turn:
    """Lets the event loop go on once a loop over many items has held it for long enough."""

    def __init__(self, clock: Clock) -> None:
        """Begin a turn."""
        self._clock = clock
        self._ends = clock.monotonic() + _TURN_SECONDS

    async def over(self) -> None:
        """Rest, if the turn is over."""
        if self._clock.monotonic() >= self._ends:
            await asyncio.sleep(0)
            self._ends = self._clock.monotonic() + _TURN_SECONDS


@dataclass(slots=True)
class _Position:
    """Where in the collection's history we are, and how the last tries went."""

    version: str = ""
    attempt: int = 0
    failures: int = 0
    expiries: int = 0


@dataclass(frozen=True, slots=True)
class ReflectedKind(Generic[F]):
    """A kind to keep, and what makes a fact of its objects."""

    kind: str
    parse: Callable[[parse.Raw], F]


class Reflector(Generic[F]):
    """One kind, cluster-wide, of everything that carries an execution id."""

    def __init__(
        self, kind: ReflectedKind[F], client: Client, limits: KubeLimits, clock: Clock, notify: Callable[[str], None]
    ) -> None:
        """Prepare; `run` does the work. `trouble` is the last fault while there is no connection."""
        self.kind = kind
        self.cache: FactCache[F] = FactCache(notify)
        self.relists = 0
        self.trouble = ""
        self.listed = asyncio.Event()
        self._client = client
        self._limits = limits
        self._clock = clock
        self._path = resource(kind.kind).collection()
        self._position = _Position()
        self._lost_at: float | None = None

    @property
    def synced(self) -> bool:
        """Whether the cache may be believed: listed once, and not without connection for longer than tolerated."""
        if not self.listed.is_set():
            return False
        return self._lost_at is None or self._clock.monotonic() - self._lost_at <= self._limits.down_tolerance

    async def run(self) -> NoReturn:
        """Work until cancelled."""
        while True:
            began = self._clock.monotonic()
            failed = await self._round()
            lasted = self._clock.monotonic() - began >= self._limits.watch_stable
            if lasted:
                self._position.attempt = self._position.expiries = 0
                if not failed:
                    continue
            pause = self._limits.watch_retry.pause(self._position.attempt, random.random())  # noqa: S311 - jitter
            self._position.attempt += 1
            await self._clock.sleep(pause)

    async def _round(self) -> bool:
        """One list (if needed) and one watch; whether it ended in a fault."""
        try:
            if not self._position.version:
                await self._list()
            await self._watch()
        except Expired as reason:
            _LOG.info("%s: listing again: %s", self._path, reason)
            self._position.version = ""
            # It answered: an outage before has had its pauses, and the view is old until the list is here.
            self._position.attempt = self._position.expiries
            self._position.expiries += 1
            return True
        except (PassingFault, StatusError) as fault:
            self._lose(fault)
            return True
        return False

    def _lose(self, fault: PassingFault | StatusError) -> None:
        _LOG.warning("%s: connection lost: %s", self._path, fault)
        self.trouble = str(fault)
        if self._lost_at is None:
            self._lost_at = self._clock.monotonic()
        if not fault.status:
            return  # nobody answered, so nobody said anything about our version
        self._position.failures += 1
        # A version from the future (etcd restored from a backup) is never answered with 410: do not insist on it.
        if self._position.failures % self._limits.watch_failures_before_relist == 0:
            self._position.version = ""

    def _connected(self) -> None:
        self._lost_at = None
        self.trouble = ""
        self._position.failures = 0

    async def _list(self) -> None:
        """Read the collection at one version, then make the cache equal to it."""
        facts: dict[Key, F] = {}
        self.relists += 1
        try:
            version = await self._read_pages(facts)
        except StatusError as refusal:
            if refusal.status == 410:
                raise Expired("the list's continue token expired") from refusal
            raise
        if not version:
            raise PassingFault("a list without resourceVersion")
        await self._adopt(facts)
        self._position.version = version
        self._connected()
        self.listed.set()

    async def _read_pages(self, facts: dict[Key, F]) -> str:
        """Fill `facts`; the version of the collection."""
        version = ""
        selector = [("labelSelector", naming.LABEL_EXECUTION)]
        async with AsyncExitStack() as stack:
            pages = await stack.enter_async_context(aclosing(self._client.pages(self._path, selector, slim=True)))
            async for page in pages:
                if not version:
                    stack.enter_context(garbage.resting())  # not while nothing answers
                version = parse.version(page)
                await self._collect(page, facts)
        return version

    async def _collect(self, page: parse.Raw, facts: dict[Key, F]) -> None:
        turn = _Turn(self._clock)
        for raw in parse.items(page):
            facts[parse.key(raw)] = self.kind.parse(raw)
            await turn.over()

    async def _adopt(self, facts: dict[Key, F]) -> None:
        """Make the cache equal to a list; what vanished is dropped first, which tells the listeners."""
        turn = _Turn(self._clock)
        for key in self.cache.missing(facts):
            self.cache.drop(key)
            await turn.over()
        for key, fact in facts.items():
            self.cache.put(key, fact)
            await turn.over()

    async def _watch(self) -> None:
        """Follow changes until the server ends the watch; Expired or PassingFault otherwise."""
        seconds = random.uniform(self._limits.watch_min, self._limits.watch_max)  # noqa: S311 - jitter
        query = [
            ("labelSelector", naming.LABEL_EXECUTION),
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", self._position.version),
            ("timeoutSeconds", str(max(1, int(seconds)))),
        ]
        try:
            stream = await self._client.stream(self._path, query, self._limits.watch_inactivity)
        except StatusError as refusal:
            if refusal.status == 410:
                raise Expired("the version is too old") from refusal
            raise
        with closing(stream):
            self._connected()
            splitter = LineSplitter(self._limits.max_event_bytes)
            while chunk := await stream.read():
                try:
                    lines = splitter.feed(chunk)
                except LineTooLong as error:
                    raise Expired(str(error)) from error
                await self._apply(lines)

    async def _apply(self, lines: list[bytes]) -> None:
        turn = _Turn(self._clock)
        for line in lines:
            if line.strip():
                self._event(line)
            await turn.over()

    def _event(self, line: bytes) -> None:
        """Apply one watch event (apimachinery/pkg/apis/meta/v1/watch.go)."""
        kind, raw = _decode(line)
        match kind:
            case "ADDED" | "MODIFIED":
                self.cache.put(parse.key(raw), self.kind.parse(raw))
            case "DELETED":
                self.cache.drop(parse.key(raw))
            case "BOOKMARK":
                pass
            case "ERROR":
                raise _error(raw)
            case _:
                _LOG.warning("%s: watch event of unknown type", self._path)
                return
        self._position.version = parse.version(raw) or self._position.version


def _decode(line: bytes) -> tuple[str, dict[str, Any]]:
    """Type and object of one line; an unreadable one may have been any change, so Expired."""
    try:
        event = json.loads(without_managed_fields(line))
        kind, raw = event["type"], event["object"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Expired(f"an unreadable line of {len(line)} bytes") from error
    if not isinstance(kind, str) or not isinstance(raw, dict):
        raise Expired(f"an unreadable line of {len(line)} bytes")
    return kind, raw


def _error(status: dict[str, Any]) -> Exception:
    """What an ERROR event means: too many requests is no reason to list again (client-go does not either)."""
    message = str(status.get("message") or status.get("reason") or "watch error")
    if status.get("code") == 429:
        return PassingFault(message, status=429)
    return Expired(message)

"""Lists in pages and watches: what readers of many objects get.

A list answers a consistent snapshot: its pages are cut from the references taken for the first one, so later writes do
not show. A watch starts from the history and goes on with the storage's notifications; both happen in one step, so that
nothing falls between. Bytes are the entries' own JSON, made once per write whoever reads.
"""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from secrets import token_hex

from k8s_simulation.api.objects import Object
from k8s_simulation.api.options import version_of
from k8s_simulation.api.problems import ApiError, bad_request, expired
from k8s_simulation.api.requests import ApiRequest
from k8s_simulation.api.resources import Resource
from k8s_simulation.api.selectors import Selection, parse
from k8s_simulation.api.storage import Change, ChangeType, Entry, Storage, encode

_MAX_SNAPSHOTS = 64
_MAX_BACKLOG = 20_000  # changes a watcher may lag behind before its stream is closed
_BATCH = 256  # changes encoded in one step, so that a burst does not hold the loop
_BOOKMARK_BEFORE_END = 2.0
_BOOKMARK_SECONDS = 60.0  # as the watch cache of the real server does, about once a minute

Render = Callable[[Entry], bytes]


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    entries: list[Entry]
    version: int
    token: str
    remaining: int | None


class Lister:
    """Answers lists; remembers the snapshots that later pages are cut from."""

    def __init__(self, storage: Storage) -> None:
        """No snapshot yet."""
        self._storage = storage
        self._snapshots: OrderedDict[str, tuple[list[Entry], int]] = OrderedDict()

    def forget(self) -> None:
        """Forget all snapshots: every continue token is answered with 410 from now on."""
        self._snapshots.clear()

    def page(self, request: ApiRequest) -> Page:
        """The page asked for. Raises 410 for a token whose snapshot is gone."""
        limit = request.number("limit") or 0
        token = request.query.get("continue", "")
        if token:
            snapshot, start = self._resume(token)
            entries, version = self._snapshots[snapshot]
        else:
            snapshot, start = token_hex(8), 0
            entries, version = self._select(request), self._storage.version
        end = start + limit if limit > 0 else len(entries)
        if end >= len(entries):
            self._snapshots.pop(snapshot, None)
            return Page(entries[start:], version, "", None)
        self._snapshots[snapshot] = (entries, version)
        while len(self._snapshots) > _MAX_SNAPSHOTS:
            self._snapshots.popitem(last=False)
        next_token = urlsafe_b64encode(encode({"v": "meta.k8s.io/v1", "rv": version, "s": snapshot, "start": end}))
        # Kubernetes leaves remainingItemCount out of selected lists, so it is left out here too
        remaining = None if self._selected(request) else len(entries) - end
        return Page(entries[start:end], version, next_token.decode(), remaining)

    def _selected(self, request: ApiRequest) -> bool:
        return bool(request.query.get("labelSelector") or request.query.get("fieldSelector"))

    def _resume(self, token: str) -> tuple[str, int]:
        try:
            state = json.loads(urlsafe_b64decode(token))
            snapshot, start = str(state["s"]), int(state["start"])
        except (ValueError, KeyError, TypeError) as error:
            raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error
        if snapshot not in self._snapshots:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. You must start a new "
                "list without the continue parameter."
            )
        return snapshot, start

    def _select(self, request: ApiRequest) -> list[Entry]:
        wanted = version_of(request)
        if request.query.get("resourceVersionMatch") == "Exact" and wanted != self._storage.version:
            raise expired(f"The provided resource version for the list is too old: {wanted}")
        check_future(self._storage, wanted)
        selection = parse_selection(request)
        entries = self._storage.entries(request.resource, request.namespace)
        if request.name:
            entries = [e for e in entries if e.key[1] == request.name]
        return entries if selection.everything else [e for e in entries if selection.matches(e.obj)]


def parse_selection(request: ApiRequest) -> Selection:
    """The selectors of a request. Raises 400."""
    labels, fields = request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
    return parse(request.resource, labels, fields)


async def list_body(resource: Resource, page: Page) -> bytes:
    """The list's JSON, joined from the entries' own; encodes them some at a time, so that the loop is not held."""
    for start in range(0, len(page.entries), _BATCH):
        for entry in page.entries[start : start + _BATCH]:
            _ = entry.encoded
        await asyncio.sleep(0)
    head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": list_meta(page)}
    return encode(head)[:-1] + b',"items":[' + b",".join(e.encoded for e in page.entries) + b"]}"


def list_meta(page: Page) -> Object:
    """ListMeta of a page."""
    metadata: Object = {"resourceVersion": str(page.version)}
    if page.token:
        metadata["continue"] = page.token
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
    return metadata


def check_future(storage: Storage, version: int) -> None:
    """Raises 504 for a version that is not yet."""
    if version > storage.version:
        message = f"Timeout: Too large resource version: {version}, current: {storage.version}"
        details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                   "retryAfterSeconds": 1}  # fmt: skip
        raise ApiError(504, "Timeout", message, details)


def _after(now: float, deadline: float) -> float:
    """When the next bookmark is due: about once a minute, and shortly before the end (cacher, nextBookmarkTime)."""
    last = deadline - _BOOKMARK_BEFORE_END
    return min(now + _BOOKMARK_SECONDS, last) if now < last else now + _BOOKMARK_SECONDS


class Watch:
    """One watch: subscribe with `open`, read `batches`, always `close`."""

    def __init__(self, storage: Storage, request: ApiRequest, render: Render | None = None) -> None:
        """`render` makes the object's bytes (for tables); by default they are its JSON. Raises 400."""
        self._storage = storage
        self._request = request
        self._render = render or (lambda entry: entry.encoded)
        self._selection = parse_selection(request)
        self._bookmarks = request.flag("allowWatchBookmarks")
        self._backlog: deque[Change] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._unsubscribe: Callable[[], None] | None = None
        self._initial: list[Entry] = []
        self._initial_bookmark = False
        self._version = storage.version
        self._asked = 0  # a version that is not yet is waited for in silence: what comes before it is not told

    def open(self) -> None:
        """Take the start of the stream and subscribe to the rest, in one step. Raises 410."""
        storage, resource, asked = self._storage, self._request.resource, version_of(self._request)
        initial_events = "sendInitialEvents" in self._request.query
        send_all = self._request.flag("sendInitialEvents")
        if send_all or (asked == 0 and not initial_events):
            self._initial = [e for e in storage.entries(resource, self._request.namespace) if self._wants(e)]
            self._initial_bookmark = send_all and self._bookmarks
        elif asked > 0:
            self._backlog.extend(storage.changes_since(resource, asked))
        self._asked, self._version = asked, storage.version
        self._unsubscribe = storage.subscribe(resource, self._notice)

    def close(self) -> None:
        """Stop listening. May be called twice."""
        self._ended = True
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._wake.set()

    async def batches(self, timeout: float) -> AsyncGenerator[bytes, None]:
        """The stream's bytes, some events at a time, for `timeout` seconds; ends silently, as in Kubernetes."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        for start in range(0, len(self._initial), _BATCH):
            yield b"".join(self._event(ChangeType.ADDED, e) for e in self._initial[start : start + _BATCH])
            await asyncio.sleep(0)
        self._initial = []
        if self._initial_bookmark:
            yield self._bookmark({"k8s.io/initial-events-end": "true"})
        next_bookmark = _after(loop.time(), deadline)
        while not self._ended and loop.time() < deadline:
            if self._backlog:
                if batch := self._take():
                    yield batch
                continue
            await self._wait(min(deadline, next_bookmark))
            if self._bookmarks and loop.time() >= next_bookmark:
                next_bookmark = _after(loop.time(), deadline)
                yield self._bookmark({})

    async def _wait(self, until: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout_at(until):
                await self._wake.wait()
        except TimeoutError:
            pass  # time for a bookmark or the end

    def _take(self) -> bytes:
        parts: list[bytes] = []
        while self._backlog and len(parts) < _BATCH:
            change = self._backlog.popleft()
            self._version = change.version
            if part := self._change(change):
                parts.append(part)
        if not self._backlog:
            self._version = max(self._version, self._storage.version)
        return b"".join(parts)

    def _notice(self, change: Change) -> None:
        if change.version <= self._asked or not self._in_scope(change.entry):
            return
        self._backlog.append(change)
        if len(self._backlog) > _MAX_BACKLOG:
            self.close()
        self._wake.set()

    def _in_scope(self, entry: Entry) -> bool:
        namespace, name = self._request.namespace, self._request.name
        return (not namespace or entry.key[0] == namespace) and (not name or entry.key[1] == name)

    def _wants(self, entry: Entry) -> bool:
        return self._in_scope(entry) and (self._selection.everything or self._selection.matches(entry.obj))

    def _change(self, change: Change) -> bytes:
        """The event for this watcher: an object that enters its selection is ADDED, one that leaves it DELETED."""
        now, before = self._wants(change.entry), change.before is not None and self._wants(change.before)
        if change.type is ChangeType.DELETED:
            return self._event(ChangeType.DELETED, change.entry) if before or now else b""
        if now:
            return self._event(ChangeType.MODIFIED if before else ChangeType.ADDED, change.entry)
        return self._event(ChangeType.DELETED, change.entry) if before else b""

    def _event(self, kind: ChangeType, entry: Entry) -> bytes:
        return b'{"type":"%s","object":%s}\n' % (kind.encode(), self._render(entry))

    def _bookmark(self, annotations: dict[str, str]) -> bytes:
        metadata: Object = {"resourceVersion": str(max(self._version, self._storage.version))}
        if annotations:
            metadata["annotations"] = annotations
        resource = self._request.resource
        obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return encode({"type": "BOOKMARK", "object": obj}) + b"\n"

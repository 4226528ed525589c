"""The memory of the simulated cluster: objects, one resourceVersion for all, and a history to watch from.

What etcd and the watch cache are together. Objects are immutable once stored: a write stores a new dictionary.
Every write has the next resourceVersion and is one `Change` in the history of its resource; subscribers are called at
once, in order, in the writer's step. A version older than the history is gone (410), which `compact` makes so at will.
Pure: no asyncio, no clock, no I/O; rules (admission, deletion) live in the registry.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from k8s_simulation.api.objects import Object, meta, name_of, namespace_of
from k8s_simulation.api.problems import expired
from k8s_simulation.api.resources import STORED, Resource

HISTORY_LENGTH = 4096  # changes kept per resource; older ones answer 410


class ChangeType(StrEnum):
    """What happened, in the watch protocol's words."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Entry:
    """A stored object, its version as a number, and its JSON, made once when first asked for."""

    __slots__ = ("_encoded", "obj", "version")

    def __init__(self, obj: Object, version: int) -> None:
        """Hold the object; nobody may change it from now on."""
        self.obj = obj
        self.version = version
        self._encoded: bytes | None = None

    @property
    def encoded(self) -> bytes:
        """The object as JSON."""
        if self._encoded is None:
            self._encoded = encode(self.obj)
        return self._encoded

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return namespace_of(self.obj), name_of(self.obj)


@dataclass(frozen=True, slots=True)
class Change:
    """One write: its version, what it left behind, and what was there before (for selectors)."""

    version: int
    type: ChangeType
    resource: Resource
    entry: Entry
    before: Entry | None


Subscriber = Callable[[Change], None]


def encode(value: Any) -> bytes:
    """JSON as bytes, compact."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(slots=True)
class _Shelf:
    """All objects of one resource, by namespace and name, with the changes made to them."""

    spaces: dict[str, dict[str, Entry]] = field(default_factory=dict)
    history: deque[Change] = field(default_factory=lambda: deque(maxlen=HISTORY_LENGTH))
    compacted: int = 0
    subscribers: list[Subscriber] = field(default_factory=list)


class Storage:
    """Objects by (resource, namespace, name). All methods are immediate; none may be called from another thread."""

    def __init__(self, first_version: int = 1) -> None:
        """An empty cluster."""
        self.version = first_version
        self._shelves: dict[Resource, _Shelf] = {r: _Shelf(compacted=first_version) for r in STORED}

    def get(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        """The entry, or None."""
        return self._shelves[resource].spaces.get(namespace, {}).get(name)

    def entries(self, resource: Resource, namespace: str = "") -> list[Entry]:
        """All entries of a resource, or of one namespace of it, ordered by key."""
        spaces = self._shelves[resource].spaces
        if namespace:
            space = spaces.get(namespace, {})
            return [space[n] for n in sorted(space)]
        return [spaces[s][n] for s in sorted(spaces) for n in sorted(spaces[s])]

    def objects(self, resource: Resource, namespace: str = "") -> Iterator[Object]:
        """The objects of a resource, or of one namespace of it, in no order; not to be changed."""
        spaces = self._shelves[resource].spaces
        for space in [spaces.get(namespace, {})] if namespace else list(spaces.values()):
            yield from [entry.obj for entry in space.values()]

    def count(self, resource: Resource, namespace: str = "") -> int:
        """How many there are."""
        spaces = self._shelves[resource].spaces
        return len(spaces.get(namespace, {})) if namespace else sum(map(len, spaces.values()))

    def put(self, resource: Resource, obj: Object) -> Entry:
        """Store a new state of an object. Takes the dictionary over and writes its resourceVersion."""
        namespace, name = namespace_of(obj), name_of(obj)
        shelf = self._shelves[resource]
        before = shelf.spaces.get(namespace, {}).get(name)
        entry = self._stamp(obj)
        shelf.spaces.setdefault(namespace, {})[name] = entry
        kind = ChangeType.MODIFIED if before else ChangeType.ADDED
        self._commit(shelf, Change(entry.version, kind, resource, entry, before))
        return entry

    def remove(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        """Remove an object; the change carries its last state with the version of the removal."""
        shelf = self._shelves[resource]
        space = shelf.spaces.get(namespace, {})
        before = space.pop(name, None)
        if before is None:
            return None
        if not space:
            shelf.spaces.pop(namespace, None)
        last = dict(before.obj)
        last["metadata"] = dict(meta(before.obj))
        entry = self._stamp(last)
        self._commit(shelf, Change(entry.version, ChangeType.DELETED, resource, entry, before))
        return entry

    def subscribe(self, resource: Resource, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` for every later change; returns the function that ends it."""
        subscribers = self._shelves[resource].subscribers
        subscribers.append(subscriber)

        def end() -> None:
            if subscriber in subscribers:
                subscribers.remove(subscriber)

        return end

    def changes_since(self, resource: Resource, version: int) -> list[Change]:
        """The changes after `version`. Raises 410 if the history does not reach back so far."""
        shelf = self._shelves[resource]
        if version < shelf.compacted:
            raise expired(f"too old resource version: {version} ({self.version})")
        start = bisect_right(shelf.history, version, key=lambda change: change.version)
        return [shelf.history[i] for i in range(start, len(shelf.history))]

    def compact(self, resource: Resource | None = None) -> None:
        """Forget the history of one resource, or of all: a watch from any version seen so far gets 410."""
        self.version += 1  # so that even the newest version handed out is too old
        for one in [resource] if resource else list(self._shelves):
            self._shelves[one].history.clear()
            self._shelves[one].compacted = self.version

    def _stamp(self, obj: Object) -> Entry:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        return Entry(obj, self.version)

    def _commit(self, shelf: _Shelf, change: Change) -> None:
        if len(shelf.history) == HISTORY_LENGTH:
            shelf.compacted = shelf.history[0].version
        shelf.history.append(change)
        for subscriber in list(shelf.subscribers):
            subscriber(change)

"""What all controllers share: a queue of keys, one worker, and the events of the storage as the only reason to look.

A controller says which changes concern which of its keys, and reconciles one key at a time by reading the whole state
anew (level, not edge). Reconciling is immediate: no await, no I/O; time comes back as "look again in n seconds".
Nothing polls. A refused write (ApiError) is tried again with growing delays, as client-go's rate-limited queues do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from k8s_simulation.api.objects import Object, controller_of, meta, name_of, namespace_of
from k8s_simulation.api.problems import ApiError
from k8s_simulation.api.registry import Registry
from k8s_simulation.api.resources import Resource
from k8s_simulation.api.storage import Change, ChangeType

Key = tuple[str, ...]
KeyFunction = Callable[[Change], Iterable[Key]]

_log = logging.getLogger(__name__)
_FIRST_RETRY, _LAST_RETRY = 0.005, 30.0


class Controller(Protocol):
    """One control loop."""

    name: str

    def sources(self) -> Mapping[Resource, KeyFunction]:
        """Which changes concern which keys."""
        ...

    def reconcile(self, key: Key) -> float | None:
        """Bring one key's world nearer to what it should be; seconds until to look again. May raise ApiError."""
        ...


def own_key(change: Change) -> Iterable[Key]:
    """The object itself: (namespace, name)."""
    yield change.entry.key


def changed_key(change: Change) -> Iterable[Key]:
    """The object itself, unless only its status was written: a controller's own reports are no news to it."""
    before = change.before
    if before is None or change.type is ChangeType.DELETED or _told(before.obj) != _told(change.entry.obj):
        yield change.entry.key


def _told(obj: Object) -> Object:
    """What others say about an object."""
    told = {k: v for k, v in obj.items() if k != "status"}
    told["metadata"] = {k: v for k, v in meta(obj).items() if k not in {"resourceVersion", "managedFields"}}
    return told


class Backoff:
    """Growing delays for keys that fail again and again, as client-go's rate limiters give."""

    def __init__(self, first: float, last: float) -> None:
        """Delays from `first`, doubled each time, to `last` seconds."""
        self._first = first
        self._last = last
        self._failures: dict[Key, int] = {}

    def next(self, key: Key) -> float:
        """The delay after one more failure."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return float(min(self._first * 2**failures, self._last))

    def clear(self, key: Key) -> None:
        """The key has succeeded."""
        self._failures.pop(key, None)


def owner_key(kind: str) -> KeyFunction:
    """The controlling owner of that kind: (namespace, name)."""

    def keys(change: Change) -> Iterable[Key]:
        owner = controller_of(change.entry.obj)
        if owner is not None and owner.get("kind") == kind:
            yield namespace_of(change.entry.obj), str(owner["name"])

    return keys


def owned_by(objects: Iterable[Object], uid: str) -> list[Object]:
    """Those whose controller has this uid, by age and name."""
    found = [o for o in objects if (controller_of(o) or {}).get("uid") == uid]
    return sorted(found, key=lambda o: (o["metadata"]["creationTimestamp"], name_of(o)))


class Worker:
    """The queue and the loop of one controller. A key waiting twice is looked at once; the sooner timer wins."""

    def __init__(self, registry: Registry, controller: Controller) -> None:
        """Nothing runs before `run`."""
        self._registry = registry
        self._controller = controller
        self._waiting: dict[Key, None] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._backoff = Backoff(_FIRST_RETRY, _LAST_RETRY)
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """List, watch, and work until cancelled."""
        ends: list[Callable[[], None]] = []
        try:
            for resource, keys in self._controller.sources().items():
                ends.append(self._registry.storage.subscribe(resource, self._follow(keys)))
                for entry in self._registry.storage.entries(resource):
                    self._follow(keys)(Change(entry.version, ChangeType.ADDED, resource, entry, None))
            await self._work()
        finally:
            for end in ends:
                end()
            for timer in self._timers.values():
                timer.cancel()

    def _follow(self, keys: KeyFunction) -> Callable[[Change], None]:
        def notice(change: Change) -> None:
            for key in keys(change):
                self._waiting[key] = None
                self._wake.set()

        return notice

    async def _work(self) -> None:
        while True:
            while self._waiting:
                key = next(iter(self._waiting))
                del self._waiting[key]
                self._reconcile(key)
                await asyncio.sleep(0)  # a long queue must not hold up the API
            self._wake.clear()
            await self._wake.wait()

    def _reconcile(self, key: Key) -> None:
        try:
            delay = self._controller.reconcile(key)
            self._backoff.clear(key)
        except ApiError as error:
            delay = self._backoff.next(key)
            defect = error.code in {400, 422}  # a controller that writes nonsense, not a cluster that refuses
            level = logging.WARNING if defect else logging.DEBUG
            _log.log(level, "%s %s: %s", self._controller.name, key, error.message)
        except Exception:  # noqa: BLE001 - one bad object must not stop the controller for all others
            delay = self._backoff.next(key)
            _log.exception("%s failed on %s", self._controller.name, key)
        if delay is not None:
            self._later(key, delay)

    def _later(self, key: Key, delay: float) -> None:
        loop = asyncio.get_running_loop()
        present = self._timers.get(key)
        if present is not None:
            if not present.cancelled() and present.when() <= loop.time() + delay:
                return
            present.cancel()
        self._timers[key] = loop.call_later(max(delay, 0.0), self._due, key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self._waiting[key] = None
        self._wake.set()


async def run_controllers(registry: Registry, controllers: Iterable[Controller]) -> None:
    """Run all until cancelled; a worker that ends by itself ends the rest."""
    async with asyncio.TaskGroup() as group:
        for controller in controllers:
            group.create_task(Worker(registry, controller).run(), name=f"controller {controller.name}")

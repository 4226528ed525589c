"""The quota controller: writes `status.hard` and counts `status.used` anew when something is freed.

Creates are charged by admission; until the first status is written admission refuses (docs/simulation.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from k8s_simulation.api import quota
from k8s_simulation.api.objects import Object, clone, is_finished, spec_of
from k8s_simulation.api.registry import Ref, Registry
from k8s_simulation.api.resources import EVENTS, PODS, QUOTAS, STORED, Resource
from k8s_simulation.api.storage import Change, ChangeType
from k8s_simulation.controllers.framework import Key, KeyFunction
from k8s_simulation.faults import FaultBook, QuotaStatusDelay

_COUNTED = tuple(r for r in STORED if r.namespaced and r not in {EVENTS, QUOTAS})


class QuotaController:
    """Keeps the status of quotas."""

    name = "resourcequota"

    def __init__(self, registry: Registry, faults: FaultBook, delay: float) -> None:
        """`delay`: seconds until a new quota has a status, when no fault says otherwise."""
        self._registry = registry
        self._faults = faults
        self._delay = delay
        self._seen: dict[Key, float] = {}

    def sources(self) -> Mapping[Resource, KeyFunction]:
        """Quotas, and what frees some of one."""
        freed: dict[Resource, KeyFunction] = dict.fromkeys(_COUNTED, self._freed)
        return {QUOTAS: self._quota, **freed}

    def _quota(self, change: Change) -> Iterable[Key]:
        key = change.entry.key
        if change.type is ChangeType.DELETED:
            self._seen.pop(key, None)
        elif change.before is None or spec_of(change.before.obj) != spec_of(change.entry.obj):
            self._seen.setdefault(key, self._registry.clock())
            yield key

    def _freed(self, change: Change) -> Iterable[Key]:
        finished = change.resource is PODS and is_finished(change.entry.obj)
        if change.type is ChangeType.DELETED or finished:
            for one in self._registry.storage.objects(QUOTAS, change.entry.key[0]):
                yield change.entry.key[0], one["metadata"]["name"]

    def reconcile(self, key: Key) -> float | None:
        """Count."""
        namespace, name = key
        ref = Ref(QUOTAS, namespace, name)
        found = self._registry.find(ref)
        if found is None:
            return None
        delay = max([self._delay, *(f.seconds for f in self._faults.of(QuotaStatusDelay))])
        wait = self._seen.get(key, 0.0) + delay - self._registry.clock()
        if wait > 0 and not (found.get("status") or {}).get("hard"):
            return wait
        hard = spec_of(found).get("hard") or {}
        counted = [
            (resource, obj)
            for resource in quota.quota_resources(hard)
            for obj in self._registry.storage.objects(resource, namespace)
        ]
        status = {"hard": clone(hard), "used": quota.total_usage(hard, counted)}

        def write(obj: Object) -> None:
            obj["status"] = status

        self._registry.modify(ref, write, "status")
        return None

"""The namespace life cycle: a deleted one is emptied, pods first, tells in five conditions how far it is, goes last.

Conditions and words of pkg/controller/namespace/deletion. The real controller waits 5 s before it begins; here the
delay is a setting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from k8s_simulation.api.deletion import BACKGROUND
from k8s_simulation.api.objects import Object, is_deleting, meta, seconds_of, spec_of
from k8s_simulation.api.problems import ApiError
from k8s_simulation.api.registry import Ref, Registry, ref_of
from k8s_simulation.api.resources import EVENTS, NAMESPACES, PODS, STORED, Resource
from k8s_simulation.api.storage import Change, ChangeType
from k8s_simulation.controllers.framework import Key, KeyFunction
from k8s_simulation.faults import FaultBook, StuckNamespace, matches

_BATCH = 25  # deletions in one pass, so that a full namespace does not hold up the API
_NAMESPACED = tuple(r for r in STORED if r.namespaced)


class NamespaceController:
    """Empties and finalises namespaces that are being deleted."""

    name = "namespace"

    def __init__(self, registry: Registry, faults: FaultBook, delay: float) -> None:
        """`delay`: seconds between the request and the first deletion of contents."""
        self._registry = registry
        self._faults = faults
        self._delay = delay

    def sources(self) -> Mapping[Resource, KeyFunction]:
        """Namespaces, and whatever disappears from one."""
        contents: dict[Resource, KeyFunction] = {r: self._content for r in _NAMESPACED if r is not EVENTS}
        return {NAMESPACES: self._namespace, **contents}

    def _namespace(self, change: Change) -> Iterable[Key]:
        if is_deleting(change.entry.obj):
            yield (change.entry.key[1],)

    def _content(self, change: Change) -> Iterable[Key]:
        if change.type is ChangeType.DELETED or (is_deleting(change.entry.obj) and change.before):
            namespace = self._registry.storage.get(NAMESPACES, "", change.entry.key[0])
            if namespace is not None and is_deleting(namespace.obj):
                yield (change.entry.key[0],)

    def reconcile(self, key: Key) -> float | None:
        """Delete what is left; finalise when nothing is."""
        ref = Ref(NAMESPACES, "", key[0])
        namespace = self._registry.find(ref)
        if namespace is None or not is_deleting(namespace):
            return None
        asked = seconds_of(meta(namespace)["deletionTimestamp"]) or 0.0
        wait = self._delay - (self._registry.clock() - asked)
        if 0 < wait <= self._delay:
            return wait
        if not self._delete_contents(key[0]):
            return 0.0
        left = self._contents(key[0])
        stuck = next((f for f in self._faults.of(StuckNamespace) if matches(f.namespace, key[0])), None)
        self._registry.modify(ref, lambda o: self._set_conditions(o, left, stuck), "status")
        if left or stuck is not None:
            return 1.0 if stuck is not None else None
        if "kubernetes" in (spec_of(namespace).get("finalizers") or []):
            others = [f for f in spec_of(namespace)["finalizers"] if f != "kubernetes"]
            new = {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": key[0]},
                "spec": {"finalizers": others},
            }
            self._registry.update(ref, new, "finalize")
        return None

    def _contents(self, namespace: str) -> list[tuple[Resource, Object]]:
        return [(r, o) for r in _NAMESPACED for o in self._registry.storage.objects(r, namespace)]

    def _pending(self, namespace: str) -> Iterator[tuple[Resource, Object]]:
        """What has not been asked to go yet: pods first and alone, so that none outlives its network policies.

        (OrderedNamespaceDeletion, on since Kubernetes 1.33, for CVE-2024-7598.)
        """
        for resource in (PODS,) if self._registry.storage.count(PODS, namespace) else _NAMESPACED:
            for obj in self._registry.storage.objects(resource, namespace):
                if not is_deleting(obj):
                    yield resource, obj

    def _delete_contents(self, namespace: str) -> bool:
        """Delete some of what is left; True when everything has been asked to go."""
        pending = list(islice(self._pending(namespace), _BATCH))
        for resource, obj in pending:
            try:
                self._registry.delete(ref_of(resource, obj), BACKGROUND)
            except ApiError as error:
                if error.code != 404:
                    raise
        return len(pending) < _BATCH

    def _set_conditions(
        self, namespace: Object, left: list[tuple[Resource, Object]], stuck: StuckNamespace | None
    ) -> None:
        counts = Counter(f"{r.plural}{'.' + r.group if r.group else ''}" for r, _ in left)
        remaining = ", ".join(f"{n}. has {c} resource instances" for n, c in sorted(counts.items()))
        finalizers = Counter(f for _, o in left for f in meta(o).get("finalizers") or [])
        holding = ", ".join(f"{f} in {c} resource instances" for f, c in sorted(finalizers.items()))
        wanted = [
            ("NamespaceDeletionDiscoveryFailure", "", "ResourcesDiscovered", "All resources successfully discovered"),
            ("NamespaceDeletionGroupVersionParsingFailure", "", "ParsedGroupVersions",
             "All legacy kube types successfully parsed"),
            ("NamespaceDeletionContentFailure", "", "ContentDeleted",
             "All content successfully deleted, may be waiting on finalization"),
            ("NamespaceContentRemaining", remaining and f"Some resources are remaining: {remaining}",
             "SomeResourcesRemain" if remaining else "ContentRemoved", "All content successfully removed"),
            ("NamespaceFinalizersRemaining",
             holding and f"Some content in the namespace has finalizers remaining: {holding}",
             "SomeFinalizersRemain" if holding else "ContentHasNoFinalizers",
             "All content-preserving finalizers finished"),
        ]  # fmt: skip
        before = {c["type"]: c for c in namespace["status"].get("conditions") or []}
        conditions: list[Object] = []
        for kind, problem, reason, good in wanted:
            if stuck is not None and kind == stuck.condition:
                problem, reason = stuck.message, "SimulatedFault"
            status = "True" if problem else "False"
            old = before.get(kind, {})
            since = old["lastTransitionTime"] if old.get("status") == status else self._registry.now
            conditions.append({"type": kind, "status": status, "lastTransitionTime": since, "reason": reason,
                               "message": problem or good})  # fmt: skip
        namespace["status"]["conditions"] = conditions
        namespace["status"]["phase"] = "Terminating"

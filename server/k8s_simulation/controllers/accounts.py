"""What every namespace gets a little after its creation: ServiceAccount `default`, ConfigMap kube-root-ca.crt.

The delay is real life: pods created before it are refused by admission.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from k8s_simulation.api.objects import Object, is_deleting, meta, namespace_of, seconds_of
from k8s_simulation.api.registry import Ref, Registry
from k8s_simulation.api.resources import CONFIGMAPS, NAMESPACES, SERVICEACCOUNTS, Resource
from k8s_simulation.api.storage import Change, ChangeType
from k8s_simulation.controllers.framework import Key, KeyFunction
from k8s_simulation.faults import FaultBook, ServiceAccountDelay

_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


class AccountsController:
    """Makes the two objects, and makes them again when someone deletes them."""

    name = "serviceaccount"

    def __init__(self, registry: Registry, faults: FaultBook, delay: float, ca_pem: str) -> None:
        """`delay` in seconds when no fault says otherwise."""
        self._registry = registry
        self._faults = faults
        self._delay = delay
        self._ca_pem = ca_pem
        self._seen: dict[str, float] = {}

    def sources(self) -> Mapping[Resource, KeyFunction]:
        """Namespaces, and the two objects when they disappear."""
        return {NAMESPACES: self._namespace, SERVICEACCOUNTS: self._lost, CONFIGMAPS: self._lost}

    def _namespace(self, change: Change) -> Iterable[Key]:
        name = change.entry.key[1]
        if change.type is ChangeType.ADDED:
            self._seen[name] = self._registry.clock()
            yield (name,)
        elif change.type is ChangeType.DELETED:
            self._seen.pop(name, None)

    def _lost(self, change: Change) -> Iterable[Key]:
        if change.type is ChangeType.DELETED and change.entry.key[1] in {"default", "kube-root-ca.crt"}:
            yield (namespace_of(change.entry.obj),)

    def reconcile(self, key: Key) -> float | None:
        """Create what is missing, not before its time."""
        namespace = self._registry.find(Ref(NAMESPACES, "", key[0]))
        if namespace is None or is_deleting(namespace):
            return None
        delay = max([self._delay, *(f.seconds for f in self._faults.of(ServiceAccountDelay))])
        created = self._seen.get(key[0]) or seconds_of(meta(namespace)["creationTimestamp"]) or 0.0
        wait = created + delay - self._registry.clock()
        if wait > 0:
            return wait
        account: Object = {"metadata": {"name": "default", "namespace": key[0]}}
        self._ensure(SERVICEACCOUNTS, account)
        annotations = {"kubernetes.io/description": _DESCRIPTION}
        ca: Object = {"metadata": {"name": "kube-root-ca.crt", "namespace": key[0], "annotations": annotations}}
        self._ensure(CONFIGMAPS, ca | {"data": {"ca.crt": self._ca_pem}})
        return None

    def _ensure(self, resource: Resource, obj: Object) -> None:
        metadata = meta(obj)
        if self._registry.find(Ref(resource, metadata["namespace"], metadata["name"])) is None:
            self._registry.create(resource, obj)

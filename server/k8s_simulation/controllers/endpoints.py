"""Endpoints and EndpointSlices: the ready (and not ready) pods behind each Service with a selector.

One slice a Service, `{service}-simulated`; addresses appear when a pod has one. After pkg/controller/endpoint and
endpointslice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from k8s_simulation.api.objects import (
    Object,
    is_deleting,
    is_finished,
    is_ready,
    labels_of,
    meta,
    name_of,
    namespace_of,
    spec_of,
    status_of,
    uid_of,
)
from k8s_simulation.api.registry import Ref, Registry
from k8s_simulation.api.resources import ENDPOINTS, ENDPOINTSLICES, PODS, SERVICES, Resource
from k8s_simulation.api.storage import Change
from k8s_simulation.controllers.framework import Key, KeyFunction, own_key
from k8s_simulation.controllers.recorder import owner_reference


class EndpointsController:
    """Keeps both kinds in step with pods and Services."""

    name = "endpoints"

    def __init__(self, registry: Registry) -> None:
        """Nothing but the registry."""
        self._registry = registry

    def sources(self) -> Mapping[Resource, KeyFunction]:
        """Services, and pods that one selects."""
        return {SERVICES: own_key, PODS: self._pod}

    def _pod(self, change: Change) -> Iterable[Key]:
        before = change.before.obj if change.before else None
        if before is not None and _facts(before) == _facts(change.entry.obj):
            return
        namespace = change.entry.key[0]
        for service in self._registry.storage.objects(SERVICES, namespace):
            selector = (spec_of(service).get("selector") or {}).items()
            shown = [labels_of(change.entry.obj), labels_of(before) if before else {}]
            if selector and any(selector <= labels.items() for labels in shown):
                yield namespace, name_of(service)

    def reconcile(self, key: Key) -> float | None:
        """One Service."""
        service = self._registry.find(Ref(SERVICES, *key))
        if service is None:
            self._drop(Ref(ENDPOINTS, *key))
            return None
        selector = (spec_of(service).get("selector") or {}).items()
        if not selector or is_deleting(service):
            return None
        pods = [
            p
            for p in self._registry.storage.objects(PODS, key[0])
            if selector <= labels_of(p).items() and status_of(p).get("podIP") and not is_finished(p)
        ]
        pods.sort(key=name_of)
        self._write(ENDPOINTS, _endpoints(service, [p for p in pods if not is_deleting(p)]))
        self._write(ENDPOINTSLICES, _slice(service, pods))
        return None

    def _drop(self, ref: Ref) -> None:
        from k8s_simulation.api.deletion import BACKGROUND

        if self._registry.find(ref) is not None:
            self._registry.delete(ref, BACKGROUND)

    def _write(self, resource: Resource, obj: Object) -> None:
        ref = Ref(resource, namespace_of(obj), name_of(obj))
        if self._registry.find(ref) is None:
            self._registry.create(resource, obj)
        else:
            self._registry.update(ref, obj)


def _facts(pod: Object) -> tuple[object, ...]:
    return (is_ready(pod), is_finished(pod), is_deleting(pod), status_of(pod).get("podIP"), labels_of(pod))


def _port_number(port: Object, pod: Object) -> int | None:
    target = port.get("targetPort") or port.get("port")
    if isinstance(target, int):
        return target
    if str(target).isdigit():
        return int(str(target))
    for container in spec_of(pod).get("containers") or []:
        for named in container.get("ports") or []:
            if named.get("name") == target:
                return int(named["containerPort"])
    return None


def _ports(service: Object, pods: list[Object]) -> list[Object]:
    """The ports as the first pod has them; pods of one Service that name ports differently are not told apart."""
    found: list[Object] = []
    for port in spec_of(service).get("ports") or []:
        number = _port_number(port, pods[0]) if pods else None
        if number is not None:
            entry: Object = {"port": number, "protocol": port.get("protocol", "TCP")}
            if port.get("name"):
                entry["name"] = port["name"]
            found.append(entry)
    return found


def _target(pod: Object) -> Object:
    return {"kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod), "uid": uid_of(pod)}


def _endpoints(service: Object, pods: list[Object]) -> Object:
    publish = bool(spec_of(service).get("publishNotReadyAddresses"))
    subset: Object = {}
    for pod in pods:
        kind = "addresses" if publish or is_ready(pod) else "notReadyAddresses"
        address = {"ip": status_of(pod)["podIP"], "nodeName": spec_of(pod).get("nodeName"), "targetRef": _target(pod)}
        subset.setdefault(kind, []).append(address)
    if subset:
        subset["ports"] = _ports(service, pods)
    obj: Object = {"metadata": {"name": name_of(service), "namespace": namespace_of(service)}}
    if meta(service).get("labels"):
        obj["metadata"]["labels"] = dict(meta(service)["labels"])
    return obj | ({"subsets": [subset]} if subset else {})


def _slice(service: Object, pods: list[Object]) -> Object:
    publish = bool(spec_of(service).get("publishNotReadyAddresses"))
    endpoints = [
        {
            "addresses": [status_of(p)["podIP"]],
            "conditions": {
                "ready": publish or (is_ready(p) and not is_deleting(p)),
                "serving": is_ready(p),
                "terminating": is_deleting(p),
            },
            "nodeName": spec_of(p).get("nodeName"),
            "targetRef": _target(p),
        }
        for p in pods
    ]
    ports = [{"name": "", **p} for p in _ports(service, pods)]
    labels = labels_of(service) | {
        "kubernetes.io/service-name": name_of(service),
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    metadata = {
        "name": f"{name_of(service)}-simulated",
        "namespace": namespace_of(service),
        "labels": labels,
        "ownerReferences": [owner_reference(service)],
    }
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": ports}

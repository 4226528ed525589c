"""Events as controllers write them: one object for a repeated event, with a count.

Aggregation by (involved uid, type, reason, message), as client-go's EventCorrelator does for exact repetitions.
"""

from __future__ import annotations

from k8s_simulation.api.objects import Object, clone, meta, name_of, namespace_of, spec_of, uid_of
from k8s_simulation.api.problems import ApiError
from k8s_simulation.api.registry import Ref, Registry, random_suffix
from k8s_simulation.api.resources import EVENTS


class Recorder:
    """Writes the events of one component."""

    def __init__(self, registry: Registry, component: str) -> None:
        """`component` is the event's source, such as `job-controller`."""
        self._registry = registry
        self._component = component
        self._known: dict[tuple[str, str, str, str], Ref] = {}

    def normal(self, obj: Object, reason: str, message: str) -> None:
        """An event of type Normal about the object."""
        self._record(obj, "Normal", reason, message)

    def warning(self, obj: Object, reason: str, message: str) -> None:
        """An event of type Warning about the object."""
        self._record(obj, "Warning", reason, message)

    def _record(self, obj: Object, kind: str, reason: str, message: str) -> None:
        key = (uid_of(obj), kind, reason, message)
        try:
            if key in self._known and self._registry.find(self._known[key]) is not None:
                self._registry.modify(self._known[key], self._again)
            else:
                self._known[key] = self._new(obj, kind, reason, message)
        except ApiError:
            pass  # an event is an aside: in a namespace that ends, or for a full quota, it is lost, as in Kubernetes

    def _again(self, event: Object) -> None:
        event["count"] = int(event.get("count") or 1) + 1
        event["lastTimestamp"] = self._registry.now

    def _new(self, obj: Object, kind: str, reason: str, message: str) -> Ref:
        if len(self._known) > 4096:
            self._known.clear()
        now, namespace = self._registry.now, namespace_of(obj) or "default"
        event: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": self._name(obj), "namespace": namespace},
            "involvedObject": reference(obj),
            "reason": reason,
            "message": message,
            "source": {"component": self._component},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": kind,
            "eventTime": None,
            "reportingComponent": self._component,
            "reportingInstance": "",
        }
        entry = self._registry.create(EVENTS, event)
        return Ref(EVENTS, *entry.key)

    def _name(self, obj: Object) -> str:
        """Ends with the time in hex, as client-go names events: a list of them is in order."""
        return f"{name_of(obj)[:232]}.{int(self._registry.clock() * 1e9):x}{random_suffix(4)}"


def reference(obj: Object) -> Object:
    """The ObjectReference of an object."""
    found = {
        "kind": obj.get("kind"),
        "namespace": namespace_of(obj),
        "name": name_of(obj),
        "uid": uid_of(obj),
        "apiVersion": obj.get("apiVersion"),
        "resourceVersion": meta(obj).get("resourceVersion"),
    }
    return {k: v for k, v in found.items() if v}


def pod_from_template(owner: Object, template: Object) -> Object:
    """A pod as controllers make it: template, generated name, owner (pkg/controller/controller_utils.go)."""
    metadata: Object = {
        "generateName": f"{name_of(owner)}-",
        "namespace": namespace_of(owner),
        "labels": clone(meta(template).get("labels") or {}),
        "ownerReferences": [owner_reference(owner)],
    }
    if meta(template).get("annotations"):
        metadata["annotations"] = clone(meta(template)["annotations"])
    if meta(template).get("finalizers"):
        metadata["finalizers"] = clone(meta(template)["finalizers"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": clone(spec_of(template))}


def owner_reference(owner: Object) -> Object:
    """The reference of a controller to what it made."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }

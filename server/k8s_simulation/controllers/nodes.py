"""The node life cycle: a node whose lease is not renewed is unknown, tainted, and loses its pods.

After pkg/controller/nodelifecycle and tainteviction. The lease's renewTime is compared when it is due, not polled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from k8s_simulation.api.deletion import BACKGROUND
from k8s_simulation.api.objects import (
    Object,
    condition,
    disrupted,
    is_deleting,
    is_finished,
    seconds_of,
    spec_of,
    status_of,
)
from k8s_simulation.api.registry import Ref, Registry, ref_of
from k8s_simulation.api.resources import LEASES, NODES, PODS, Resource
from k8s_simulation.api.storage import Change, ChangeType
from k8s_simulation.controllers.framework import Key, KeyFunction
from k8s_simulation.controllers.recorder import Recorder
from k8s_simulation.controllers.scheduler import tolerates

_NAMESPACE = "kube-node-lease"
_KEYS = {"Unknown": "node.kubernetes.io/unreachable", "False": "node.kubernetes.io/not-ready"}


class NodeController:
    """Watches leases, taints nodes, evicts pods."""

    name = "nodes"

    def __init__(self, registry: Registry, grace: float) -> None:
        """`grace`: seconds without a renewed lease until the node is unknown."""
        self._registry = registry
        self._grace = grace
        self._recorder = Recorder(registry, "node-controller")
        self._tainted: dict[str, float] = {}

    def sources(self) -> Mapping[Resource, KeyFunction]:
        """Nodes, their leases, and pods that are bound to a node that is in trouble."""
        return {NODES: self._node, LEASES: self._lease, PODS: self._pod}

    def _node(self, change: Change) -> Iterable[Key]:
        before = change.before
        if before is None or change.type is ChangeType.DELETED or _ready(before.obj) != _ready(change.entry.obj):
            yield (change.entry.key[1],)

    def _lease(self, change: Change) -> Iterable[Key]:
        # a renewal while all is well is not looked at: the timer set by the last look does that
        if change.entry.key[0] == _NAMESPACE and (change.before is None or change.entry.key[1] in self._tainted):
            yield (change.entry.key[1],)

    def _pod(self, change: Change) -> Iterable[Key]:
        if spec_of(change.entry.obj).get("nodeName") in self._tainted:
            yield (str(spec_of(change.entry.obj)["nodeName"]),)

    def reconcile(self, key: Key) -> float | None:
        """One node: its health, its taints, its pods."""
        ref = Ref(NODES, "", key[0])
        node = self._registry.find(ref)
        if node is None:
            self._tainted.pop(key[0], None)
            self._lose_pods(key[0])
            return None
        left = self._lease_left(key[0])
        if left <= 0 and _ready(node) != "Unknown":
            self._registry.modify(ref, self._unknown, "status")
            self._recorder.normal(node, "NodeNotReady", f"Node {key[0]} status is now: NodeNotReady")
        node = self._registry.get(ref).obj
        self._taint(ref, node)
        waits = [left] if left > 0 else []
        if key[0] in self._tainted:
            self._mark_pods(key[0])
            waits += self._evict(key[0], _KEYS.get(_ready(node), ""))
        return min(waits) if waits else None

    def _lease_left(self, name: str) -> float:
        lease = self._registry.find(Ref(LEASES, _NAMESPACE, name))
        renewed = seconds_of(spec_of(lease).get("renewTime")) if lease else None
        if renewed is None:
            return self._grace  # a node that has just registered
        return renewed + self._grace - self._registry.clock()

    def _unknown(self, node: Object) -> None:
        ready = condition(node, "Ready") or {"type": "Ready"}
        ready |= {
            "status": "Unknown",
            "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.",
            "lastTransitionTime": self._registry.now,
        }
        others = [c for c in status_of(node).get("conditions") or [] if c.get("type") != "Ready"]
        node.setdefault("status", {})["conditions"] = [*others, ready]

    def _taint(self, ref: Ref, node: Object) -> None:
        wanted = _KEYS.get(_ready(node))
        present = spec_of(node).get("taints") or []
        ours = [t for t in present if t.get("key") in _KEYS.values()]
        if wanted is None:
            self._tainted.pop(ref.name, None)
        else:
            self._tainted.setdefault(ref.name, self._registry.clock())
        if [t["key"] for t in ours] == ([wanted, wanted] if wanted else []):
            return
        taints = [t for t in present if t.get("key") not in _KEYS.values()]
        if wanted:
            both = ("NoSchedule", "NoExecute")
            taints += [{"key": wanted, "effect": e, "timeAdded": self._registry.now} for e in both]

        def write(obj: Object) -> None:
            obj.setdefault("spec", {})["taints"] = taints

        self._registry.modify(ref, write)

    def _pods(self, name: str) -> list[Object]:
        pods = self._registry.storage.objects(PODS)
        return [p for p in pods if spec_of(p).get("nodeName") == name and not is_finished(p)]

    def _mark_pods(self, name: str) -> None:
        for pod in self._pods(name):
            ready = condition(pod, "Ready")
            if ready is None or ready.get("status") != "True":
                continue
            ready |= {"status": "False", "lastTransitionTime": self._registry.now}

            def write(obj: Object, ready: Object = ready) -> None:
                others = [c for c in obj["status"]["conditions"] if c["type"] != "Ready"]
                obj["status"]["conditions"] = [*others, ready]

            self._registry.modify(ref_of(PODS, pod), write, "status")

    def _evict(self, name: str, key: str) -> list[float]:
        """Delete the pods whose toleration has run out; the times that others have left."""
        taint, left = {"key": key, "effect": "NoExecute"}, []
        for pod in self._pods(name):
            if is_deleting(pod):
                continue
            tolerated = [t for t in spec_of(pod).get("tolerations") or [] if tolerates(t, taint)]
            if any(t.get("tolerationSeconds") is None for t in tolerated):
                continue
            seconds = min((float(t["tolerationSeconds"]) for t in tolerated), default=0.0)
            wait = self._tainted[name] + seconds - self._registry.clock()
            if wait > 0:
                left.append(wait)
                continue
            self._recorder.normal(pod, "TaintManagerEviction", "Marking for deletion Pod")
            self._registry.modify(ref_of(PODS, pod), self._disrupt, "status")
            self._registry.delete(ref_of(PODS, pod), BACKGROUND)
        return left

    def _disrupt(self, pod: Object) -> Object:
        message = "Taint manager: deleting due to NoExecute taint"
        return disrupted(pod, "DeletionByTaintManager", message, self._registry.now)

    def _lose_pods(self, name: str) -> None:
        """Pods of a node that is no more are removed by force, as the pod garbage collector does."""
        from k8s_simulation.api.deletion import IMMEDIATE

        for pod in self._pods(name):
            self._registry.delete(ref_of(PODS, pod), IMMEDIATE)


def _ready(node: Object) -> str:
    return str((condition(node, "Ready") or {}).get("status", ""))

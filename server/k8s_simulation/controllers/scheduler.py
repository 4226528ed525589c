"""The scheduler: puts pending pods on nodes with room, or says in Kubernetes' words why it cannot.

Filters: node conditions and taints, nodeSelector, CPU, memory, ephemeral storage and number of pods. Among nodes that
fit it takes the one with the most CPU free. No affinity, no preemption (docs/simulation.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal

from k8s_simulation.api import quantities, quota
from k8s_simulation.api.objects import (
    Object,
    condition,
    is_deleting,
    is_finished,
    labels_of,
    meta,
    name_of,
    spec_of,
    status_of,
    uid_of,
)
from k8s_simulation.api.registry import Ref, Registry
from k8s_simulation.api.resources import NODES, PODS, Resource
from k8s_simulation.api.storage import Change, ChangeType
from k8s_simulation.controllers.framework import Key, KeyFunction
from k8s_simulation.controllers.recorder import Recorder

_PREEMPTION = "preemption: 0/{n} nodes are available: {n} No preemption victims found for incoming pod."


class Scheduler:
    """Binds pods to nodes. Keeps what each node has given away, brought up to date by every change of a pod."""

    name = "scheduler"

    def __init__(self, registry: Registry) -> None:
        """Nothing is given away yet."""
        self._registry = registry
        self._recorder = Recorder(registry, "default-scheduler")
        self._given: dict[str, dict[str, quota.Usage]] = {}
        self._unschedulable: set[Key] = set()

    def sources(self) -> Mapping[Resource, KeyFunction]:
        """Pods and nodes."""
        return {PODS: self._pod, NODES: self._node}

    def _pod(self, change: Change) -> Iterable[Key]:
        pod = change.entry.obj
        node = spec_of(pod).get("nodeName")
        if node:
            freed = change.type is ChangeType.DELETED or is_finished(pod)
            given = self._given.setdefault(str(node), {})
            if not freed:
                given.setdefault(uid_of(pod), quota.pod_resources(spec_of(pod), "requests"))
            elif given.pop(uid_of(pod), None) is not None:
                yield from self._again()
        elif change.type is ChangeType.DELETED:
            self._unschedulable.discard(change.entry.key)
        elif change.entry.key not in self._unschedulable:
            yield change.entry.key

    def _node(self, change: Change) -> Iterable[Key]:
        before, now = change.before, change.entry
        if before is None or _schedulable_part(before.obj) != _schedulable_part(now.obj):
            yield from self._again()

    def _again(self) -> Iterable[Key]:
        waiting = list(self._unschedulable)
        self._unschedulable.clear()
        yield from waiting

    def reconcile(self, key: Key) -> float | None:
        """Bind one pod, or mark it unschedulable."""
        ref = Ref(PODS, *key)
        pod = self._registry.find(ref)
        if pod is None or spec_of(pod).get("nodeName") or is_deleting(pod) or is_finished(pod):
            return None
        if spec_of(pod).get("schedulerName", "default-scheduler") != "default-scheduler":
            return None
        if spec_of(pod).get("schedulingGates"):
            return None
        nodes = list(self._registry.storage.objects(NODES))
        reasons: Counter[str] = Counter()
        best: tuple[Decimal, str] | None = None
        for node in nodes:
            wrong, free = self._fit(pod, node)
            reasons.update(wrong)
            if not wrong and (best is None or free > best[0]):
                best = (free, name_of(node))
        if best is None:
            self._refuse(ref, pod, len(nodes), reasons)
            return None
        self._registry.bind(ref, best[1])
        message = f"Successfully assigned {key[0]}/{key[1]} to {best[1]}"
        self._recorder.normal(pod, "Scheduled", message)
        return None

    def _fit(self, pod: Object, node: Object) -> tuple[list[str], Decimal]:
        """Why the pod does not fit, and the CPU that is free."""
        if spec_of(node).get("unschedulable"):
            return ["node(s) were unschedulable"], Decimal(0)
        if taint := _untolerated(spec_of(pod), node):
            value = f"{taint['key']}: {taint.get('value', '')}"
            return [f"node(s) had untolerated taint(s) {{{value}}}"], Decimal(0)
        wanted = spec_of(pod).get("nodeSelector") or {}
        if any(labels_of(node).get(k) != v for k, v in wanted.items()):
            return ["node(s) didn't match Pod's node affinity/selector"], Decimal(0)
        given = self._given.get(name_of(node), {})
        room = {k: quantities.parse(v) for k, v in (status_of(node).get("allocatable") or {}).items()}
        wrong = ["Too many pods"] if len(given) + 1 > room.get("pods", Decimal(110)) else []
        for name, asked in quota.pod_resources(spec_of(pod), "requests").items():
            taken = sum((g.get(name, Decimal(0)) for g in given.values()), Decimal(0))
            if asked > 0 and taken + asked > room.get(name, Decimal(0)):
                wrong.append(f"Insufficient {name}")
        cpu = sum((g.get("cpu", Decimal(0)) for g in given.values()), Decimal(0))
        return wrong, room.get("cpu", Decimal(0)) - cpu

    def _refuse(self, ref: Ref, pod: Object, count: int, reasons: Counter[str]) -> None:
        if count:
            found = ", ".join(f"{n} {why}" for why, n in sorted(reasons.items()))
            message = f"0/{count} nodes are available: {found}. {_PREEMPTION.format(n=count)}"
        else:
            message = "no nodes available to schedule pods"
        self._unschedulable.add((ref.namespace, ref.name))
        self._recorder.warning(pod, "FailedScheduling", message)
        present = condition(pod, "PodScheduled")
        if present is not None and present.get("message") == message:
            return
        entry = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                 "lastProbeTime": None, "lastTransitionTime": self._registry.now,
                 "observedGeneration": meta(pod).get("generation", 1)}  # fmt: skip

        def write(obj: Object) -> None:
            others = [c for c in obj["status"].get("conditions") or [] if c.get("type") != "PodScheduled"]
            obj["status"]["conditions"] = [*others, entry]

        self._registry.modify(ref, write, "status")


def _schedulable_part(node: Object) -> tuple[object, ...]:
    spec = spec_of(node)
    return (status_of(node).get("allocatable"), spec.get("taints"), spec.get("unschedulable"), meta(node).get("labels"))


def _untolerated(spec: Object, node: Object) -> Object | None:
    for taint in spec_of(node).get("taints") or []:
        if taint.get("effect") == "PreferNoSchedule":
            continue
        if not any(tolerates(t, taint) for t in spec.get("tolerations") or []):
            return dict(taint)
    return None


def tolerates(toleration: Object, taint: Object) -> bool:
    """True if the toleration covers the taint (k8s.io/component-helpers corev1.ToleratesTaint)."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    exists = toleration.get("operator", "Equal") == "Exists"
    return exists or (bool(toleration.get("key")) and toleration.get("value", "") == taint.get("value", ""))

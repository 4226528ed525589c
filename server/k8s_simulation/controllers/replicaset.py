"""ReplicaSets: as many pods of the template as asked for. After pkg/controller/replicaset."""

from __future__ import annotations

from collections.abc import Mapping

from k8s_simulation.api.deletion import BACKGROUND
from k8s_simulation.api.objects import (
    Object,
    clone,
    condition,
    is_deleting,
    is_finished,
    is_ready,
    labels_of,
    meta,
    name_of,
    seconds_of,
    spec_of,
)
from k8s_simulation.api.problems import ApiError
from k8s_simulation.api.registry import Ref, Registry, ref_of
from k8s_simulation.api.resources import PODS, REPLICASETS, Resource
from k8s_simulation.api.selectors import from_label_selector, labels_match
from k8s_simulation.controllers.framework import Backoff, Key, KeyFunction, changed_key, owned_by, owner_key
from k8s_simulation.controllers.recorder import Recorder, pod_from_template

_BURST = 100  # pods made in one pass; the next begins with their own events
_RETRY_SECONDS = (0.01, 5.0)  # between attempts to create refused pods, first and last; in life it grows to 1000 s


def replica_status(pods: list[Object], template_labels: dict[str, str], min_ready: float, now: float) -> Object:
    """The counts of a workload's status."""
    ready = [p for p in pods if is_ready(p)]
    available = [p for p in ready if min_ready == 0 or now - _ready_since(p) >= min_ready]
    labelled = [p for p in pods if template_labels.items() <= labels_of(p).items()]
    counts = {
        "replicas": len(pods),
        "fullyLabeledReplicas": len(labelled),
        "readyReplicas": len(ready),
        "availableReplicas": len(available),
    }
    return {k: v for k, v in counts.items() if v or k == "replicas"}


def _ready_since(pod: Object) -> float:
    return seconds_of((condition(pod, "Ready") or {}).get("lastTransitionTime")) or 0.0


class ReplicaSetController:
    """Creates and deletes pods."""

    name = "replicaset"

    def __init__(self, registry: Registry) -> None:
        """Nothing but the registry."""
        self._registry = registry
        self._recorder = Recorder(registry, "replicaset-controller")
        self._backoff = Backoff(*_RETRY_SECONDS)
        self._not_before: dict[Key, float] = {}

    def sources(self) -> Mapping[Resource, KeyFunction]:
        """ReplicaSets and their pods."""
        return {REPLICASETS: changed_key, PODS: owner_key("ReplicaSet")}

    def reconcile(self, key: Key) -> float | None:
        """One ReplicaSet."""
        ref = Ref(REPLICASETS, *key)
        found = self._registry.find(ref)
        if found is None:
            self._backoff.clear(key)
            self._not_before.pop(key, None)
            return None
        self._adopt(found)
        wait: float | None = None
        failure = ""
        if not is_deleting(found):
            wait = self._not_before.get(key, 0.0) - self._registry.clock()
            if wait > 0:
                failure = str((condition(found, "ReplicaFailure") or {}).get("message", ""))
            else:
                failure, wait = self._scale_or_wait(key, found)
        status_wait = self._write_status(ref, found, self._active(found), failure)
        return wait if wait is not None and wait > 0 else status_wait

    def _active(self, found: Object) -> list[Object]:
        return [p for p in self._unfinished(found) if not is_deleting(p)]

    def _unfinished(self, found: Object) -> list[Object]:
        pods = owned_by(self._registry.storage.objects(PODS, meta(found)["namespace"]), meta(found)["uid"])
        return [p for p in pods if not is_finished(p)]

    def _scale_or_wait(self, key: Key, found: Object) -> tuple[str, float | None]:
        """Scale; the words of a refusal and the seconds until the next attempt."""
        failure = self._scale(found, self._active(found), int(spec_of(found).get("replicas") or 0))
        if not failure:
            self._backoff.clear(key)
            self._not_before.pop(key, None)
            return "", None
        wait = self._backoff.next(key)
        self._not_before[key] = self._registry.clock() + wait
        return failure, wait

    def _adopt(self, found: Object) -> None:
        """Pods that match and belong to nobody become ours, as after `delete --cascade=orphan`."""
        selector = from_label_selector(spec_of(found).get("selector"))
        for pod in list(self._registry.storage.objects(PODS, meta(found)["namespace"])):
            if meta(pod).get("ownerReferences") or is_deleting(pod) or is_deleting(found):
                continue
            if selector and labels_match(selector, labels_of(pod)):
                owner = pod_from_template(found, {})["metadata"]["ownerReferences"]

                def adopt(obj: Object, owner: list[Object] = owner) -> None:
                    meta(obj)["ownerReferences"] = owner

                self._registry.modify(ref_of(PODS, pod), adopt)

    def _scale(self, found: Object, active: list[Object], wanted: int) -> str:
        """Create or delete pods; the words of a refusal, or the empty string."""
        for _ in range(min(wanted - len(active), _BURST)):
            try:
                pod = self._registry.create(PODS, pod_from_template(found, spec_of(found)["template"])).obj
            except ApiError as error:
                if any(c.get("reason") == "NamespaceTerminating" for c in error.details.get("causes", [])):
                    return ""  # the namespace ends: no failure worth a word
                self._recorder.warning(found, "FailedCreate", f"Error creating: {error.message}")
                return error.message
            self._recorder.normal(found, "SuccessfulCreate", f"Created pod: {name_of(pod)}")
        surplus = sorted(active, key=lambda p: (is_ready(p), bool(spec_of(p).get("nodeName"))))
        for pod in surplus[: max(len(active) - wanted, 0)]:
            self._registry.delete(ref_of(PODS, pod), BACKGROUND)
            self._recorder.normal(found, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
        return ""

    def _write_status(self, ref: Ref, found: Object, active: list[Object], failure: str) -> float | None:
        min_ready = float(spec_of(found).get("minReadySeconds") or 0)
        labels = labels_of(spec_of(found).get("template") or {})
        status = replica_status(active, labels, min_ready, self._registry.clock())
        status["terminatingReplicas"] = len(self._unfinished(found)) - len(active)
        status["observedGeneration"] = meta(found).get("generation", 1)
        conditions = self._conditions(found, failure)
        if conditions:
            status["conditions"] = conditions

        def write(obj: Object) -> None:
            obj["status"] = status

        self._registry.modify(ref, write, "status")
        pending = status.get("readyReplicas", 0) > status.get("availableReplicas", 0)
        return min_ready if pending else None

    def _conditions(self, found: Object, failure: str) -> list[Object]:
        before = condition(found, "ReplicaFailure")
        if not failure:
            return []
        since = before["lastTransitionTime"] if before else self._registry.now
        return [
            clone(
                {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": failure,
                 "lastTransitionTime": since}
            )
        ]  # fmt: skip

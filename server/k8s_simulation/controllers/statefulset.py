"""StatefulSets in their simple form: pods `{name}-0 … n-1`, in order, one at a time unless Parallel.

Claims of volumeClaimTemplates are created, and accepted without storage behind them; template updates replace pods from
the highest ordinal down. After pkg/controller/statefulset; no partitions (docs/simulation.md).
"""

from __future__ import annotations

from collections.abc import Mapping

from k8s_simulation.api.deletion import BACKGROUND
from k8s_simulation.api.objects import (
    Object,
    clone,
    is_deleting,
    is_finished,
    is_ready,
    labels_of,
    meta,
    name_of,
    namespace_of,
    spec_of,
    uid_of,
)
from k8s_simulation.api.problems import ApiError
from k8s_simulation.api.registry import Ref, Registry, ref_of
from k8s_simulation.api.resources import PODS, STATEFULSETS, Resource, named
from k8s_simulation.controllers.framework import Key, KeyFunction, changed_key, owned_by, owner_key
from k8s_simulation.controllers.recorder import Recorder, pod_from_template
from k8s_simulation.controllers.rollout import template_hash

_CLAIMS = named("persistentvolumeclaims")
_REVISION = "controller-revision-hash"
_RETRY_SECONDS = 1.0


class StatefulSetController:
    """Creates pods in order."""

    name = "statefulset"

    def __init__(self, registry: Registry) -> None:
        """Nothing but the registry."""
        self._registry = registry
        self._recorder = Recorder(registry, "statefulset-controller")

    def sources(self) -> Mapping[Resource, KeyFunction]:
        """StatefulSets and their pods."""
        return {STATEFULSETS: changed_key, PODS: owner_key("StatefulSet")}

    def reconcile(self, key: Key) -> float | None:
        """One StatefulSet."""
        ref = Ref(STATEFULSETS, *key)
        found = self._registry.find(ref)
        if found is None:
            return None
        delay = None if is_deleting(found) else self._arrange(found)
        self._write_status(ref, found, self._pods(found))
        return delay

    def _pods(self, found: Object) -> list[Object]:
        pods = owned_by(self._registry.storage.objects(PODS, namespace_of(found)), uid_of(found))
        return sorted(pods, key=_ordinal)

    def _arrange(self, found: Object) -> float | None:
        """One step: the first pod missing, broken or too many decides. Parallel sets take all steps at once."""
        spec, pods = spec_of(found), {_ordinal(p): p for p in self._pods(found)}
        parallel = spec.get("podManagementPolicy") == "Parallel"
        revision = template_hash(spec["template"])
        for ordinal in range(int(spec.get("replicas") or 0)):
            pod = pods.get(ordinal)
            if pod is None:
                if not self._create(found, ordinal, revision):
                    return _RETRY_SECONDS
            elif is_finished(pod) and not is_deleting(pod):
                self._registry.delete(ref_of(PODS, pod), BACKGROUND)
            if not parallel and (pod is None or not is_ready(pod) or is_deleting(pod)):
                return None
        surplus = [p for o, p in sorted(pods.items(), reverse=True) if o >= int(spec.get("replicas") or 0)]
        outdated = [p for _, p in sorted(pods.items(), reverse=True) if labels_of(p).get(_REVISION) != revision]
        if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
            outdated = []
        for pod in surplus or outdated:
            if not is_deleting(pod):
                self._registry.delete(ref_of(PODS, pod), BACKGROUND)
                message = f"delete Pod {name_of(pod)} in StatefulSet {name_of(found)} successful"
                self._recorder.normal(found, "SuccessfulDelete", message)
            if not parallel:
                break
        return None

    def _create(self, found: Object, ordinal: int, revision: str) -> bool:
        pod = pod_from_template(found, spec_of(found)["template"])
        name = f"{name_of(found)}-{ordinal}"
        pod["metadata"].pop("generateName")
        pod["metadata"]["name"] = name
        pod["metadata"]["labels"] |= {
            "statefulset.kubernetes.io/pod-name": name,
            "apps.kubernetes.io/pod-index": str(ordinal),
            _REVISION: revision,
        }
        pod["spec"]["hostname"] = name
        if spec_of(found).get("serviceName"):
            pod["spec"]["subdomain"] = spec_of(found)["serviceName"]
        try:
            self._claims(found, pod, ordinal)
            self._registry.create(PODS, pod)
        except ApiError as error:
            message = f"create Pod {name} in StatefulSet {name_of(found)} failed error: {error.message}"
            self._recorder.warning(found, "FailedCreate", message)
            return False
        message = f"create Pod {name} in StatefulSet {name_of(found)} successful"
        self._recorder.normal(found, "SuccessfulCreate", message)
        return True

    def _claims(self, found: Object, pod: Object, ordinal: int) -> None:
        volumes = pod["spec"].setdefault("volumes", [])
        for template in spec_of(found).get("volumeClaimTemplates") or []:
            name = f"{name_of(template)}-{name_of(found)}-{ordinal}"
            volumes.append({"name": name_of(template), "persistentVolumeClaim": {"claimName": name}})
            if self._registry.find(Ref(_CLAIMS, namespace_of(found), name)) is None:
                metadata = {**clone(meta(template)), "name": name, "namespace": namespace_of(found)}
                self._registry.create(_CLAIMS, {"metadata": metadata, "spec": clone(spec_of(template))})

    def _write_status(self, ref: Ref, found: Object, pods: list[Object]) -> None:
        revision = template_hash(spec_of(found)["template"])
        ready = sum(is_ready(p) and not is_deleting(p) for p in pods)
        updated = sum(labels_of(p).get(_REVISION) == revision for p in pods)
        name = f"{name_of(found)}-{revision}"
        status: Object = {
            "observedGeneration": meta(found).get("generation", 1),
            "replicas": len(pods),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "currentReplicas": updated,
            "updatedReplicas": updated,
            "currentRevision": name,
            "updateRevision": name,
            "collisionCount": 0,
        }

        def write(obj: Object) -> None:
            obj["status"] = status

        self._registry.modify(ref, write, "status")


def _ordinal(pod: Object) -> int:
    text = name_of(pod).rpartition("-")[2]
    return int(text) if text.isdigit() else -1

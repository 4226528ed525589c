"""Deployments: one ReplicaSet for each template, scaled against each other. After pkg/controller/deployment.

RollingUpdate and Recreate, revisions, progress and the conditions that `kubectl rollout status` and `wait` read. No
pause of a running roll-out beyond `paused`, no proportional scaling between several old ReplicaSets
(docs/simulation.md).
"""

from __future__ import annotations

from collections.abc import Mapping

from k8s_simulation.api.deletion import BACKGROUND
from k8s_simulation.api.objects import (
    Object,
    clone,
    condition,
    is_deleting,
    labels_of,
    meta,
    name_of,
    namespace_of,
    spec_of,
    status_of,
    uid_of,
)
from k8s_simulation.api.registry import Ref, Registry, ref_of
from k8s_simulation.api.resources import DEPLOYMENTS, PODS, REPLICASETS, Resource
from k8s_simulation.controllers.deployment_status import write_status
from k8s_simulation.controllers.framework import Key, KeyFunction, changed_key, owned_by, owner_key
from k8s_simulation.controllers.recorder import Recorder, owner_reference
from k8s_simulation.controllers.rollout import Bounds, bounds, replica_annotations, template_hash

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"


class DeploymentController:
    """Makes and scales ReplicaSets."""

    name = "deployment"

    def __init__(self, registry: Registry) -> None:
        """Nothing but the registry."""
        self._registry = registry
        self._recorder = Recorder(registry, "deployment-controller")

    def sources(self) -> Mapping[Resource, KeyFunction]:
        """Deployments and their ReplicaSets."""
        return {DEPLOYMENTS: changed_key, REPLICASETS: owner_key("Deployment")}

    def reconcile(self, key: Key) -> float | None:
        """One Deployment."""
        ref = Ref(DEPLOYMENTS, *key)
        deployment = self._registry.find(ref)
        if deployment is None:
            return None
        sets = self._sets(deployment)
        if not is_deleting(deployment) and not spec_of(deployment).get("paused"):
            self._roll(deployment, sets)
            sets = self._sets(deployment)
        deployment = self._registry.find(ref) or deployment
        current = self._current(deployment, sets)
        delay = write_status(self._registry, deployment, sets, current)
        if current is not None and not is_deleting(deployment):
            self._forget_old(deployment, sets, current)
        return delay

    def _sets(self, deployment: Object) -> list[Object]:
        return owned_by(self._registry.storage.objects(REPLICASETS, namespace_of(deployment)), uid_of(deployment))

    def _current(self, deployment: Object, sets: list[Object]) -> Object | None:
        name = template_hash(spec_of(deployment)["template"])
        return next((s for s in sets if labels_of(s).get(HASH_LABEL) == name and not is_deleting(s)), None)

    def _roll(self, deployment: Object, sets: list[Object]) -> None:
        limits = bounds(spec_of(deployment))
        current = self._current(deployment, sets)
        old = [s for s in sets if s is not current and not is_deleting(s)]
        if (spec_of(deployment).get("strategy") or {}).get("type") == "Recreate":
            for one in old:
                self._scale(deployment, one, 0)
            if any(self._has_pods(one) for one in old):
                return
            old = []
        total = sum(_replicas(s) for s in old)
        if current is None:
            first = min(limits.wanted, max(limits.wanted + limits.surge - total, 0))
            current = self._make(deployment, sets, first)
            return
        self._mark_revision(deployment, current)
        room = limits.wanted + limits.surge - total - _replicas(current)
        grown = _replicas(current) + max(min(limits.wanted - _replicas(current), room), 0)
        self._scale(deployment, current, min(grown, limits.wanted))
        self._shrink(deployment, current, old, limits)

    def _shrink(self, deployment: Object, current: Object, old: list[Object], limits: Bounds) -> None:
        everything = sum(_replicas(s) for s in [*old, current])
        missing = _replicas(current) - int(status_of(current).get("availableReplicas") or 0)
        may_go = everything - (limits.wanted - limits.unavailable) - max(missing, 0)
        for one in old:  # pods that are not available serve nobody: they go first
            unhealthy = _replicas(one) - int(status_of(one).get("availableReplicas") or 0)
            step = min(max(unhealthy, 0), max(may_go, 0))
            if step:
                self._scale(deployment, one, _replicas(one) - step)
                may_go -= step
        old = [self._registry.get(ref_of(REPLICASETS, s)).obj for s in old]
        for one in old:
            step = min(_replicas(one), max(may_go, 0))
            if step:
                self._scale(deployment, one, _replicas(one) - step)
                may_go -= step

    def _has_pods(self, one: Object) -> bool:
        return bool(owned_by(self._registry.storage.objects(PODS, namespace_of(one)), uid_of(one)))

    def _make(self, deployment: Object, sets: list[Object], replicas: int) -> Object:
        template = clone(spec_of(deployment)["template"])
        name = template_hash(spec_of(deployment)["template"])
        meta(template).setdefault("labels", {})[HASH_LABEL] = name
        selector = clone(spec_of(deployment)["selector"])
        selector.setdefault("matchLabels", {})[HASH_LABEL] = name
        revision = str(max([int(meta(s).get("annotations", {}).get(REVISION, 0)) for s in sets], default=0) + 1)
        spec: Object = {"replicas": replicas, "selector": selector, "template": template}
        if spec_of(deployment).get("minReadySeconds"):
            spec["minReadySeconds"] = spec_of(deployment)["minReadySeconds"]
        made: Object = {
            "metadata": {
                "name": f"{name_of(deployment)}-{name}",
                "namespace": namespace_of(deployment),
                "labels": dict(meta(template)["labels"]),
                "annotations": {REVISION: revision, **replica_annotations(spec_of(deployment))},
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": spec,
        }
        created = self._registry.create(REPLICASETS, made).obj
        self._mark_revision(deployment, created)
        if replicas:
            self._said(deployment, created, 0, replicas)
        return created

    def _mark_revision(self, deployment: Object, current: Object) -> None:
        """Deployment and newest ReplicaSet carry the same revision; a template taken up again becomes the newest."""
        sets = self._sets(deployment)
        revisions = {uid_of(s): int((meta(s).get("annotations") or {}).get(REVISION, 0)) for s in sets}
        highest = max((r for uid, r in revisions.items() if uid != uid_of(current)), default=0)
        revision = str(max(revisions.get(uid_of(current), 0), highest + 1) if highest else revisions[uid_of(current)])
        for ref in (ref_of(REPLICASETS, current), ref_of(DEPLOYMENTS, deployment)):
            found = self._registry.get(ref).obj
            if (meta(found).get("annotations") or {}).get(REVISION) != revision:
                self._registry.modify(ref, lambda o: meta(o).setdefault("annotations", {}).update({REVISION: revision}))

    def _scale(self, deployment: Object, one: Object, replicas: int) -> None:
        before = _replicas(one)
        if before == replicas:
            return

        def write(obj: Object) -> None:
            obj["spec"]["replicas"] = replicas
            meta(obj).setdefault("annotations", {}).update(replica_annotations(spec_of(deployment)))

        self._registry.modify(ref_of(REPLICASETS, one), write)
        self._said(deployment, one, before, replicas)

    def _said(self, deployment: Object, one: Object, before: int, after: int) -> None:
        word = "up" if after > before else "down"
        message = f"Scaled {word} replica set {name_of(one)} from {before} to {after}"
        self._recorder.normal(deployment, "ScalingReplicaSet", message)

    def _forget_old(self, deployment: Object, sets: list[Object], current: Object) -> None:
        """Old, empty ReplicaSets beyond revisionHistoryLimit go, when the roll-out is over."""
        limit = spec_of(deployment).get("revisionHistoryLimit", 10)
        empty = [s for s in sets if uid_of(s) != uid_of(current) and not _replicas(s) and not is_deleting(s)]
        progress = condition(deployment, "Progressing") or {}
        if len(empty) > limit and progress.get("reason") == "NewReplicaSetAvailable":
            for one in empty[: len(empty) - limit]:
                self._registry.delete(ref_of(REPLICASETS, one), BACKGROUND)


def _replicas(one: Object) -> int:
    return int(spec_of(one).get("replicas") or 0)

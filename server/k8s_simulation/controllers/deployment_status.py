"""The status of a Deployment: counts and the conditions Available, Progressing and ReplicaFailure.

After pkg/controller/deployment/{sync,progress}.go. Apart from the scaling because it only reads what that did.
"""

from __future__ import annotations

from k8s_simulation.api.objects import Object, condition, meta, name_of, seconds_of, spec_of, status_of
from k8s_simulation.api.registry import Registry, ref_of
from k8s_simulation.api.resources import DEPLOYMENTS
from k8s_simulation.controllers.rollout import bounds


def write_status(registry: Registry, deployment: Object, sets: list[Object], current: Object | None) -> float | None:
    """Write the status; seconds until the progress deadline has to be looked at, or None."""
    counts = _counts(deployment, sets, current)
    conditions = [
        _available(deployment, counts),
        _progressing(deployment, counts, current, registry.clock()),
        _failure(current),
    ]
    kept = [_dated(deployment, c, registry.now, counts) for c in conditions if c]
    status: Object = {"observedGeneration": meta(deployment).get("generation", 1)}
    status |= {k: v for k, v in counts.items() if v}
    if sets:
        status["terminatingReplicas"] = sum(int(status_of(s).get("terminatingReplicas") or 0) for s in sets)
    if kept:
        status["conditions"] = kept

    def write(obj: Object) -> None:
        obj["status"] = status

    registry.modify(ref_of(DEPLOYMENTS, deployment), write, "status")
    progress = next((c for c in kept if c["type"] == "Progressing"), None)
    if progress is None or progress["reason"] in {"NewReplicaSetAvailable", "ProgressDeadlineExceeded"}:
        return None
    begun = seconds_of(progress["lastUpdateTime"]) or registry.clock()
    return max(begun + _deadline(deployment) - registry.clock(), 0.1)


def _deadline(deployment: Object) -> float:
    return float(spec_of(deployment).get("progressDeadlineSeconds") or 600)


def _counts(deployment: Object, sets: list[Object], current: Object | None) -> dict[str, int]:
    def total(field: str) -> int:
        return sum(int(status_of(s).get(field) or 0) for s in sets)

    updated = int(status_of(current).get("replicas") or 0) if current else 0
    available = total("availableReplicas")
    wanted = int(spec_of(deployment).get("replicas") or 0)
    replicas = total("replicas")
    return {
        "replicas": replicas,
        "updatedReplicas": updated,
        "readyReplicas": total("readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(max(replicas, wanted) - available, 0),
    }


def _available(deployment: Object, counts: dict[str, int]) -> Object:
    limits = bounds(spec_of(deployment))
    if counts["availableReplicas"] >= limits.wanted - limits.unavailable:
        return {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable",
                "message": "Deployment has minimum availability."}  # fmt: skip
    return {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable",
            "message": "Deployment does not have minimum availability."}  # fmt: skip


def _progressing(deployment: Object, counts: dict[str, int], current: Object | None, now: float) -> Object | None:
    if current is None:
        return condition(deployment, "Progressing")
    wanted, name = int(spec_of(deployment).get("replicas") or 0), name_of(current)
    complete = counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"] == wanted
    if complete:
        return {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
                "message": f'ReplicaSet "{name}" has successfully progressed.'}  # fmt: skip
    before = condition(deployment, "Progressing")
    if before is None:
        return {"type": "Progressing", "status": "True", "reason": "NewReplicaSetCreated",
                "message": f'Created new replica set "{name}"'}  # fmt: skip
    if not _moved(deployment, counts):
        begun = seconds_of(before.get("lastUpdateTime")) or now
        same_roll_out = name in str(before.get("message"))
        if same_roll_out and before["reason"] != "NewReplicaSetAvailable" and now - begun >= _deadline(deployment):
            return {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
                    "message": f'ReplicaSet "{name}" has timed out progressing.'}  # fmt: skip
        if same_roll_out and before["reason"] != "NewReplicaSetAvailable":
            return before
    return {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated",
            "message": f'ReplicaSet "{name}" is progressing.'}  # fmt: skip


def _moved(deployment: Object, counts: dict[str, int]) -> bool:
    """True if more pods are new, ready or available than before, or fewer are old: that is progress."""
    before = status_of(deployment)
    grown = any(counts[k] > int(before.get(k) or 0) for k in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    old = int(before.get("replicas") or 0) - int(before.get("updatedReplicas") or 0)
    return grown or counts["replicas"] - counts["updatedReplicas"] < old


def _failure(current: Object | None) -> Object | None:
    found = condition(current, "ReplicaFailure") if current else None
    return {k: v for k, v in found.items() if "Time" not in k} if found else None


def _dated(deployment: Object, new: Object, now: str, counts: dict[str, int]) -> Object:
    """The condition with its times: of its last change of status, and of its last progress."""
    before = condition(deployment, str(new["type"])) or {}
    same = before.get("status") == new["status"]
    unchanged = same and (before.get("reason"), before.get("message")) == (new.get("reason"), new.get("message"))
    moved = new["type"] == "Progressing" and new["reason"] == "ReplicaSetUpdated" and _moved(deployment, counts)
    updated = before.get("lastUpdateTime") if unchanged and not moved else now
    transition = before.get("lastTransitionTime") if same else now
    return {**new, "lastUpdateTime": updated or now, "lastTransitionTime": transition or now}

"""Kubernetes objects as plain dictionaries: copying, time stamps, small readings of metadata.

Stored objects are shared between the storage, its history and every reader, so nobody may change one: `clone` it first.
Pure: no clock, no I/O. Apart because every other module of the simulation needs these few words.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]


def clone(value: Any) -> Any:
    """A deep copy of JSON data (five times as fast as copy.deepcopy, which must mind cycles and classes)."""
    if isinstance(value, dict):
        return {k: clone(v) if isinstance(v, (dict, list)) else v for k, v in value.items()}
    if isinstance(value, list):
        return [clone(v) if isinstance(v, (dict, list)) else v for v in value]
    return value


def meta(obj: Object) -> Object:
    """The metadata of an object."""
    found = obj.get("metadata")
    return found if isinstance(found, dict) else {}


def name_of(obj: Object) -> str:
    """metadata.name, or the empty string."""
    return str(meta(obj).get("name") or "")


def namespace_of(obj: Object) -> str:
    """metadata.namespace, or the empty string for objects of the cluster."""
    return str(meta(obj).get("namespace") or "")


def uid_of(obj: Object) -> str:
    """metadata.uid, or the empty string."""
    return str(meta(obj).get("uid") or "")


def labels_of(obj: Object) -> dict[str, str]:
    """metadata.labels, never None."""
    return meta(obj).get("labels") or {}


def spec_of(obj: Object) -> Object:
    """The spec, never None."""
    return obj.get("spec") or {}


def status_of(obj: Object) -> Object:
    """The status, never None."""
    return obj.get("status") or {}


def is_deleting(obj: Object) -> bool:
    """True once a deletion was asked for."""
    return bool(meta(obj).get("deletionTimestamp"))


def timestamp(seconds: float) -> str:
    """metav1.Time: whole seconds, UTC, `2026-01-02T03:04:05Z`."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(seconds: float) -> str:
    """metav1.MicroTime: six decimals."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_of(text: str | None) -> float | None:
    """Seconds since the epoch of an RFC 3339 time, or None for nothing or nonsense."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def condition(obj: Object, kind: str) -> Object | None:
    """The condition of that type, or None."""
    for item in status_of(obj).get("conditions") or []:
        if item.get("type") == kind:
            return dict(item)
    return None


def condition_is(obj: Object, kind: str, status: str = "True") -> bool:
    """True if the object has that condition with that status."""
    found = condition(obj, kind)
    return found is not None and found.get("status") == status


def is_ready(pod: Object) -> bool:
    """True for a pod whose condition Ready is True."""
    return condition_is(pod, "Ready")


def is_finished(pod: Object) -> bool:
    """True for a pod in phase Succeeded or Failed."""
    return status_of(pod).get("phase") in {"Succeeded", "Failed"}


def controller_of(obj: Object) -> Object | None:
    """The owner reference with `controller: true`, or None."""
    for reference in meta(obj).get("ownerReferences") or []:
        if reference.get("controller"):
            return dict(reference)
    return None


def disrupted(pod: Object, reason: str, message: str, now: str) -> Object:
    """The pod with the condition that says who ends it (core/v1, PodDisruptionTarget; reasons PodReason…)."""
    target = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    others = [c for c in status_of(pod).get("conditions") or [] if c["type"] != target["type"]]
    return {**pod, "status": {**status_of(pod), "conditions": [*others, {**target, "lastTransitionTime": now}]}}

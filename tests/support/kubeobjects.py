"""Objects that the Kubernetes suite creates: small, restricted, quick to end."""

from __future__ import annotations

import os
from typing import Any

Object = dict[str, Any]
IMAGE = os.environ.get("K8S_EXECUTION_TEST_IMAGE", "busybox:1")


def configmap(namespace: str, name: str = "c", **data: str) -> Object:
    """A ConfigMap: the cheapest object there is."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def container(*command: str, **more: Any) -> Object:
    """A container that satisfies Pod Security `restricted`."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    made: Object = {"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "securityContext": security}
    if command:
        made["command"] = list(command)
    return made | more


def pod_spec(*command: str, **more: Any) -> Object:
    """A pod spec with one such container."""
    spec = {"containers": [container(*command)], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False, "enableServiceLinks": False}  # fmt: skip
    return spec | more


def pod(namespace: str, *command: str, name: str = "p", **more: Any) -> Object:
    """A pod."""
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec(*command, **more)}


def job(namespace: str, *command: str, name: str = "j", **spec: Any) -> Object:
    """A Job as the service makes them: one pod, no second try."""
    template = {"metadata": {"labels": {"app": name}}, "spec": pod_spec(*command)}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": namespace},
            "spec": {"backoffLimit": 0, "podReplacementPolicy": "Failed", "template": template, **spec}}  # fmt: skip


def deployment(namespace: str, *command: str, name: str = "d", replicas: int = 1, **more: Any) -> Object:
    """A Deployment."""
    spec = pod_spec(*command, restartPolicy="Always")
    spec["containers"][0] |= more
    labels = {"app": name}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels}, "spec": spec}}}  # fmt: skip


def quota(namespace: str, **hard: str) -> Object:
    """A ResourceQuota; `_` in a name stands for `.`."""
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": namespace},
            "spec": {"hard": {k.replace("_", "."): v for k, v in hard.items()}}}  # fmt: skip


def phase(name: str) -> Any:
    """A test for `until`: the object is in that phase."""
    return lambda obj: obj.get("status", {}).get("phase") == name


def has_condition(kind: str, status: str = "True") -> Any:
    """A test for `until`: the object has that condition."""
    return lambda obj: any(
        c["type"] == kind and c["status"] == status for c in obj.get("status", {}).get("conditions") or []
    )

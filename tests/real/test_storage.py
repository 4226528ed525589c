"""Persistent volumes of the default StorageClass: bound when a pod comes, written by any user, gone with the claim."""

from __future__ import annotations

import json
from typing import Any

from support.kubectl import Kubectl

WAIT = "--timeout=90s"


def objects(script: str) -> str:
    """A claim that names no class, and a pod of an ordinary user that runs a script on its volume."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}},
    }
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [claim, pod("first", script)]})


def pod(name: str, script: str) -> dict[str, Any]:
    """A pod that runs a script on the volume and ends."""
    container = {
        "name": "c",
        "image": "busybox:1",
        "command": ["sh", "-ec", script],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = {
        "restartPolicy": "Never",
        "securityContext": {"runAsUser": 10001, "runAsGroup": 10001},
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def test_a_claim_is_bound_written_kept_for_the_next_pod_and_removed(kubectl: Kubectl) -> None:
    """From the claim to the end of its volume."""
    ended = "--for=jsonpath={.status.phase}=Succeeded"
    kubectl.asserted("create", "-f", "-", stdin=objects("echo kept > /data/file"))
    kubectl.asserted("wait", "pod/first", ended, WAIT)
    kubectl.asserted("wait", "pvc/data", "--for=jsonpath={.status.phase}=Bound", WAIT)
    kubectl.asserted("create", "-f", "-", stdin=json.dumps(pod("second", "cat /data/file")))
    kubectl.asserted("wait", "pod/second", ended, WAIT)
    assert kubectl.asserted("logs", "second") == "kept\n"
    volume = kubectl.asserted("get", "pvc", "data", "-o=jsonpath={.spec.volumeName}")
    kubectl.asserted("delete", "pod", "first", "second", "--wait")
    kubectl.asserted("delete", "pvc", "data", "--wait")
    kubectl.asserted("wait", f"pv/{volume}", "--for=delete", WAIT)

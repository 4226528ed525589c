"""The default StorageClass: local-path-provisioner as a process of the host, volumes as folders of the cluster.

A volume is made by a short-lived pod in `kube-system` when the first pod asks for it, and removed with its claim.
"""

from __future__ import annotations

import json
from typing import Any

from cluster import controlplane
from cluster.daemons import Daemons
from cluster.layout import Layout
from cluster.processes import Process

NAMESPACE = "kube-system"
NAME = "local-path"
PROVISIONER = "rancher.io/local-path"
CONFIG_MAP = "local-path-config"
HELPER_IMAGE = "busybox:1"
# The provisioner gives the folder in VOL_DIR. Everybody may write there: a volume serves whatever user its pod has.
SCRIPTS = {"setup": '#!/bin/sh\nmkdir -m 0777 -p "$VOL_DIR"\n', "teardown": '#!/bin/sh\nrm -rf "$VOL_DIR"\n'}


def manifest() -> list[dict[str, Any]]:
    """The class, and what the helper pods need."""
    own = {"name": NAME, "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": own, "automountServiceAccountToken": False},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": own | {"name": CONFIG_MAP}, "data": SCRIPTS},
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": NAME, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": PROVISIONER,
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
        },
    ]


def config(layout: Layout) -> dict[str, Any]:
    """The provisioner's configuration: where volumes lie on every node."""
    paths = [f"{layout.folder}/volumes"]
    return {"nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": paths}]}


def helper_pod() -> dict[str, Any]:
    """The pod that runs the scripts; the provisioner adds command, volumes and node. Its container's name is fixed."""
    spec = {"containers": [{"name": "helper-pod", "image": HELPER_IMAGE}], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME}, "spec": spec}


def start(daemons: Daemons) -> Process:
    """Make the class and start the provisioner. Raises ClusterFault if the API server refuses the objects."""
    folder = daemons.layout.folder / "storage"
    folder.mkdir()
    files = {"config.json": config(daemons.layout), "helper-pod.json": helper_pod()}  # JSON is YAML too
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    controlplane.apply(daemons, manifest(), "the default StorageClass")
    return daemons.start(
        "local-path-provisioner",
        [
            daemons.programs["local-path-provisioner"],
            "start",
            f"--kubeconfig={daemons.layout.kubeconfig}",
            f"--namespace={NAMESPACE}",
            f"--service-account-name={NAME}",
            f"--configmap-name={CONFIG_MAP}",
            f"--helper-image={HELPER_IMAGE}",
            f"--helper-pod-file={folder}/helper-pod.json",
            f"--config={folder}/config.json",
        ],
    )

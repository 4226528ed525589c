"""Fake nodes beside the real one: kwok keeps them Ready and plays their pods, so that thousands of objects can be had.

They carry a taint, so only pods that tolerate it go there. Their pods print nothing: each log is empty and can be
followed, as on a node whose containers are quiet. kwok is built only for who asks for such nodes.
"""

from __future__ import annotations

import json
from typing import Any

from cluster import builds, controlplane
from cluster.builds import Module, Say
from cluster.daemons import Daemons
from cluster.faults import ClusterFault

KWOK = Module("kwok", (("kwok", "sigs.k8s.io/kwok/cmd/kwok"),))
MARK = "kwok.x-k8s.io/node"  # annotation, label and taint of a fake node
READY_SECONDS = 120.0
PAGE = 200  # nodes in one request of kubectl


def fake_node(index: int) -> dict[str, Any]:
    """One node with room for many pods."""
    name = f"fake-{index:04}"
    room = {"cpu": "64", "memory": "256Gi", "pods": "500"}
    labels = {MARK: "fake", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/role": "agent"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {MARK: "fake"}},
        "spec": {"taints": [{"key": MARK, "value": "fake", "effect": "NoSchedule"}]},
        "status": {"allocatable": room, "capacity": room},
    }


def logs(path: str) -> dict[str, Any]:
    """What kwok shows as the log of every container: one file."""
    spec = {"logs": [{"logsFile": path, "follow": True}]}
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "ClusterLogs", "metadata": {"name": "quiet"}, "spec": spec}


def _ready(daemons: Daemons) -> int:
    """How many fake nodes are Ready."""
    condition = '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
    words = ("get", "nodes", f"--selector={MARK}=fake", f"-o=jsonpath={condition}")
    return controlplane.kubectl(daemons, *words).stdout.split().count("True")


def start(daemons: Daemons, count: int, say: Say) -> None:
    """Start kwok and make the nodes, until all are Ready. Raises ClusterFault if they do not come."""
    layout = daemons.layout
    program = builds.build(KWOK, say) / "kwok"
    quiet, config = layout.folder / "fake-nodes.log", layout.folder / "fake-nodes.yaml"
    quiet.touch()
    config.write_text(json.dumps(logs(str(quiet))), encoding="utf-8")
    process = daemons.start(
        "kwok",
        [
            str(program),
            f"--kubeconfig={layout.kubeconfig}",
            "--manage-all-nodes=false",
            f"--manage-nodes-with-annotation-selector={MARK}=fake",
            "--v=WARN",
            "--node-lease-duration-seconds=40",  # without leases the nodes turn NotReady
            f"--config={config}",
            f"--server-address={controlplane.LOOPBACK}:{layout.port(6)}",
            # What the API server asks for logs; its own certificate is good for this address.
            f"--node-ip={controlplane.LOOPBACK}",
            f"--node-port={layout.port(6)}",
            f"--tls-cert-file={layout.pki}/apiserver.crt",
            f"--tls-private-key-file={layout.pki}/apiserver.key",
        ],
    )
    for first in range(0, count, PAGE):
        items = [fake_node(index) for index in range(first, min(count, first + PAGE))]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        done = controlplane.kubectl(daemons, "create", "-f", "-", stdin=text)
        if done.returncode != 0:
            raise ClusterFault(f"the fake nodes cannot be made: {done.stderr[-1000:]}")
    say(f"waiting for {count} fake nodes")
    daemons.wait(lambda: _ready(daemons) == count, f"{count} fake nodes", READY_SECONDS, process)

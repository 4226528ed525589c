"""Fake nodes beside the real one: kwok keeps them Ready and plays their pods, so that thousands of objects can be had.

They carry a taint, so only pods that tolerate it go there. kwok is built only for who asks for such nodes.
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


def _ready(daemons: Daemons) -> int:
    """How many fake nodes are Ready."""
    condition = '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
    words = ("get", "nodes", f"--selector={MARK}=fake", f"-o=jsonpath={condition}")
    return controlplane.kubectl(daemons, *words).stdout.split().count("True")


def start(daemons: Daemons, count: int, say: Say) -> None:
    """Start kwok and make the nodes, until all are Ready. Raises ClusterFault if they do not come."""
    layout = daemons.layout
    program = builds.build(KWOK, say) / "kwok"
    process = daemons.start(
        "kwok",
        [
            str(program),
            f"--kubeconfig={layout.kubeconfig}",
            "--manage-all-nodes=false",
            f"--manage-nodes-with-annotation-selector={MARK}=fake",
            "--node-lease-duration-seconds=40",  # without leases the nodes turn NotReady
            f"--server-address=127.0.0.1:{layout.port(6)}",
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

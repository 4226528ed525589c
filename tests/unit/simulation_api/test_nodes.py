"""A node that falls silent, and one that is removed; by the clock of the test."""

from __future__ import annotations

from typing import Any

import pytest

from k8s_simulation.api.deletion import BACKGROUND
from k8s_simulation.api.objects import condition_is, micro_timestamp
from k8s_simulation.api.registry import Ref, Registry
from k8s_simulation.api.resources import LEASES, NAMESPACES, NODES, PODS, SERVICEACCOUNTS
from k8s_simulation.api.storage import Storage
from k8s_simulation.controllers.nodes import NodeController
from support.kubeobjects import pod
from unit.simulation_api.conftest import HandClock

GRACE = 40.0
LEASE, NODE, POD = Ref(LEASES, "kube-node-lease", "one"), Ref(NODES, "", "one"), Ref(PODS, "n", "p")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def registry(clock: HandClock) -> Registry:
    made = Registry(Storage(), clock)
    for name in ("n", "kube-node-lease"):
        made.create(NAMESPACES, {"metadata": {"name": name}})
    made.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "n"}})
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    made.create(NODES, {"metadata": {"name": "one"}, "status": ready})
    lease = {
        "metadata": {"name": "one", "namespace": "kube-node-lease"},
        "spec": {"renewTime": micro_timestamp(clock())},
    }
    made.create(LEASES, lease)
    made.create(PODS, pod("n", "true"))
    made.bind(POD, "one")

    def run(obj: Any) -> None:
        obj["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}

    made.modify(POD, run, "status")
    return made


def test_a_renewed_lease_is_looked_at_again_when_it_is_due(registry: Registry, clock: HandClock) -> None:
    clock.forward(10)
    assert NodeController(registry, GRACE).reconcile(("one",)) == pytest.approx(30, abs=0.01)
    assert not registry.get(NODE).obj.get("spec", {}).get("taints")


def test_a_silent_node_is_unknown_and_tainted_and_its_pods_are_not_ready(registry: Registry, clock: HandClock) -> None:
    clock.forward(41)
    wait = NodeController(registry, GRACE).reconcile(("one",))
    node = registry.get(NODE).obj
    assert condition_is(node, "Ready", "Unknown")
    assert {t["effect"] for t in node["spec"]["taints"]} == {"NoSchedule", "NoExecute"}
    assert condition_is(registry.get(POD).obj, "Ready", "False")
    assert wait == pytest.approx(300, abs=0.01)  # what the pod's default toleration leaves it


def test_pods_are_evicted_when_their_toleration_has_run_out(registry: Registry, clock: HandClock) -> None:
    controller = NodeController(registry, GRACE)
    clock.forward(41)
    controller.reconcile(("one",))
    clock.forward(301)
    controller.reconcile(("one",))
    found = registry.get(POD).obj
    assert found["metadata"]["deletionTimestamp"]
    (target,) = [c for c in found["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert target["reason"] == "DeletionByTaintManager"


def test_a_node_that_reports_again_loses_its_taints(registry: Registry, clock: HandClock) -> None:
    controller = NodeController(registry, GRACE)
    clock.forward(41)
    controller.reconcile(("one",))

    def renew(obj: Any) -> None:
        obj["spec"]["renewTime"] = micro_timestamp(clock())

    def ready(obj: Any) -> None:
        obj["status"]["conditions"] = [{"type": "Ready", "status": "True"}]

    registry.modify(LEASE, renew)
    registry.modify(NODE, ready, "status")
    controller.reconcile(("one",))
    assert not registry.get(NODE).obj["spec"].get("taints")


def test_pods_of_a_removed_node_are_removed(registry: Registry) -> None:
    registry.delete(NODE, BACKGROUND)
    NodeController(registry, GRACE).reconcile(("one",))
    assert registry.find(POD) is None

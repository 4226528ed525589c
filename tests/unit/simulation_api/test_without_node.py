"""API server and controllers alone: what they do until somebody says that a pod runs, and from then on.

The node here is a Node object and status patches of the test, as a kubelet would send them.
"""

from __future__ import annotations

from typing import Any

import pytest

from support.kubeapi import Kube, Object, path
from support.kubeobjects import deployment, has_condition, job, phase, pod

NODE = "nobody"
READY = [{"type": "Ready", "status": "True"}]


async def status(kube: Kube, plural: str, namespace: str, name: str, **fields: Any) -> Object:
    """Patch the status of an object."""
    reply = await kube.request(
        "PATCH",
        path(plural, namespace, name, "status"),
        {"status": fields},
        content_type="application/merge-patch+json",
    )
    assert reply.status == 200, reply.body
    return dict(reply.body)


async def running(kube: Kube, namespace: str, one: Object, address: str = "10.0.0.1") -> None:
    """Say that a pod runs and is ready."""
    started = [{"name": "main", "ready": True, "started": True, "restartCount": 0, "image": "x", "imageID": "",
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]  # fmt: skip
    await status(kube, "pods", namespace, one["metadata"]["name"], phase="Running", podIP=address,
                 podIPs=[{"ip": address}], conditions=READY, containerStatuses=started)  # fmt: skip


@pytest.fixture
async def node(kube: Kube) -> str:
    """A Node that calls itself Ready and does nothing."""
    await kube.created({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
    room = {"cpu": "2", "memory": "2Gi", "pods": "20", "ephemeral-storage": "2Gi"}
    await status(kube, "nodes", "", NODE, capacity=room, allocatable=room, conditions=READY)
    return NODE


async def test_without_any_node_a_pod_is_unschedulable(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "true"))
    found = await kube.until("pods", namespace, "p", has_condition("PodScheduled", "False"))
    assert found["status"]["phase"] == "Pending"
    assert not found["spec"].get("nodeName")


async def test_a_pod_is_bound_and_stays_pending_until_its_status_is_written(
    kube: Kube, namespace: str, node: str
) -> None:
    await kube.created(pod(namespace, "true"))
    found = await kube.until("pods", namespace, "p", has_condition("PodScheduled"))
    assert (found["spec"]["nodeName"], found["status"]["phase"]) == (node, "Pending")
    assert not found["status"].get("containerStatuses")
    await running(kube, namespace, found)
    await kube.until("pods", namespace, "p", phase("Running"))


async def test_a_job_is_complete_when_its_pod_is_said_to_have_succeeded(kube: Kube, namespace: str, node: str) -> None:
    assert node
    await kube.created(job(namespace, "true"))
    await kube.until("jobs", namespace, "j", lambda o: o["status"].get("active") == 1)
    [one] = await kube.items("pods", namespace)
    await status(kube, "pods", namespace, one["metadata"]["name"], phase="Succeeded")
    found = await kube.until("jobs", namespace, "j", has_condition("Complete"))
    assert found["status"]["succeeded"] == 1


async def test_a_deployment_and_its_service_follow_the_statuses_of_pods(kube: Kube, namespace: str, node: str) -> None:
    assert node
    spec = {"selector": {"app": "d"}, "ports": [{"port": 80}]}
    await kube.created({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": namespace},
                        "spec": spec})  # fmt: skip
    await kube.created(deployment(namespace, "true", replicas=2))
    await kube.until("deployments", namespace, "d", lambda o: o["status"].get("replicas") == 2)
    first, second = await kube.items("pods", namespace)
    await running(kube, namespace, first)
    await kube.until("deployments", namespace, "d", lambda o: o["status"].get("availableReplicas") == 1)
    await running(kube, namespace, second, "10.0.0.2")
    await kube.until("deployments", namespace, "d", has_condition("Available"))
    found = await kube.until(
        "endpoints", namespace, "s", lambda o: len((o.get("subsets") or [{}])[0].get("addresses") or []) == 2
    )
    assert [a["ip"] for a in found["subsets"][0]["addresses"]] == ["10.0.0.1", "10.0.0.2"]


async def test_a_deleted_pod_stays_until_its_node_confirms(kube: Kube, namespace: str, node: str) -> None:
    assert node
    made = await kube.created(pod(namespace, "true"))
    await kube.until("pods", namespace, "p", has_condition("PodScheduled"))
    await running(kube, namespace, made)
    await kube.delete("pods", namespace, "p", {"gracePeriodSeconds": 5})
    assert (await kube.get("pods", namespace, "p")).body["metadata"]["deletionTimestamp"]
    await kube.delete("pods", namespace, "p", {"gracePeriodSeconds": 0})  # what a kubelet does at the end
    assert (await kube.get("pods", namespace, "p")).status == 404


async def test_a_log_that_no_node_can_give_is_an_error_of_the_server(kube: Kube, namespace: str, node: str) -> None:
    assert node
    await kube.created(pod(namespace, "true"))
    await kube.until("pods", namespace, "p", has_condition("PodScheduled"))
    reply = await kube.log(namespace, "p")
    assert (reply.status, reply.reason) == (500, "InternalError")
    assert NODE in reply.message

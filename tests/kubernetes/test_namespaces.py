"""Namespaces: what a fresh one lacks at first, and how one ends."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from support.kubeapi import PATIENCE, Kube
from support.kubeobjects import configmap, has_condition, job, phase, pod, quota


async def test_the_uid_of_kube_system_identifies_the_cluster(kube: Kube) -> None:
    found = (await kube.get("namespaces", "", "kube-system")).body
    assert found["metadata"]["uid"]


async def test_a_new_namespace_is_active_and_labelled(kube: Kube, namespace: str) -> None:
    found = (await kube.get("namespaces", "", namespace)).body
    assert found["status"]["phase"] == "Active"
    assert found["metadata"]["labels"]["kubernetes.io/metadata.name"] == namespace
    assert found["spec"]["finalizers"] == ["kubernetes"]


async def test_a_pod_before_the_service_account_is_forbidden(kube: Kube) -> None:
    name = f"suite-{uuid4().hex[:10]}"
    await kube.created({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        reply = await kube.create(pod(name, "true", serviceAccountName="not-there"))
        assert (reply.status, reply.reason) == (403, "Forbidden")
        assert f"error looking up service account {name}/not-there" in reply.message
        await kube.until("serviceaccounts", name, "default", lambda _: True)
        assert (await kube.create(pod(name, "true"))).status == 201
    finally:
        await kube.delete("namespaces", "", name)


async def test_the_root_certificate_arrives_in_every_namespace(kube: Kube, namespace: str) -> None:
    found = await kube.until("configmaps", namespace, "kube-root-ca.crt", lambda _: True)
    assert "BEGIN CERTIFICATE" in found["data"]["ca.crt"]


async def test_a_create_in_a_namespace_that_is_not_there_is_not_found(kube: Kube) -> None:
    reply = await kube.create(configmap("no-such-namespace"))
    assert (reply.status, reply.message) == (404, 'namespaces "no-such-namespace" not found')


async def test_a_terminating_namespace_accepts_nothing_new_and_says_what_is_left(kube: Kube, namespace: str) -> None:
    held = configmap(namespace)
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await kube.created(held)
    reply = await kube.delete("namespaces", "", namespace)
    assert reply.body["status"]["phase"] == "Terminating"
    reply = await kube.create(configmap(namespace, "other"))
    assert (reply.status, reply.reason) == (403, "Forbidden")
    assert "because it is being terminated" in reply.message
    assert reply.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    found = await kube.until("namespaces", "", namespace, has_condition("NamespaceFinalizersRemaining"))
    conditions = {c["type"]: c for c in found["status"]["conditions"]}
    assert len(conditions) == 5
    assert "example.com/hold in 1 resource instances" in conditions["NamespaceFinalizersRemaining"]["message"]
    await kube.patch("configmaps", namespace, "c", {"metadata": {"finalizers": None}})
    await kube.until_gone("namespaces", "", namespace)


async def test_deleting_a_namespace_deletes_running_pods(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "sleep", "600"))
    await kube.until("pods", namespace, "p", phase("Running"))
    await kube.delete("namespaces", "", namespace)
    await kube.until_gone("namespaces", "", namespace)
    assert (await kube.get("pods", namespace, "p")).status == 404


async def test_network_policies_outlive_the_pods_of_a_namespace(kube: Kube, namespace: str) -> None:
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
              "metadata": {"name": "deny", "namespace": namespace}, "spec": {"podSelector": {}}}  # fmt: skip
    version = (await kube.created(policy))["metadata"]["resourceVersion"]
    await kube.created(job(namespace, "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"))
    await kube.until("jobs", namespace, "j", lambda o: o["status"].get("ready") == 1)
    async with (
        kube.watch("networkpolicies", namespace, resourceVersion=version) as policies,
        kube.watch("pods", namespace, resourceVersion=version) as pods,
    ):
        await kube.delete("namespaces", "", namespace)
        while (last := await pods.next())["type"] != "DELETED":
            pass
        event = await policies.next()
    assert event["type"] == "DELETED"
    gone = [int(e["object"]["metadata"]["resourceVersion"]) for e in (last, event)]
    assert gone[0] < gone[1]
    await kube.until_gone("namespaces", "", namespace)


async def test_a_name_can_be_used_again_with_another_uid(kube: Kube, namespace: str) -> None:
    before = (await kube.get("namespaces", "", namespace)).body["metadata"]["uid"]
    await kube.delete("namespaces", "", namespace)
    await kube.until_gone("namespaces", "", namespace)
    made = await kube.created({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    assert made["metadata"]["uid"] != before
    reply = await kube.delete("namespaces", "", namespace, {"preconditions": {"uid": before}})
    assert reply.status == 409


async def test_a_quota_gets_its_status_after_its_creation(kube: Kube, namespace: str) -> None:
    made = await kube.created(quota(namespace, pods="2"))
    assert not made["status"].get("hard")
    found = await kube.until("resourcequotas", namespace, "q", lambda o: o["status"].get("hard"))
    assert found["status"] == {"hard": {"pods": "2"}, "used": {"pods": "0"}}


async def test_a_pod_in_a_namespace_just_made_is_accepted_or_refused_for_one_reason(kube: Kube) -> None:
    name = f"suite-{uuid4().hex[:10]}"
    await kube.created({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        async with asyncio.timeout(PATIENCE):
            while (reply := await kube.create(pod(name, "true"))).status != 201:
                assert (reply.status, reply.reason) == (403, "Forbidden")
                assert f'error looking up service account {name}/default: serviceaccount "default" not found' in (
                    reply.message
                )
    finally:
        await kube.delete("namespaces", "", name)


async def test_a_pod_under_a_quota_just_made_is_accepted_or_refused_for_one_reason(kube: Kube, namespace: str) -> None:
    await kube.created(quota(namespace, pods="5"))
    async with asyncio.timeout(PATIENCE):
        while (reply := await kube.create(pod(namespace, "true"))).status != 201:
            assert (reply.status, reply.reason) == (403, "Forbidden")
            assert "status unknown for quota: q, resources: pods" in reply.message

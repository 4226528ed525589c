"""Scripted faults: read, refused, and acted on by server and controllers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from k8s_simulation import faults
from k8s_simulation.controlplane import ControlPlane
from support.kubeapi import MERGE_PATCH, Kube, path
from support.kubeobjects import configmap, has_condition, job, pod, quota

SCRIPT = "/simulation/faults"


def test_a_script_survives_writing_and_reading() -> None:
    script: list[faults.Fault] = [
        faults.ImagePullError("x:*"),
        faults.DropReply("create", "jobs", nth=3),
        faults.QuotaStatusDelay(1.5),
    ]
    assert faults.parse(json.loads(json.dumps(faults.render(script)))) == script


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"kind": "Nope"}, "faults[0].kind: one of"),
        ({"kind": "ImagePullError"}, "needs image"),
        ({"kind": "Respond", "status": "500"}, "faults[0].status: a value of type int"),
        ({"kind": "Compact", "x": 1}, "faults[0].x: Compact has resource"),
    ],
)
def test_a_script_that_is_wrong_says_where(item: Any, words: str) -> None:
    with pytest.raises(faults.BadFault) as caught:
        faults.parse([item])
    assert words in str(caught.value)


def test_a_script_can_be_a_yaml_file(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text("faults:\n- kind: CutLogs\n  after_bytes: 100\n")
    assert faults.load_file(file) == [faults.CutLogs(100)]


async def test_the_script_is_read_replaced_added_to_and_cleared(kube: Kube) -> None:
    reply = await kube.request("PUT", SCRIPT, [{"kind": "CutLogs", "after_bytes": 1}])
    assert reply.status == 200
    await kube.request("POST", SCRIPT, [{"kind": "Slow", "seconds": 0.0}])
    found = (await kube.request("GET", SCRIPT)).body
    assert [f["kind"] for f in found["faults"]] == ["CutLogs", "Slow"]
    assert (await kube.request("DELETE", SCRIPT)).body["faults"] == []
    assert (await kube.request("POST", SCRIPT, [{"kind": "Nope"}])).status == 400


async def test_a_reader_is_held_until_the_script_changes(kube: Kube) -> None:
    version = (await kube.request("GET", SCRIPT)).body["version"]
    held = asyncio.create_task(kube.request("GET", SCRIPT, version=version, wait=30))
    await kube.request("POST", SCRIPT, [{"kind": "CutLogs", "after_bytes": 1}])
    assert (await asyncio.wait_for(held, 5)).body["version"] == version + 1


async def test_a_dropped_reply_leaves_the_write_done(kube: Kube, namespace: str) -> None:
    await kube.request("PUT", SCRIPT, [{"kind": "DropReply", "verb": "create", "resource": "configmaps", "nth": 2}])
    assert (await kube.create(configmap(namespace, "a"))).status == 201
    with pytest.raises(aiohttp.ClientConnectionError):
        await kube.create(configmap(namespace, "b"))
    assert (await kube.get("configmaps", namespace, "b")).status == 200
    assert (await kube.create(configmap(namespace, "c"))).status == 201


async def test_a_scripted_status_is_answered_so_often_and_nothing_done(kube: Kube, namespace: str) -> None:
    fault = {"kind": "Respond", "status": 503, "verb": "create", "resource": "configmaps", "times": 2, "retry_after": 1}
    await kube.request("PUT", SCRIPT, [fault])
    replies = [await kube.create(configmap(namespace)) for _ in range(3)]
    assert [r.status for r in replies] == [503, 503, 201]
    assert replies[0].headers["Retry-After"] == "1"


async def test_open_watches_can_be_cut_and_told_that_their_version_is_gone(kube: Kube, namespace: str) -> None:
    version = (await kube.request("GET", path("configmaps", namespace))).body["metadata"]["resourceVersion"]
    async with kube.watch("configmaps", namespace, resourceVersion=version) as watch:
        await kube.request("POST", SCRIPT, [{"kind": "CutWatches", "resource": "configmaps", "expired": True}])
        event = await watch.next()
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        with pytest.raises(EOFError):
            await watch.next()


async def test_a_continue_token_from_before_a_compaction_is_expired(kube: Kube, namespace: str) -> None:
    for name in ("a", "b"):
        await kube.created(configmap(namespace, name))
    token = (await kube.request("GET", path("configmaps", namespace), limit=1)).body["metadata"]["continue"]
    await kube.request("POST", SCRIPT, [{"kind": "Compact"}])
    reply = await kube.request("GET", path("configmaps", namespace), limit=1, **{"continue": token})
    assert (reply.status, reply.reason) == (410, "Expired")


async def test_a_silent_watch_stays_open_and_says_nothing(kube: Kube, namespace: str) -> None:
    await kube.request("PUT", SCRIPT, [{"kind": "SilentWatches", "resource": "configmaps"}])
    async with kube.watch("configmaps", namespace, resourceVersion=1_0) as watch:
        await kube.created(configmap(namespace))
        with pytest.raises(TimeoutError):
            await watch.next(patience=0.2)


async def test_until_a_quota_has_a_status_pods_are_refused(plane: ControlPlane, kube: Kube, namespace: str) -> None:
    plane.faults.add([faults.QuotaStatusDelay(3600)])
    await kube.created(quota(namespace, pods="2"))
    reply = await kube.create(pod(namespace, "true"))
    assert (reply.status, reply.message) == (
        403, 'pods "p" is forbidden: status unknown for quota: q, resources: pods'
    )  # fmt: skip


async def test_without_its_service_account_a_namespace_takes_no_pods(plane: ControlPlane, kube: Kube) -> None:
    plane.faults.add([faults.ServiceAccountDelay(3600)])
    await kube.created({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "late"}})
    reply = await kube.create(pod("late", "true"))
    assert 'error looking up service account late/default: serviceaccount "default" not found' in reply.message


async def test_a_held_finalizer_keeps_a_job_from_ending(kube: Kube, namespace: str) -> None:
    await kube.request("PUT", SCRIPT, [{"kind": "StuckFinalizer"}])
    await kube.created(job(namespace, "true"))
    await kube.until("jobs", namespace, "j", lambda o: o["status"].get("active") == 1)
    [one] = await kube.items("pods", namespace)
    address = path("pods", namespace, one["metadata"]["name"], "status")
    await kube.request("PATCH", address, {"status": {"phase": "Succeeded"}}, content_type=MERGE_PATCH)
    found = await kube.until("jobs", namespace, "j", has_condition("SuccessCriteriaMet"))
    assert found["status"]["uncountedTerminatedPods"] == {"succeeded": [one["metadata"]["uid"]]}
    assert "succeeded" not in found["status"]
    await kube.request("DELETE", SCRIPT)
    found = await kube.until("jobs", namespace, "j", has_condition("Complete"))
    assert found["status"]["succeeded"] == 1


async def test_a_stuck_namespace_says_why_and_goes_when_the_fault_does(kube: Kube, namespace: str) -> None:
    fault = {"kind": "StuckNamespace", "namespace": namespace, "condition": "NamespaceDeletionDiscoveryFailure",
             "message": "Discovery failed for some groups"}  # fmt: skip
    await kube.request("PUT", SCRIPT, [fault])
    await kube.delete("namespaces", "", namespace)
    found = await kube.until("namespaces", "", namespace, has_condition("NamespaceDeletionDiscoveryFailure"))
    assert "Discovery failed" in str(found["status"]["conditions"])
    await kube.request("DELETE", SCRIPT)
    await kube.until_gone("namespaces", "", namespace)

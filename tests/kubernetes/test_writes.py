"""Writing objects: identity, conflicts, preconditions, patches, dry run."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from support.kubeapi import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Kube, path
from support.kubeobjects import configmap, deployment, job, pod


async def test_a_create_gives_uid_version_and_time(kube: Kube, namespace: str) -> None:
    made = await kube.created(configmap(namespace))
    assert {"uid", "resourceVersion", "creationTimestamp"} <= set(made["metadata"])


async def test_a_second_create_of_the_same_name_is_already_exists(kube: Kube, namespace: str) -> None:
    await kube.created(configmap(namespace))
    reply = await kube.create(configmap(namespace))
    assert (reply.status, reply.reason, reply.message) == (409, "AlreadyExists", 'configmaps "c" already exists')


async def test_a_get_of_what_is_not_there_names_it(kube: Kube, namespace: str) -> None:
    reply = await kube.get("deployments", namespace, "x")
    assert (reply.status, reply.reason) == (404, "NotFound")
    assert reply.message == 'deployments.apps "x" not found'


async def test_generate_name_adds_five_characters(kube: Kube, namespace: str) -> None:
    obj = configmap(namespace)
    obj["metadata"] = {"generateName": "log-", "namespace": namespace}
    names = {(await kube.created(obj))["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(n.startswith("log-") and len(n) == 9 for n in names)


async def test_an_update_with_an_old_version_is_a_conflict(kube: Kube, namespace: str) -> None:
    made = await kube.created(configmap(namespace, a="1"))
    await kube.patch("configmaps", namespace, "c", {"data": {"a": "2"}})
    reply = await kube.request("PUT", path("configmaps", namespace, "c"), made)
    assert (reply.status, reply.reason) == (409, "Conflict")
    assert "the object has been modified; please apply your changes to the latest version" in reply.message


async def test_a_write_that_changes_nothing_keeps_the_version(kube: Kube, namespace: str) -> None:
    made = await kube.created(configmap(namespace, a="1"))
    reply = await kube.patch("configmaps", namespace, "c", {"data": {"a": "1"}})
    assert reply.body["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_a_delete_with_another_uid_is_refused(kube: Kube, namespace: str) -> None:
    await kube.created(configmap(namespace))
    reply = await kube.delete("configmaps", namespace, "c", {"preconditions": {"uid": "another"}})
    assert reply.status == 409
    assert "the UID in the precondition (another) does not match the UID in record" in reply.message
    assert (await kube.get("configmaps", namespace, "c")).status == 200


async def test_a_delete_with_its_uid_goes_through(kube: Kube, namespace: str) -> None:
    made = await kube.created(configmap(namespace))
    reply = await kube.delete("configmaps", namespace, "c", {"preconditions": {"uid": made["metadata"]["uid"]}})
    assert (reply.status, reply.body["status"]) == (200, "Success")
    assert (await kube.get("configmaps", namespace, "c")).status == 404


async def test_a_finalizer_keeps_an_object_until_it_is_removed(kube: Kube, namespace: str) -> None:
    obj = configmap(namespace)
    obj["metadata"]["finalizers"] = ["example.com/hold"]
    await kube.created(obj)
    deleted = await kube.delete("configmaps", namespace, "c")
    assert deleted.body["metadata"]["deletionTimestamp"]
    await kube.patch("configmaps", namespace, "c", {"metadata": {"finalizers": None}})
    assert (await kube.get("configmaps", namespace, "c")).status == 404


async def test_dry_run_answers_the_object_and_stores_nothing(kube: Kube, namespace: str) -> None:
    reply = await kube.create(deployment(namespace, "true"), dryRun="All")
    assert reply.status == 201
    assert reply.body["spec"]["strategy"]["type"] == "RollingUpdate"
    assert (await kube.get("deployments", namespace, "d")).status == 404


async def test_dry_run_refuses_what_a_create_would_refuse(kube: Kube, namespace: str) -> None:
    wrong = deployment(namespace, "true")
    wrong["spec"]["selector"]["matchLabels"] = {"other": "x"}
    reply = await kube.create(wrong, dryRun="All")
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert "`selector` does not match template `labels`" in reply.message


PATCHES: list[tuple[str, Any]] = [
    (MERGE_PATCH, {"data": {"a": None, "b": "2"}}),
    (STRATEGIC_PATCH, {"data": {"a": None, "b": "2"}}),
    (JSON_PATCH, [{"op": "remove", "path": "/data/a"}, {"op": "add", "path": "/data/b", "value": "2"}]),
]


@pytest.mark.parametrize(("kind", "patch"), PATCHES, ids=["merge", "strategic", "json"])
async def test_each_patch_type_removes_and_adds(kube: Kube, namespace: str, kind: str, patch: Any) -> None:
    await kube.created(configmap(namespace, a="1", z="9"))
    reply = await kube.patch("configmaps", namespace, "c", patch, kind)
    assert (reply.status, reply.body["data"]) == (200, {"b": "2", "z": "9"})


async def test_server_side_apply_creates_merges_and_drops_its_own_fields(kube: Kube, namespace: str) -> None:
    first = configmap(namespace, a="1", b="1")
    reply = await kube.patch("configmaps", namespace, "c", first, APPLY_PATCH, fieldManager="one")
    assert reply.status == 201
    second = configmap(namespace, a="1")
    reply = await kube.patch("configmaps", namespace, "c", second, APPLY_PATCH, fieldManager="one")
    assert (reply.status, reply.body["data"]) == (200, {"a": "1"})


async def test_server_side_apply_reports_a_conflict_and_obeys_force(kube: Kube, namespace: str) -> None:
    await kube.patch("configmaps", namespace, "c", configmap(namespace, a="1"), APPLY_PATCH, fieldManager="one")
    other = configmap(namespace, a="2")
    reply = await kube.patch("configmaps", namespace, "c", other, APPLY_PATCH, fieldManager="two")
    assert (reply.status, reply.reason) == (409, "Conflict")
    assert 'conflict with "one"' in reply.message
    reply = await kube.patch("configmaps", namespace, "c", other, APPLY_PATCH, fieldManager="two", force="true")
    assert reply.body["data"] == {"a": "2"}


async def test_a_strategic_patch_merges_containers_by_name(kube: Kube, namespace: str) -> None:
    await kube.created(deployment(namespace, "true"))
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "env": [{"name": "A", "value": "1"}]}]}}}}
    reply = await kube.patch("deployments", namespace, "d", patch, STRATEGIC_PATCH, dryRun="All")
    found = reply.body["spec"]["template"]["spec"]["containers"]
    assert len(found) == 1
    assert found[0]["env"] == [{"name": "A", "value": "1"}]
    assert found[0]["command"] == ["true"]


async def test_a_spec_change_counts_the_generation(kube: Kube, namespace: str) -> None:
    await kube.created(deployment(namespace, "true", replicas=0))
    reply = await kube.patch("deployments", namespace, "d", {"metadata": {"labels": {"a": "b"}}})
    assert reply.body["metadata"]["generation"] == 1
    reply = await kube.patch("deployments", namespace, "d", {"spec": {"minReadySeconds": 1}})
    assert reply.body["metadata"]["generation"] == 2


async def test_the_template_of_a_job_is_immutable(kube: Kube, namespace: str) -> None:
    await kube.created(job(namespace, "true", suspend=True))
    reply = await kube.patch("jobs", namespace, "j", {"spec": {"template": {"spec": {"hostname": "x"}}}})
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert "field is immutable" in reply.message


async def test_the_address_of_a_service_is_immutable(kube: Kube, namespace: str) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": namespace},
               "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}  # fmt: skip
    made = await kube.created(service)
    assert made["spec"]["clusterIP"] not in {"", "None"}
    assert made["spec"]["ports"][0]["targetPort"] == 80
    reply = await kube.patch("services", namespace, "s", {"spec": {"clusterIP": "None", "clusterIPs": ["None"]}})
    assert (reply.status, reply.reason) == (422, "Invalid")


async def test_all_problems_of_an_object_come_at_once(kube: Kube, namespace: str) -> None:
    wrong = pod(namespace, name="Bad_Name")
    wrong["spec"]["containers"][0] |= {"name": "", "image": ""}
    reply = await kube.create(wrong)
    fields = {c["field"] for c in reply.body["details"]["causes"]}
    assert reply.status == 422
    assert {"metadata.name", "spec.containers[0].name", "spec.containers[0].image"} <= fields


async def test_a_number_where_a_string_belongs_is_a_bad_request(kube: Kube, namespace: str) -> None:
    obj = configmap(namespace)
    obj["data"]["n"] = 1
    reply = await kube.create(obj)
    assert (reply.status, reply.reason) == (400, "BadRequest")
    assert "cannot unmarshal number" in reply.message


async def test_string_data_of_a_secret_is_stored_as_base64(kube: Kube, namespace: str) -> None:
    made = await kube.created({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace},
                               "stringData": {"k": "v"}})  # fmt: skip
    assert (made["data"], made["type"], "stringData" in made) == ({"k": "dg=="}, "Opaque", False)


async def test_a_pod_spec_may_not_change(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "sleep", "60", nodeSelector={"no": "such-node"}))
    reply = await kube.patch("pods", namespace, "p", {"spec": {"restartPolicy": "Always"}})
    assert reply.status == 422
    assert "pod updates may not change fields other than" in reply.message


async def test_a_request_without_a_token_is_unauthorized(kube: Kube) -> None:
    # A session of its own: with the kubeconfig's client certificate the request would not be anonymous.
    url, headers = f"{kube.url}/api/v1/namespaces", {"Authorization": "Bearer wrong"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers, ssl=False) as answer:
        body = await answer.json()
    assert (answer.status, body["reason"]) == (401, "Unauthorized")


async def test_an_unknown_kind_is_not_found(kube: Kube) -> None:
    assert (await kube.request("GET", "/apis/example.com/v1/widgets")).status == 404

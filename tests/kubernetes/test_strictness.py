"""What the API says to requests that are not quite right: unknown fields, options, forms, selectors, other commands."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from support.kubeapi import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Kube, Object, Reply, path
from support.kubeobjects import configmap, deployment, phase, pod


def misspelt(namespace: str) -> Object:
    """A Deployment with two fields that nobody knows."""
    made = deployment(namespace, "true", replicas=0)
    made["spec"]["template"]["spec"]["containers"][0]["imgae"] = "x"
    made["spec"]["replcas"] = 1
    return made


GO = "json: cannot unmarshal "
QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
UNPROCESSABLE = "the server rejected our request due to an error in our request"
UNKNOWN = ['unknown field "spec.replcas"', 'unknown field "spec.template.spec.containers[0].imgae"']


async def warnings_of(kube: Kube, obj: Object, **params: str) -> tuple[int, list[str]]:
    """Status and warnings of a create."""
    address = kube.url + path("deployments", obj["metadata"]["namespace"])
    async with kube.session.post(address, json=obj, params=params) as answer:
        texts = [
            w.removeprefix('299 - "').removesuffix('"').replace('\\"', '"')
            for w in answer.headers.getall("Warning", [])
        ]
        return answer.status, sorted(texts)


async def test_unknown_fields_are_warned_of_and_not_stored(kube: Kube, namespace: str) -> None:
    assert await warnings_of(kube, misspelt(namespace)) == (201, UNKNOWN)
    found = (await kube.get("deployments", namespace, "d")).body
    assert "replcas" not in found["spec"]
    assert "imgae" not in found["spec"]["template"]["spec"]["containers"][0]


async def test_unknown_fields_are_passed_over_in_silence_if_asked_for(kube: Kube, namespace: str) -> None:
    assert await warnings_of(kube, misspelt(namespace), fieldValidation="Ignore") == (201, [])


async def test_unknown_fields_are_refused_by_strict_validation(kube: Kube, namespace: str) -> None:
    reply = await kube.create(misspelt(namespace), fieldValidation="Strict")
    assert (reply.status, reply.reason) == (400, "BadRequest")
    words = 'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
    assert reply.message.startswith(words)
    assert sorted(reply.message.removeprefix(words).split(", ")) == UNKNOWN


async def test_a_field_that_comes_twice_is_refused_by_strict_validation(kube: Kube, namespace: str) -> None:
    body = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"1","a":"2"}}'
    for mode, status in (("Strict", 400), ("Warn", 201)):
        headers = {"Content-Type": "application/json"}
        address = kube.url + path("configmaps", namespace)
        async with kube.session.post(address, data=body, headers=headers, params={"fieldValidation": mode}) as answer:
            found = await answer.json()
            assert answer.status == status
        if mode == "Strict":
            assert found["message"].endswith('strict decoding error: duplicate field "data.a"')
        else:
            assert (found["data"], answer.headers["Warning"]) == ({"a": "2"}, '299 - "duplicate field \\"data.a\\""')


@pytest.mark.parametrize("kind", [MERGE_PATCH, STRATEGIC_PATCH], ids=["merge", "strategic"])
async def test_an_unknown_field_in_a_patch_is_invalid_when_strict(kube: Kube, namespace: str, kind: str) -> None:
    await kube.created(deployment(namespace, "true", replicas=0))
    patch = {"spec": {"foo": 1}}
    reply = await kube.patch("deployments", namespace, "d", patch, kind, fieldValidation="Strict")
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert reply.message.endswith('strict decoding error: unknown field "spec.foo"')
    assert reply.body["details"]["causes"][0]["field"] == "patch"
    reply = await kube.patch("deployments", namespace, "d", patch, kind)
    assert (reply.status, reply.headers["Warning"]) == (200, '299 - "unknown field \\"spec.foo\\""')


async def test_server_side_apply_refuses_unknown_fields_always(kube: Kube, namespace: str) -> None:
    obj = configmap(namespace, a="1") | {"foo": 1}
    reply = await kube.patch("configmaps", namespace, "c", obj, APPLY_PATCH, fieldManager="m", fieldValidation="Ignore")
    assert reply.status == 500
    assert reply.message == (
        f"failed to create typed patch object ({namespace}/c; /v1, Kind=ConfigMap): .foo: field not declared in schema"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"containers": {}}, GO + "object into Go struct field PodSpec.spec.containers of type []v1.Container"),
        ({"hostNetwork": "yes"}, GO + "string into Go struct field PodSpec.spec.hostNetwork of type bool"),
        ({"priority": 1.5}, GO + "number 1.5 into Go struct field PodSpec.spec.priority of type int32"),
        ({"overhead": {"cpu": "much"}}, QUANTITY),
    ],
    ids=["list", "boolean", "fraction", "quantity"],
)  # fmt: skip
async def test_a_wrong_type_is_named_with_its_field(kube: Kube, namespace: str, change: Any, words: str) -> None:
    reply = await kube.create(pod(namespace, "true", **change))
    assert (reply.status, reply.reason) == (400, "BadRequest")
    assert reply.message == f'Pod in version "v1" cannot be handled as a Pod: {words}'


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        ([1], MERGE_PATCH, 400, f"error decoding patch: {GO}array into Go value of type map[string]interface {{}}"),
        ({"a": 1}, JSON_PATCH, 400, f"error decoding patch: {GO}object into Go value of type []handlers.jsonPatchOp"),
        ([{"op": "turn", "path": "/data/a"}], JSON_PATCH, 422, UNPROCESSABLE),
        ([{"op": "remove", "path": "/data/none"}], JSON_PATCH, 422, UNPROCESSABLE),
        ({}, "application/json", 415, "415: Unsupported Media Type"),
    ],
    ids=["merge", "json", "operation", "pointer", "type"],
)  # fmt: skip
async def test_a_bad_patch_is_refused(
    kube: Kube, namespace: str, body: Any, kind: str, status: int, words: str
) -> None:  # fmt: skip
    await kube.created(configmap(namespace, a="1"))
    reply = await kube.patch("configmaps", namespace, "c", body, kind)
    assert (reply.status, reply.message) == (status, words)


async def test_a_json_patch_may_replace_what_is_not_there(kube: Kube, namespace: str) -> None:
    await kube.created(configmap(namespace, a="1"))
    patch = [{"op": "replace", "path": "/data/b", "value": "2"}]
    assert (await kube.patch("configmaps", namespace, "c", patch, JSON_PATCH)).body["data"] == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"resourceVersionMatch": "Exact"}, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, '"exact" is forbidden for resourceVersion "0"'),
        ({"resourceVersionMatch": "New", "resourceVersion": "1"}, 'supported values: "Exact", "NotOlderThan", ""'),
        ({"sendInitialEvents": "true"}, "sendInitialEvents is forbidden for list"),
        ({"watch": "1", "sendInitialEvents": "true"}, "requires setting resourceVersionMatch to NotOlderThan"),
        ({"watch": "1", "resourceVersionMatch": "NotOlderThan"}, "is forbidden for watch unless sendInitialEvents"),
    ],
)
async def test_list_options_that_do_not_go_together_are_invalid(
    kube: Kube, namespace: str, query: dict[str, str], words: str
) -> None:  # fmt: skip
    reply = await kube.request("GET", path("configmaps", namespace), **query)
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert reply.body["details"]["kind"] == "ListOptions"
    assert words in reply.message


async def test_a_version_that_is_no_number_is_a_bad_request(kube: Kube, namespace: str) -> None:
    reply = await kube.request("GET", path("configmaps", namespace), resourceVersion="new")
    assert (reply.status, reply.reason) == (400, "BadRequest")
    assert 'strconv.ParseUint: parsing "new": invalid syntax' in reply.message


async def test_a_list_at_exactly_a_version_is_that_of_then(kube: Kube, namespace: str) -> None:
    await kube.created(configmap(namespace))
    then = (await kube.request("GET", path("configmaps", namespace))).body["metadata"]["resourceVersion"]
    query = {"resourceVersion": then, "resourceVersionMatch": "Exact"}
    found = (await kube.request("GET", path("configmaps", namespace), **query)).body
    assert found["metadata"]["resourceVersion"] == then
    query["resourceVersionMatch"] = "NotOlderThan"
    found = (await kube.request("GET", path("configmaps", namespace), **query)).body
    assert int(found["metadata"]["resourceVersion"]) >= int(then)


async def test_a_watch_from_the_future_is_silent(kube: Kube, namespace: str) -> None:
    query = {"resourceVersion": "99999999999", "timeoutSeconds": "2"}
    async with kube.watch("configmaps", namespace, **query) as watch:
        await kube.created(configmap(namespace))
        assert watch.answer.status == 200
        assert await asyncio.wait_for(watch.answer.read(), 60) == b""


async def test_a_bookmark_comes_shortly_before_the_end_of_a_watch(kube: Kube, namespace: str) -> None:
    made = await kube.created(configmap(namespace))
    query = {
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "5",
        "resourceVersion": made["metadata"]["resourceVersion"],
    }
    async with kube.watch("configmaps", namespace, fieldSelector="metadata.name=c", **query) as watch:
        lines = (await asyncio.wait_for(watch.answer.read(), 60)).splitlines()
    events = [json.loads(line) for line in lines]
    assert events[-1]["type"] == "BOOKMARK"
    assert (events[-1]["object"]["kind"], set(events[-1]["object"])) == (
        "ConfigMap",
        {"kind", "apiVersion", "metadata"},
    )
    assert int(events[-1]["object"]["metadata"]["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])


async def test_a_client_may_ask_for_the_metadata_only(kube: Kube, namespace: str) -> None:
    await kube.created(configmap(namespace, a="1"))
    accept = "application/json;as=PartialObjectMetadata{};v=v1;g=meta.k8s.io"
    async with kube.session.get(
        kube.url + path("configmaps", namespace, "c"), headers={"Accept": accept.format("")}
    ) as a:
        one = await a.json()
    async with kube.session.get(
        kube.url + path("configmaps", namespace), headers={"Accept": accept.format("List")}
    ) as a:
        many = await a.json()
    assert (one["kind"], one["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
    assert set(one) == {"kind", "apiVersion", "metadata"}
    assert many["kind"] == "PartialObjectMetadataList"
    assert {o["metadata"]["name"] for o in many["items"]} >= {"c"}


async def test_a_form_that_nobody_makes_is_not_acceptable(kube: Kube, namespace: str) -> None:
    for accept in ("text/html", "application/json;as=Novel;v=v1;g=meta.k8s.io"):
        async with kube.session.get(kube.url + path("configmaps", namespace), headers={"Accept": accept}) as answer:
            assert (answer.status, (await answer.json())["reason"]) == (406, "NotAcceptable")


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"preconditions": {"resourceVersion": "1"}}, 409, "The object might have been modified"),
        ({"propagationPolicy": "Perhaps"}, 422, 'supported values: "Foreground", "Background", "Orphan", "nil"'),
        ({"propagationPolicy": "Orphan", "orphanDependents": True}, 422, "deletionPropagation cannot be both set"),
        ({"dryRun": ["Some"]}, 422, 'Unsupported value: ["Some"]: supported values: "All"'),
    ],
    ids=["version", "policy", "both", "dryRun"],
)
async def test_bad_options_of_a_deletion_delete_nothing(
    kube: Kube, namespace: str, options: Any, status: int, words: str
) -> None:  # fmt: skip
    await kube.created(configmap(namespace))
    reply = await kube.delete("configmaps", namespace, "c", options)
    assert reply.status == status
    assert words in reply.message
    assert (await kube.get("configmaps", namespace, "c")).status == 200


async def test_a_dry_run_of_a_collection_deletes_nothing(kube: Kube, namespace: str) -> None:
    await kube.created(configmap(namespace, "x"))
    await kube.created(configmap(namespace, "y"))
    collection = path("configmaps", namespace)
    assert (await kube.request("DELETE", collection, fieldSelector="metadata.name=x", dryRun="All")).status == 200
    assert (await kube.get("configmaps", namespace, "x")).status == 200
    assert (await kube.request("DELETE", collection, labelSelector="a in (b")).status == 400
    assert (await kube.request("DELETE", collection, fieldSelector="metadata.name=x")).status == 200
    assert (await kube.get("configmaps", namespace, "x")).status == 404
    assert (await kube.get("configmaps", namespace, "y")).status == 200


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"spec": {"replicas": -1}}, 422, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ({"spec": {"replicas": "x"}}, 400, GO + "string into Go struct field ScaleSpec.spec.replicas of type int32"),
        ({"metadata": {"name": "other"}}, 400, "the name of the object (other) does not match the name on the URL (d)"),
        ({"metadata": {"name": "d", "resourceVersion": "1"}}, 409, "the object has been modified"),
    ],
    ids=["negative", "text", "name", "version"],
)  # fmt: skip
async def test_a_wrong_scale_is_refused(kube: Kube, namespace: str, change: Any, status: int, words: str) -> None:
    await kube.created(deployment(namespace, "true", replicas=0))
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d", "namespace": namespace},
             "spec": {"replicas": 0}} | change  # fmt: skip
    reply = await kube.request("PUT", path("deployments", namespace, "d", "scale"), scale)
    assert reply.status == status
    assert words in reply.message


async def log_of(kube: Kube, namespace: str, **query: str) -> Reply:
    """The log of the pod `p`."""
    return await kube.log(namespace, "p", **query)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"tailLines": "-1"}, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ({"limitBytes": "0"}, "limitBytes: Invalid value: 0: must be greater than 0"),
        ({"sinceSeconds": "0"}, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ({"sinceSeconds": "1", "sinceTime": "2026-01-01T00:00:00Z"}, "at most one of `sinceTime` or `sinceSeconds`"),
    ],
    ids=["tailLines", "limitBytes", "sinceSeconds", "both"],
)
async def test_bad_options_of_a_log_are_invalid(kube: Kube, namespace: str, query: dict[str, str], words: str) -> None:
    await kube.created(pod(namespace, "true", nodeSelector={"no": "such-node"}))
    reply = await log_of(kube, namespace, **query)
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert reply.message.startswith('PodLogOptions "p" is invalid: ')
    assert words in reply.message


async def test_a_pod_without_a_node_has_no_log_and_no_error(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "true", nodeSelector={"no": "such-node"}))
    async with kube.session.get(kube.url + path("pods", namespace, "p", "log")) as answer:
        assert (answer.status, await answer.read()) == (204, b"")


async def test_the_log_of_a_container_that_its_init_container_holds_up(kube: Kube, namespace: str) -> None:
    made = pod(namespace, "true")
    made["spec"]["initContainers"] = [made["spec"]["containers"][0] | {"name": "first", "command": ["sleep", "600"]}]
    await kube.created(made)
    await kube.until("pods", namespace, "p", lambda o: o["status"].get("initContainerStatuses", [{}])[0].get("started"))
    reply = await kube.log(namespace, "p", container="main")
    assert (reply.status, reply.message) == (
        400, 'container "main" in pod "p" is waiting to start: PodInitializing'
    )  # fmt: skip


async def test_an_exec_into_a_container_that_ended_is_told_over_the_open_stream(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "true"))
    await kube.until("pods", namespace, "p", phase("Succeeded"))
    result = await kube.exec(namespace, "p", ["true"])
    assert (result.status["status"], result.status["reason"]) == ("Failure", "InternalError")
    assert result.status["message"].endswith('unable to upgrade connection: container not found ("main")')


async def test_an_exec_into_no_pod_or_no_container_is_refused_before(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "sleep", "600"))
    await kube.until("pods", namespace, "p", phase("Running"))
    for name, query, status in (("none", {}, 404), ("p", {"container": "none"}, 400)):
        address, protocols = kube.url + path("pods", namespace, name, "exec"), ["v5.channel.k8s.io"]
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await kube.session.ws_connect(
                address, params={"command": "true", "stdout": "true", **query}, protocols=protocols
            )
        assert caught.value.status == status


async def test_a_command_that_a_signal_ended_has_its_number_plus_128(kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "sleep", "600"))
    await kube.until("pods", namespace, "p", phase("Running"))
    result = await kube.exec(namespace, "p", ["sh", "-c", "kill -9 $$"])
    assert result.exit_code == 137
    assert result.status["message"] == (
        "command terminated with non-zero exit code: command terminated with exit code 137"
    )


@pytest.mark.parametrize(
    ("kind", "data", "status", "words"),
    [
        ("Opaque", {"k": "***"}, 400, "illegal base64 data at input byte 0"),
        ("kubernetes.io/tls", {}, 422, "data[tls.crt]: Required value"),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": "eA=="}, 422, "<secret contents redacted>"),
    ],
    ids=["base64", "tls", "dockerconfigjson"],
)
async def test_a_secret_must_hold_what_its_type_says(
    kube: Kube, namespace: str, kind: str, data: dict[str, str], status: int, words: str
) -> None:  # fmt: skip
    made = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace}}
    reply = await kube.create(made | {"type": kind, "data": data})
    assert reply.status == status
    assert words in reply.message


async def test_an_owner_needs_a_uid(kube: Kube, namespace: str) -> None:
    made = configmap(namespace)
    made["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]
    reply = await kube.create(made)
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert 'metadata.ownerReferences.uid: Invalid value: "": must not be empty' in reply.message

"""Reading many objects: pages, selectors, watches, versions that are gone."""

from __future__ import annotations

import asyncio
import json
import os
import shlex

import pytest

from support.kubeapi import JSON_PATCH, Kube, Object, path
from support.kubeobjects import configmap


async def labelled(kube: Kube, namespace: str, name: str, **labels: str) -> Object:
    obj = configmap(namespace, name)
    obj["metadata"]["labels"] = labels
    return await kube.created(obj)


async def version_of(kube: Kube, namespace: str) -> str:
    reply = await kube.request("GET", path("configmaps", namespace))
    return str(reply.body["metadata"]["resourceVersion"])


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("tier=a", ["x"]),
        ("tier!=a", ["y", "z"]),
        ("tier in (a,b)", ["x", "y"]),
        ("tier notin (a)", ["y", "z"]),
        ("tier", ["x", "y"]),
        ("!tier", ["z"]),
        ("tier=b,color=red", ["y"]),
    ],
)
async def test_label_selectors(kube: Kube, namespace: str, selector: str, names: list[str]) -> None:
    await labelled(kube, namespace, "x", tier="a", set="s")
    await labelled(kube, namespace, "y", tier="b", color="red", set="s")
    await labelled(kube, namespace, "z", set="s")
    found = await kube.items("configmaps", namespace, labelSelector=f"set=s,{selector}")
    assert [o["metadata"]["name"] for o in found] == names


async def test_a_field_selector_finds_by_name(kube: Kube, namespace: str) -> None:
    await kube.created(configmap(namespace, "x"))
    found = await kube.items("configmaps", namespace, fieldSelector="metadata.name=x")
    assert [o["metadata"]["name"] for o in found] == ["x"]


@pytest.mark.parametrize(
    ("plural", "words"),
    [
        ("pods", "field label not supported: spec.x"),
        ("jobs", 'field label "spec.x" not supported for Job'),
        ("configmaps", '"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"'),
    ],
)
async def test_an_unsupported_field_selector_is_a_bad_request(
    kube: Kube, namespace: str, plural: str, words: str
) -> None:  # fmt: skip
    reply = await kube.request("GET", path(plural, namespace), fieldSelector="spec.x=1")
    assert (reply.status, reply.reason, reply.message) == (400, "BadRequest", words)


async def test_pages_are_one_consistent_list(kube: Kube, namespace: str) -> None:
    for number in range(7):
        await labelled(kube, namespace, f"n{number}", set="s")
    first = (await kube.request("GET", path("configmaps", namespace), labelSelector="set=s", limit=3)).body
    await labelled(kube, namespace, "n9", set="s")
    names = [o["metadata"]["name"] for o in first["items"]]
    page = first
    while token := page["metadata"].get("continue"):
        reply = await kube.request(
            "GET", path("configmaps", namespace), labelSelector="set=s", limit=3, **{"continue": token}
        )
        page = reply.body
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        names += [o["metadata"]["name"] for o in page["items"]]
    assert names == [f"n{n}" for n in range(7)]


async def test_a_watch_from_a_list_misses_nothing(kube: Kube, namespace: str) -> None:
    version = await version_of(kube, namespace)
    await kube.created(configmap(namespace, "c", a="1"))
    await kube.patch("configmaps", namespace, "c", {"data": {"a": "2"}})
    await kube.delete("configmaps", namespace, "c")
    async with kube.watch("configmaps", namespace, resourceVersion=version, fieldSelector="metadata.name=c") as watch:
        events = [await watch.next() for _ in range(3)]
    assert [e["type"] for e in events] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
    assert versions == sorted(set(versions))


async def test_a_watch_without_a_version_begins_with_what_is_there(kube: Kube, namespace: str) -> None:
    await kube.created(configmap(namespace, "c"))
    async with kube.watch("configmaps", namespace, fieldSelector="metadata.name=c") as watch:
        event = await watch.next()
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "c")


async def test_two_watches_see_the_same_order(kube: Kube, namespace: str) -> None:
    version = await version_of(kube, namespace)
    async with (
        kube.watch("configmaps", namespace, resourceVersion=version, labelSelector="set=s") as one,
        kube.watch("configmaps", namespace, resourceVersion=version, labelSelector="set=s") as two,
    ):
        await asyncio.gather(*(labelled(kube, namespace, f"n{n}", set="s") for n in range(10)))
        seen = [[(await w.next())["object"]["metadata"]["name"] for _ in range(10)] for w in (one, two)]
    assert seen[0] == seen[1]


async def test_an_object_that_leaves_the_selector_is_deleted_for_the_watcher(kube: Kube, namespace: str) -> None:
    made = await labelled(kube, namespace, "c", in_set="yes")
    version = made["metadata"]["resourceVersion"]
    async with kube.watch("configmaps", namespace, resourceVersion=version, labelSelector="in_set=yes") as watch:
        await kube.patch("configmaps", namespace, "c", [{"op": "remove", "path": "/metadata/labels"}], JSON_PATCH)
        assert (await watch.next())["type"] == "DELETED"
        await kube.patch("configmaps", namespace, "c", {"metadata": {"labels": {"in_set": "yes"}}})
        assert (await watch.next())["type"] == "ADDED"


async def test_a_watch_ends_after_its_timeout(kube: Kube, namespace: str) -> None:
    version = await version_of(kube, namespace)
    async with kube.watch("configmaps", namespace, resourceVersion=version, timeoutSeconds=1) as watch:
        left = await asyncio.wait_for(watch.answer.read(), 10)
    assert all(json.loads(line)["type"] == "ADDED" for line in left.splitlines())


async def forget_history(kube: Kube, simulated: bool) -> None:
    """Let the API server forget what was before: a real one keeps it in memory, until it is restarted."""
    if simulated:
        await kube.request("POST", "/simulation/faults", [{"kind": "Compact"}])
        return
    command = os.environ.get("K8S_EXECUTION_TEST_API_RESTART")
    if command is None:
        pytest.skip(
            "K8S_EXECUTION_TEST_API_RESTART names no command that restarts the API server; see make test-cluster"
        )
    process = await asyncio.create_subprocess_exec(*shlex.split(command))
    assert await process.wait() == 0


async def test_a_version_before_the_history_is_expired(kube: Kube, namespace: str, simulated: bool) -> None:
    version = await version_of(kube, namespace)
    await kube.created(configmap(namespace, "later"))
    await forget_history(kube, simulated)
    async with kube.watch("configmaps", namespace, resourceVersion=version) as watch:
        event = await watch.next()
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_a_version_of_the_future_is_a_timeout(kube: Kube, namespace: str) -> None:
    reply = await kube.request("GET", path("configmaps", namespace), resourceVersion="99999999999")
    assert reply.status == 504
    assert "Too large resource version" in reply.message


async def test_initial_events_end_with_a_marked_bookmark(kube: Kube, namespace: str) -> None:
    await kube.created(configmap(namespace, "c"))
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with kube.watch("configmaps", namespace, fieldSelector="metadata.name=c", **query) as watch:
        events = [await watch.next(), await watch.next()]
    assert [e["type"] for e in events] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"


async def test_a_list_names_its_kind_and_items_keep_theirs(kube: Kube, namespace: str) -> None:
    await kube.created(configmap(namespace, "c"))
    body = (await kube.request("GET", path("configmaps", namespace))).body
    assert (body["kind"], body["apiVersion"]) == ("ConfigMapList", "v1")


async def test_a_collection_can_be_deleted_by_label(kube: Kube, namespace: str) -> None:
    await labelled(kube, namespace, "x", set="s")
    await labelled(kube, namespace, "y", set="s")
    await labelled(kube, namespace, "z", set="t")
    await kube.request("DELETE", path("configmaps", namespace), labelSelector="set=s")
    assert await kube.items("configmaps", namespace, labelSelector="set=s") == []
    assert len(await kube.items("configmaps", namespace, labelSelector="set=t")) == 1

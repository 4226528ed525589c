"""The storage: versions, history, subscribers."""

from __future__ import annotations

import pytest

from k8s_simulation.api.problems import ApiError
from k8s_simulation.api.resources import CONFIGMAPS, PODS
from k8s_simulation.api.storage import HISTORY_LENGTH, Change, ChangeType, Storage


def obj(name: str, namespace: str = "n", **more: object) -> dict[str, object]:
    return {"kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, **more}


def test_versions_grow_over_all_resources() -> None:
    storage = Storage()
    first = storage.put(CONFIGMAPS, obj("a"))
    second = storage.put(PODS, obj("b"))
    assert second.version == first.version + 1
    assert second.obj["metadata"]["resourceVersion"] == str(second.version)


def test_entries_are_ordered_by_key() -> None:
    storage = Storage()
    for namespace, name in (("b", "x"), ("a", "z"), ("a", "y")):
        storage.put(CONFIGMAPS, obj(name, namespace))
    assert [e.key for e in storage.entries(CONFIGMAPS)] == [("a", "y"), ("a", "z"), ("b", "x")]
    assert [e.key for e in storage.entries(CONFIGMAPS, "a")] == [("a", "y"), ("a", "z")]


def test_a_subscriber_sees_every_change_in_order_until_it_ends() -> None:
    storage, seen = Storage(), list[Change]()
    end = storage.subscribe(CONFIGMAPS, seen.append)
    storage.put(CONFIGMAPS, obj("a"))
    storage.put(CONFIGMAPS, obj("a", data={}))
    storage.remove(CONFIGMAPS, "n", "a")
    end()
    storage.put(CONFIGMAPS, obj("b"))
    assert [c.type for c in seen] == [ChangeType.ADDED, ChangeType.MODIFIED, ChangeType.DELETED]
    assert [c.version for c in seen] == sorted(c.version for c in seen)


def test_the_history_gives_exactly_what_came_after_a_version() -> None:
    storage = Storage()
    versions = [storage.put(CONFIGMAPS, obj(f"c{i}")).version for i in range(5)]
    assert [c.version for c in storage.changes_since(CONFIGMAPS, versions[1])] == versions[2:]
    assert storage.changes_since(CONFIGMAPS, versions[-1]) == []


def test_a_history_that_overflows_answers_gone() -> None:
    storage = Storage()
    first = storage.put(CONFIGMAPS, obj("a")).version
    for number in range(HISTORY_LENGTH + 1):
        storage.put(CONFIGMAPS, obj("a", data={"n": number}))
    with pytest.raises(ApiError) as caught:
        storage.changes_since(CONFIGMAPS, first)
    assert (caught.value.code, caught.value.reason) == (410, "Expired")
    assert len(storage.changes_since(CONFIGMAPS, storage.version - HISTORY_LENGTH)) == HISTORY_LENGTH


def test_compaction_makes_every_version_seen_so_far_too_old() -> None:
    storage = Storage()
    version = storage.put(CONFIGMAPS, obj("a")).version
    storage.compact(CONFIGMAPS)
    with pytest.raises(ApiError):
        storage.changes_since(CONFIGMAPS, version)
    assert storage.changes_since(PODS, version) == []


def test_removing_what_is_not_there_changes_nothing() -> None:
    storage = Storage()
    before = storage.version
    assert storage.remove(CONFIGMAPS, "n", "a") is None
    assert storage.version == before

"""Patches: the three that need no owner, and server-side apply."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_simulation.api.apply import Applier, leaves, server_side_apply
from k8s_simulation.api.objects import clone
from k8s_simulation.api.patch import json_patch, merge_patch
from k8s_simulation.api.problems import ApiError
from k8s_simulation.api.strategic import strategic_merge

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
names = st.text("abc", min_size=1, max_size=2)
documents = st.dictionaries(
    names, st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))
)


def without_nulls(value: Any) -> Any:
    return {k: without_nulls(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def difference(old: Any, new: Any) -> Any:
    """The merge patch that turns old into new (no nulls in either)."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    removed = {k: None for k in old if k not in new}
    return removed | {k: difference(old.get(k), v) for k, v in new.items() if old.get(k) != v or k not in old}


@given(documents, documents)
def test_a_merge_patch_made_of_a_difference_leads_there(old: Any, new: Any) -> None:
    old, new = without_nulls(old), without_nulls(new)
    before = clone(old)
    assert without_nulls(merge_patch(old, difference(old, new))) == new
    assert old == before


@given(documents)
def test_an_empty_patch_of_each_type_changes_nothing(obj: Any) -> None:
    obj = without_nulls(obj)
    assert merge_patch(obj, {}) == obj
    assert json_patch(obj, []) == obj
    assert strategic_merge(obj, {}) == obj


@given(documents, names, scalars)
def test_adding_and_removing_by_json_patch_is_no_change(obj: Any, name: str, value: Any) -> None:
    obj = {k: v for k, v in obj.items() if k != name}
    operations = [{"op": "add", "path": f"/{name}", "value": value}, {"op": "remove", "path": f"/{name}"}]
    assert json_patch(obj, operations) == obj


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"op": "add", "path": "/l/-", "value": 3}], {"l": [1, 2, 3]}),
        ([{"op": "add", "path": "/l/0", "value": 0}], {"l": [0, 1, 2]}),
        ([{"op": "replace", "path": "/l/1", "value": 9}], {"l": [1, 9]}),
        ([{"op": "move", "from": "/l/0", "path": "/m"}], {"l": [2], "m": 1}),
        ([{"op": "copy", "from": "/l", "path": "/a~1b"}], {"l": [1, 2], "a/b": [1, 2]}),
        ([{"op": "test", "path": "/l/0", "value": 1}, {"op": "remove", "path": "/l"}], {}),
    ],
)
def test_json_patch_operations(operations: Any, expected: Any) -> None:
    assert json_patch({"l": [1, 2]}, operations) == expected


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/l/0", "value": 5},
        {"op": "remove", "path": "/x"},
        {"op": "add", "path": "/l/9", "value": 1},
        {"op": "replace", "path": "/x/y", "value": 1},
    ],
)
def test_a_json_patch_that_cannot_be_applied_is_unprocessable(operation: Any) -> None:
    with pytest.raises(ApiError) as caught:
        json_patch({"l": [1, 2]}, [operation])
    assert caught.value.code == 422


CONTAINERS = {"containers": [{"name": "a", "image": "1", "ports": [{"containerPort": 80, "name": "h"}]}, {"name": "b"}]}


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"containers": [{"name": "b", "image": "2"}]}, [CONTAINERS["containers"][0], {"name": "b", "image": "2"}]),
        ({"containers": [{"name": "a", "$patch": "delete"}]}, [{"name": "b"}]),
        ({"containers": [{"name": "c"}]}, [*CONTAINERS["containers"], {"name": "c"}]),
        ({"containers": [{"$patch": "replace"}, {"name": "z"}]}, [{"name": "z"}]),
        (
            {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "x": 1}]},
            [{"name": "b", "x": 1}, CONTAINERS["containers"][0]],
        ),
        (
            {"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "web"}]}]},
            [{"name": "a", "image": "1", "ports": [{"containerPort": 80, "name": "web"}]}, {"name": "b"}],
        ),
    ],
)
def test_strategic_merge_of_named_lists(patch: Any, expected: Any) -> None:
    assert strategic_merge(CONTAINERS, patch)["containers"] == expected


def test_strategic_merge_replaces_lists_that_are_no_sets() -> None:
    assert strategic_merge({"args": ["a", "b"]}, {"args": ["c"]}) == {"args": ["c"]}


def test_strategic_merge_adds_to_finalizers_and_removes_named_ones() -> None:
    patch = {"finalizers": ["c/c"], "$deleteFromPrimitiveList/finalizers": ["a/a"]}
    assert strategic_merge({"finalizers": ["a/a", "b/b"]}, patch) == {"finalizers": ["b/b", "c/c"]}


def applied(manager: str, live: Any, force: bool = False, **spec: Any) -> Any:
    config = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    return server_side_apply(live, config, Applier(manager, force, "2026-01-01T00:00:00Z"))


def test_apply_removes_what_its_owner_no_longer_says() -> None:
    live = applied("one", None, nodeName="a", hostname="h")
    assert applied("one", live, hostname="h")["spec"] == {"hostname": "h"}


def test_apply_keeps_what_another_owner_says_too() -> None:
    live = applied("one", None, nodeName="a")
    live = applied("two", live, nodeName="a", hostname="h")
    live = applied("one", live)
    assert live["spec"] == {"nodeName": "a", "hostname": "h"}


def test_apply_of_another_value_is_a_conflict_with_its_owner() -> None:
    live = applied("one", None, nodeName="a")
    with pytest.raises(ApiError) as caught:
        applied("two", live, nodeName="b")
    assert caught.value.details["causes"][0]["field"] == ".spec.nodeName"
    forced = applied("two", live, force=True, nodeName="b")
    assert forced["spec"]["nodeName"] == "b"
    assert [e["manager"] for e in forced["metadata"]["managedFields"]] == ["two"]


def test_apply_removes_an_element_of_a_named_list() -> None:
    live = applied("one", None, containers=[{"name": "a", "image": "1"}, {"name": "b", "image": "2"}])
    live = applied("one", live, containers=[{"name": "b", "image": "2"}])
    assert live["spec"]["containers"] == [{"name": "b", "image": "2"}]


@given(st.sampled_from(["x", "y", "z"]), documents)
def test_applying_twice_is_applying_once(manager: str, spec: Any) -> None:
    spec = without_nulls(spec)
    once = applied(manager, None, **spec)
    assert applied(manager, clone(once), **spec) == once
    assert len(set(leaves(spec))) == len(list(leaves(spec)))

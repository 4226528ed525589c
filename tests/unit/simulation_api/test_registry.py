"""The rules of writing, without HTTP and without controllers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_simulation.api.deletion import BACKGROUND, DeleteOptions, Propagation, parse_options
from k8s_simulation.api.objects import clone
from k8s_simulation.api.problems import ApiError
from k8s_simulation.api.registry import Ref, Registry
from k8s_simulation.api.resources import CONFIGMAPS, JOBS, NAMESPACES, PODS, SERVICEACCOUNTS, SERVICES
from k8s_simulation.api.shapes import without_nulls
from k8s_simulation.api.storage import Change, Storage
from support.kubeobjects import configmap, job, pod
from unit.simulation_api.conftest import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def registry(clock: HandClock) -> Registry:
    made = Registry(Storage(), clock)
    made.create(NAMESPACES, {"metadata": {"name": "n"}})
    made.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "n"}})
    return made


def bound(registry: Registry, **spec: Any) -> Ref:
    registry.create(PODS, pod("n", "true", **spec))
    ref = Ref(PODS, "n", "p")
    registry.bind(ref, "node")
    return ref


def test_a_running_pod_is_given_its_grace_then_removed_by_the_node(registry: Registry) -> None:
    ref = bound(registry, terminationGracePeriodSeconds=30)
    assert not registry.delete(ref, BACKGROUND).gone
    metadata = registry.get(ref).obj["metadata"]
    assert (metadata["deletionGracePeriodSeconds"], metadata["deletionTimestamp"]) == (30, "2026-05-28T20:27:10Z")
    assert registry.delete(ref, DeleteOptions(grace=0)).gone


def test_a_second_delete_can_only_shorten_the_grace(registry: Registry) -> None:
    ref = bound(registry, terminationGracePeriodSeconds=30)
    registry.delete(ref, BACKGROUND)
    registry.delete(ref, DeleteOptions(grace=5))
    assert registry.get(ref).obj["metadata"]["deletionGracePeriodSeconds"] == 5
    registry.delete(ref, DeleteOptions(grace=60))
    assert registry.get(ref).obj["metadata"]["deletionGracePeriodSeconds"] == 5


def test_a_forced_delete_waits_for_finalizers_all_the_same(registry: Registry) -> None:
    made = pod("n", "true")
    made["metadata"]["finalizers"] = ["example.com/hold"]
    registry.create(PODS, made)
    ref = Ref(PODS, "n", "p")
    assert not registry.delete(ref, DeleteOptions(grace=0)).gone

    def release(obj: Any) -> None:
        obj["metadata"]["finalizers"] = []

    registry.modify(ref, release)
    assert registry.find(ref) is None


def test_finalizers_cannot_be_added_to_what_is_being_deleted(registry: Registry) -> None:
    made = configmap("n")
    made["metadata"]["finalizers"] = ["example.com/a"]
    registry.create(CONFIGMAPS, made)
    ref = Ref(CONFIGMAPS, "n", "c")
    registry.delete(ref, BACKGROUND)

    def add(obj: Any) -> None:
        obj["metadata"]["finalizers"].append("example.com/b")

    assert registry.modify(ref, add).obj["metadata"]["finalizers"] == ["example.com/a"]


def test_a_job_orphans_its_pods_unless_told_otherwise(registry: Registry) -> None:
    registry.create(JOBS, job("n", "true"))
    deleted = registry.delete(Ref(JOBS, "n", "j"), DeleteOptions())
    assert deleted.entry.obj["metadata"]["finalizers"] == ["orphan"]


def test_a_status_write_leaves_the_spec_and_a_spec_write_the_status(registry: Registry) -> None:
    registry.create(JOBS, job("n", "true"))
    ref = Ref(JOBS, "n", "j")

    def change(obj: Any) -> None:
        obj["spec"]["parallelism"] = 5
        obj["status"] = {"active": 1}

    registry.modify(ref, change, "status")
    assert (registry.get(ref).obj["spec"]["parallelism"], registry.get(ref).obj["status"]) == (1, {"active": 1})

    def again(obj: Any) -> None:
        obj["spec"]["parallelism"] = 2
        obj["status"] = {}

    registry.modify(ref, again)
    assert (registry.get(ref).obj["spec"]["parallelism"], registry.get(ref).obj["status"]) == (2, {"active": 1})


def test_stored_objects_are_never_changed_by_later_writes(registry: Registry) -> None:
    first = registry.create(CONFIGMAPS, configmap("n", a="1")).obj

    def change(obj: Any) -> None:
        obj["data"]["a"] = "2"

    registry.modify(Ref(CONFIGMAPS, "n", "c"), change)
    assert first["data"] == {"a": "1"}


def test_a_removal_is_one_change(registry: Registry) -> None:
    registry.create(CONFIGMAPS, configmap("n"))
    seen = list[Change]()
    registry.storage.subscribe(CONFIGMAPS, seen.append)
    registry.delete(Ref(CONFIGMAPS, "n", "c"), BACKGROUND)
    assert [c.type.value for c in seen] == ["DELETED"]


def test_immortal_namespaces_may_not_be_deleted(registry: Registry) -> None:
    registry.create(NAMESPACES, {"metadata": {"name": "default"}})
    with pytest.raises(ApiError) as caught:
        registry.delete(Ref(NAMESPACES, "", "default"), BACKGROUND)
    assert (caught.value.code, caught.value.message) == (
        403, 'namespaces "default" is forbidden: this namespace may not be deleted'
    )  # fmt: skip


def test_addresses_of_services_differ_and_are_freed(registry: Registry) -> None:
    def service(name: str, **spec: Any) -> Any:
        return {"metadata": {"name": name, "namespace": "n"}, "spec": {"ports": [{"port": 1}], **spec}}

    one = registry.create(SERVICES, service("a")).obj["spec"]["clusterIP"]
    assert registry.create(SERVICES, service("b")).obj["spec"]["clusterIP"] != one
    with pytest.raises(ApiError, match="provided IP is already allocated"):
        registry.create(SERVICES, service("c", clusterIP=one))
    registry.delete(Ref(SERVICES, "n", "a"), BACKGROUND)
    assert registry.create(SERVICES, service("c", clusterIP=one)).obj["spec"]["clusterIP"] == one
    assert registry.create(SERVICES, service("d", clusterIP="None")).obj["spec"]["clusterIP"] == "None"


def test_delete_options_come_from_the_body_or_the_query() -> None:
    assert parse_options({}, {"gracePeriodSeconds": "0", "propagationPolicy": "Foreground"}) == DeleteOptions(
        0, Propagation.FOREGROUND
    )
    assert parse_options({"orphanDependents": True}, {}).propagation is Propagation.ORPHAN
    with pytest.raises(ApiError):
        parse_options({"propagationPolicy": "Sideways"}, {})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"restartPolicy": "Sometimes"}, "spec.restartPolicy"),
        ({"containers": []}, "spec.containers"),
        ({"volumes": [{"name": "v", "emptyDir": {}, "secret": {}}]}, "spec.volumes[0].secret"),
        ({"activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds"),
        ({"terminationGracePeriodSeconds": -1}, "spec.terminationGracePeriodSeconds"),
    ],
)
def test_wrong_pods_are_invalid_at_the_field(registry: Registry, change: Any, field: str) -> None:
    with pytest.raises(ApiError) as caught:
        registry.create(PODS, pod("n", "true", **change))
    assert field in {c["field"] for c in caught.value.details["causes"]}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"volumeMounts": [{"name": "x", "mountPath": "/x"}]}, "volumeMounts[0].name"),
        ({"ports": [{"containerPort": 70000}]}, "ports[0].containerPort"),
        ({"readinessProbe": {"periodSeconds": 1}}, "readinessProbe"),
        ({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}, "resources.requests"),
        ({"env": [{"name": "A=B", "value": "c"}]}, "env[0].name"),
    ],
)
def test_wrong_containers_are_invalid_at_the_field(registry: Registry, change: Any, field: str) -> None:
    made = pod("n", "true")
    made["spec"]["containers"][0] |= change
    with pytest.raises(ApiError) as caught:
        registry.create(PODS, made)
    assert f"spec.containers[0].{field}" in {c["field"] for c in caught.value.details["causes"]}


VALUES: list[Any] = [None, 0, -1, "x", "", [], {}, [1], ["a"], [{}], {"a": 1}, True, 1.5, "1Gi", {"name": "c"}]


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from places(inner, (*at, key))


@given(st.data())
def test_a_body_with_any_value_anywhere_is_accepted_or_refused_but_no_defect(data: st.DataObject) -> None:
    registry = Registry(Storage(), HandClock())
    registry.create(NAMESPACES, {"metadata": {"name": "n"}})
    registry.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "n"}})
    resource, made = data.draw(st.sampled_from([(PODS, pod("n", "true")), (JOBS, job("n", "true"))]))
    made = clone(made)
    place = data.draw(st.sampled_from([p for p in places(made) if p not in {("kind",), ("apiVersion",)}]))
    holder = made
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = clone(data.draw(st.sampled_from(VALUES)))
    with suppress(ApiError):  # a refusal; every other exception would be a defect
        registry.create(resource, without_nulls(made))


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"labels": {"a": 1}}},
        {"spec": {"containers": {"name": "x"}}},
        {"spec": {"containers": ["x"]}},
        {"spec": {"containers": [{"name": "x", "command": "true"}]}},
        {"spec": {"terminationGracePeriodSeconds": "30"}},
        {"spec": {"hostNetwork": "yes"}},
        {"spec": []},
    ],
)
def test_wrong_json_types_are_bad_requests_and_never_defects(registry: Registry, change: Any) -> None:
    made = pod("n", "true")
    for key, value in change.items():
        made[key] = made[key] | value if isinstance(value, dict) else value
    with pytest.raises(ApiError) as caught:
        registry.create(PODS, made)
    assert caught.value.code == 400

"""Selectors, quantities, paths, protobuf, durations: the pure parts that one sentence describes."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_simulation.api import quantities
from k8s_simulation.api.discovery import aggregated, openapi_document, resource_list
from k8s_simulation.api.problems import ApiError
from k8s_simulation.api.protobuf import MAGIC, decode_object
from k8s_simulation.api.requests import NoSuchPath, parse
from k8s_simulation.api.resources import RESOURCES
from k8s_simulation.api.selectors import labels_match, parse_labels
from k8s_simulation.api.tables import human_duration

labels = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", "2"]))


@given(labels, st.sampled_from("abc"), st.sampled_from(["1", "2"]))
def test_equal_and_unequal_are_opposites(found: dict[str, str], key: str, value: str) -> None:
    equal = labels_match(parse_labels(f"{key}={value}"), found)
    assert labels_match(parse_labels(f"{key}!={value}"), found) is not equal


@given(labels, st.sampled_from("abc"))
def test_in_and_notin_are_opposites(found: dict[str, str], key: str) -> None:
    inside = labels_match(parse_labels(f"{key} in (1, 2)"), found)
    assert labels_match(parse_labels(f"{key} notin (1,2)"), found) is not inside


@pytest.mark.parametrize("text", ["a=b=c", "a in b", "=x", "a b", "!!a"])
def test_a_selector_that_cannot_be_read_is_a_bad_request(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_labels(text)
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("text", "value"),
    [("250m", "0.25"), ("1Gi", 2**30), ("1.5", "1.5"), ("2e3", 2000), ("100k", 100_000), ("0", 0), ("5n", "5e-9")],
)
def test_quantities_are_read_exactly(text: str, value: object) -> None:
    assert quantities.parse(text) == Decimal(str(value))


@given(st.integers(0, 10**12))
def test_whole_quantities_survive_writing_and_reading(value: int) -> None:
    for binary in (True, False):
        assert quantities.parse(quantities.render(Decimal(value), binary=binary)) == value


@pytest.mark.parametrize("text", ["", "x", "1 Gi", "1gi", "--1"])
def test_nonsense_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        quantities.parse(text)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/v1/namespaces", ("list", "namespaces", "", "", "")),
        ("GET", "/api/v1/namespaces/n", ("get", "namespaces", "", "n", "")),
        ("PUT", "/api/v1/namespaces/n/finalize", ("update", "namespaces", "", "n", "finalize")),
        ("GET", "/api/v1/namespaces/n/pods", ("list", "pods", "n", "", "")),
        ("GET", "/api/v1/pods", ("list", "pods", "", "", "")),
        ("POST", "/api/v1/namespaces/n/pods/p/binding", ("create", "pods", "n", "p", "binding")),
        ("DELETE", "/apis/apps/v1/namespaces/n/deployments", ("deletecollection", "deployments", "n", "", "")),
        ("PATCH", "/apis/apps/v1/namespaces/n/deployments/d/scale", ("patch", "deployments", "n", "d", "scale")),
        ("GET", "/api/v1/watch/namespaces/n/pods", ("watch", "pods", "n", "", "")),
    ],
)
def test_paths_say_what_is_asked_for(method: str, path: str, expected: tuple[str, ...]) -> None:
    found = parse(method, path, {})
    assert (found.verb, found.resource.plural, found.namespace, found.name, found.subresource) == expected


@pytest.mark.parametrize(
    "path", ["/api/v1/widgets", "/api/v1/pods/p/log/x", "/apis/x/v1/y", "/api/v1/configmaps/c/scale"]
)
def test_unknown_paths_are_not_found(path: str) -> None:
    with pytest.raises(NoSuchPath):
        parse("GET", path, {})


def test_a_flag_may_be_written_as_python_writes_it() -> None:
    assert parse("GET", "/api/v1/pods", {"watch": "True"}).verb == "watch"


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 0x7F | 0x80]) + _varint(value >> 7)


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def test_a_config_map_in_protobuf_is_read() -> None:
    metadata = _field(1, b"c") + _field(3, b"n") + _field(11, _field(1, b"k") + _field(2, b"v"))
    raw = _field(1, metadata) + _field(2, _field(1, b"key") + _field(2, b"x" * 300))
    body = MAGIC + _field(1, _field(1, b"v1") + _field(2, b"ConfigMap")) + _field(2, raw)
    assert decode_object(body) == {
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"key": "x" * 300},
        "metadata": {"name": "c", "namespace": "n", "labels": {"k": "v"}},
    }  # fmt: skip
    with pytest.raises(ApiError):
        decode_object(body[:-5])


def test_a_kind_unknown_in_protobuf_is_told_apart_from_nonsense() -> None:
    assert decode_object(MAGIC + _field(1, _field(1, b"apps/v1") + _field(2, b"Deployment"))) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (125, "2m5s"), (600, "10m"), (3 * 3600 + 60, "3h1m"), (90000, "25h")],
)
def test_durations_are_written_as_kubectl_writes_them(seconds: int, text: str) -> None:
    assert human_duration(seconds) == text


def test_every_resource_is_discovered_in_both_forms_and_has_a_patch_to_validate() -> None:
    shown = {
        (group["metadata"].get("name", ""), r["resource"])
        for core in (True, False)
        for group in aggregated(core)["items"]
        for r in group["versions"][0]["resources"]
    }
    assert shown == {(r.group, r.plural) for r in RESOURCES}
    for resource in RESOURCES:
        plain = resource_list(resource.group, resource.version)
        assert plain is not None
        assert resource.plural in {r["name"] for r in plain["resources"]}
        assert openapi_document(resource.group, resource.version)

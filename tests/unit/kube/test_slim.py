"""managedFields are left out only where they are certain to be found; everything else stays byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.kube.slim import without_managed_fields

FIELDS: dict[str, Any] = {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {'k:{"name":"x"}': {".": {}}}}
MANAGED: list[dict[str, Any]] = [
    {"manager": "kubectl", "fieldsType": "FieldsV1", "fieldsV1": FIELDS},
    {"manager": "spec", "subresource": "status", "fieldsV1": FIELDS},
]


def encoded(document: Any) -> bytes:
    """As Go writes it: no space."""
    return json.dumps(document, separators=(",", ":")).encode()


def pod(name: str = "p", *, managed: bool = True, **metadata: Any) -> dict[str, Any]:
    """A pod whose metadata end in managedFields, if it has any."""
    fields = {"managedFields": MANAGED} if managed else {}
    container = {"name": "c", "args": ["a", "]"]}
    return {
        "kind": "Pod",
        "metadata": {"name": name, **metadata, **fields},
        "spec": {"containers": [container]},
        "status": {"conditions": [{"type": "Ready"}]},
    }


def test_an_object_keeps_everything_else() -> None:
    """Also in a watch event."""
    assert without_managed_fields(encoded(pod())) == encoded(pod(managed=False))
    event = {"type": "MODIFIED", "object": pod()}
    assert json.loads(without_managed_fields(encoded(event)))["object"] == pod(managed=False)


def test_a_list_loses_those_of_all_its_items() -> None:
    """Items without any in between are left alone."""
    items = [pod("a"), pod("b", managed=False), pod("c", ownerReferences=[{"kind": "Job"}])]
    slim = [pod("a", managed=False), items[1], pod("c", managed=False, ownerReferences=[{"kind": "Job"}])]
    assert json.loads(without_managed_fields(encoded({"items": items}))) == {"items": slim}


@pytest.mark.parametrize(
    "document",
    [
        {"metadata": {"name": "p", "managedFields": MANAGED, "ownerReferences": [{"kind": "Job"}]}, "spec": {}},
        {"metadata": {"name": "p", "managedFields": MANAGED}, "status": {"a": [{}]}, "spec": {}},
        {"metadata": {"name": "p", "managedFields": []}, "spec": {"a": [{}]}},
        {"metadata": {"name": "p", "managedFields": [{"manager": "]"}]}, "spec": {}},
        {"metadata": {"name": "p", "annotations": {"x": ',"managedFields":[{'}}, "spec": {"a": [{}]}},
        {"metadata": {"name": "p"}, "spec": {}},
        {},
    ],
    ids=["another order", "no spec next", "an empty list", "a bracket in it", "in a string", "none", "nothing"],
)
def test_whatever_looks_otherwise_stays_as_it_is(document: dict[str, Any]) -> None:
    """Decoding more is no fault; leaving out something else would be."""
    assert without_managed_fields(encoded(document)) == encoded(document)


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_no_text_in_an_object_confuses_it(name: str, annotations: dict[str, str]) -> None:
    """Names and annotations may be anything."""
    slim = without_managed_fields(encoded({"items": [pod(name, annotations=annotations)] * 2}))
    assert json.loads(slim) == {"items": [pod(name, managed=False, annotations=annotations)] * 2}


def test_half_a_document_is_no_fault() -> None:
    """A cut answer is somebody else's to notice."""
    whole = encoded(pod())
    for at in range(len(whole)):
        without_managed_fields(whole[:at])

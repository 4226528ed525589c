"""Rows to domain values and back; pure. It must not open connections.

A record is kept in two texts: the specification, written once, and the rest. Keys of a record that this version does
not know (a newer replica wrote them) are carried over when it is written again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

from k8s_execution.domain import holding
from k8s_execution.domain.encoding import decode, encode
from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.plan import ImageSource, Specification, StepKind, TestPlan
from k8s_execution.domain.testcase import TestCase, TestStatus
from k8s_execution.ports.store import ArtifactEntry, ArtifactKind, EventType, StatusEvent

Row = Mapping[Any, Any]

_NOWHERE = Specification("", TestPlan(ImageSource(), ()))
"""Stands for the specification where a record is written or read without it."""
_NOWHERE_JSON = encode(_NOWHERE)
_KNOWN = frozenset(f.name for f in fields(Execution)) | {"@"}
_CACHED_TEXT = 64 << 10


def to_json(execution: Execution, earlier: str = "") -> str:
    """The record without its specification; `earlier` is the text that it replaces."""
    data = encode(replace(execution, specification=_NOWHERE))
    del data["specification"]
    if earlier:
        data |= {key: value for key, value in json.loads(earlier).items() if key not in _KNOWN}
    return _text(data)


def from_json(specification: str, record: str) -> Execution:
    """The record again, from its two texts."""
    data = json.loads(record)
    data["specification"] = _NOWHERE_JSON
    read = _cached(specification) if len(specification) <= _CACHED_TEXT else _specification(specification)
    return replace(decode(Execution, data), specification=read)


def execution_row(execution: Execution, earlier: str = "") -> dict[str, Any]:
    """The columns that change; `earlier` is the record's text that is replaced."""
    return {
        "phase": execution.phase.value,
        "verdict": execution.verdict.value if execution.verdict else None,
        "held": int(holding.place(execution)),
        "owner": execution.owner,
        "epoch": execution.epoch,
        "revision": execution.revision,
        "record": to_json(execution, earlier),
    }


def new_row(execution: Execution) -> dict[str, Any]:
    """All columns of a new execution."""
    return {
        "id": execution.id,
        "project": execution.specification.project,
        "name": execution.specification.name,
        "priority": execution.specification.policy.priority,
        "cluster_uid": execution.cluster.uid,
        "cluster_private": int(execution.cluster.private),
        "created_at": execution.created_at,
        "specification": _text(encode(execution.specification)),
        **execution_row(execution),
    }


def event(row: Row) -> StatusEvent:
    """A status event, from a row joined with its execution's specification."""
    execution = from_json(row["specification"], row["record"])
    return StatusEvent(
        row["position"], row["execution_id"], row["sequence"], row["time"], EventType(row["type"]), execution
    )


def _text(data: object) -> str:
    return json.dumps(data, separators=(",", ":"))


def _specification(text: str) -> Specification:
    return decode(Specification, json.loads(text))


@lru_cache(maxsize=256)
def _cached(text: str) -> Specification:
    return _specification(text)


def step_text(key: StepKey) -> str:
    """A step's key as one column."""
    return f"{key.kind}/{key.name}/{key.shard}/{key.attempt}"


def step_key(text: str) -> StepKey:
    """The key again."""
    kind, name, shard, attempt = text.split("/")
    return StepKey(StepKind(kind), name, int(shard), int(attempt))


def case_row(execution_id: str, key: StepKey, number: int, case: TestCase) -> dict[str, Any]:
    """The columns of a test case."""
    return {
        "execution_id": execution_id,
        "step": step_text(key),
        "number": number,
        "suite": case.suite,
        "class_name": case.class_name,
        "name": case.name,
        "status": case.status.value,
        "duration": case.duration,
        "file": case.file,
        "message": case.message,
        "details": case.details,
    }


def case(row: Row) -> TestCase:
    """A test case."""
    return TestCase(
        row["suite"],
        row["class_name"],
        row["name"],
        TestStatus(row["status"]),
        row["duration"],
        row["file"],
        row["message"],
        row["details"],
    )


def artifact_row(execution_id: str, entry: ArtifactEntry) -> dict[str, Any]:
    """The columns of an artifact."""
    return {
        "execution_id": execution_id,
        "path": entry.path,
        "step": step_text(entry.step),
        "kind": entry.kind.value,
        "bytes": entry.bytes,
        "sha256": entry.sha256,
    }


def artifact(row: Row) -> ArtifactEntry:
    """An artifact."""
    return ArtifactEntry(row["path"], ArtifactKind(row["kind"]), step_key(row["step"]), row["bytes"], row["sha256"])

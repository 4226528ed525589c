"""Rows to domain values and back; pure. It must not open connections."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from k8s_execution.domain.encoding import decode, encode
from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import StepKind
from k8s_execution.domain.testcase import TestCase, TestStatus
from k8s_execution.ports.store import ArtifactEntry, StatusEvent

Row = Mapping[Any, Any]


def to_json(execution: Execution) -> str:
    """The whole record as JSON text."""
    return json.dumps(encode(execution), separators=(",", ":"))


def from_json(text: str) -> Execution:
    """The record again."""
    return decode(Execution, json.loads(text))


def execution_row(execution: Execution) -> dict[str, Any]:
    """The columns of an execution."""
    held = execution.phase is Phase.CLEANING and execution.hold_until is not None and not execution.cleanup_requested
    return {
        "id": execution.id,
        "project": execution.specification.project,
        "name": execution.specification.name,
        "phase": execution.phase.value,
        "verdict": execution.verdict.value if execution.verdict else None,
        "priority": execution.specification.policy.priority,
        "cluster_uid": execution.cluster.uid,
        "cluster_kind": execution.cluster.kind,
        "held": int(held),
        "owner": execution.owner,
        "epoch": execution.epoch,
        "revision": execution.revision,
        "created_at": execution.created_at,
        "record": to_json(execution),
    }


def event_type(before: Execution | None, after: Execution) -> str:
    """What kind of change a status event tells of."""
    if before is None:
        return "CREATED"
    if before.verdict is not after.verdict:
        return "VERDICT"
    if before.phase is not after.phase:
        return "PHASE_CHANGED"
    if before.steps != after.steps:
        return "STEP_CHANGED"
    return "UPDATED"


def is_visible(before: Execution, after: Execution) -> bool:
    """Whether callers are told of a change: what an answer shows differs, not only whose the execution is."""
    same = replace(after, revision=before.revision, epoch=before.epoch, owner=before.owner, sequence=before.sequence)
    return same != before


def event(row: Row) -> StatusEvent:
    """A status event."""
    return StatusEvent(
        row["position"], row["execution_id"], row["sequence"], row["time"], row["type"], from_json(row["record"])
    )


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
        "kind": entry.kind,
        "bytes": entry.bytes,
        "sha256": entry.sha256,
    }


def artifact(row: Row) -> ArtifactEntry:
    """An artifact."""
    return ArtifactEntry(row["path"], row["kind"], step_key(row["step"]), row["bytes"], row["sha256"])

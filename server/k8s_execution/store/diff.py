"""What a change of a record means to those who watch it: one pure function from before and after.

It must not write anything; `store.writing` does, in the transaction of the change.
"""

from __future__ import annotations

from dataclasses import replace

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.ports.store import EventType


class RecordFixed(Exception):
    """A change of what must never change again (verdict, a DONE phase, identity): a defect of ours."""


def event_type(before: Execution | None, after: Execution) -> EventType | None:
    """The status event that a change is told as; None where only our own bookkeeping changed."""
    if before is None:
        return EventType.CREATED
    if before.verdict is not after.verdict:
        return EventType.VERDICT
    if before.phase is not after.phase:
        return EventType.PHASE_CHANGED
    if before.steps != after.steps:
        return EventType.STEP_CHANGED
    return None if _told(before) == _told(after) else EventType.UPDATED


def check(before: Execution, after: Execution) -> None:
    """Refuse a change of what is fixed; RecordFixed names it."""
    if before.verdict is not None and after.verdict is not before.verdict:
        raise RecordFixed(f"the verdict of {before.id} is fixed: {before.verdict}, not {after.verdict}")
    if before.phase is Phase.DONE and after.phase is not Phase.DONE:
        raise RecordFixed(f"execution {before.id} is DONE")
    same = (before.id, before.specification, before.cluster.uid, before.created_at)
    if same != (after.id, after.specification, after.cluster.uid, after.created_at):
        raise RecordFixed(f"id, specification, cluster and creation time of {before.id} are fixed")


def _told(execution: Execution) -> Execution:
    """The record without what only we look at: who owns it, how often it was written, what was already done."""
    return replace(
        execution,
        revision=0,
        sequence=0,
        epoch=0,
        owner="",
        namespace_uid="",
        foundation_created=False,
        applications_created=frozenset(),
        workload_deleted=False,
        namespace_deleted=False,
        gaps=(),
    )

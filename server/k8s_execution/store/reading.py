"""The reads, as functions over one open connection: `store.sqlite` runs them on threads, each in one snapshot.

They never wait for the writer. They must not write; the readers' connections refuse it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, or_, select
from sqlalchemy.sql import Select

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.faults import NotFound
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.ports.store import ExecutionFilter, StatusEvent, StepResult
from k8s_execution.store import records
from k8s_execution.store.schema import artifacts, cases, collected, events, executions, labels, secrets


def get(connection: Connection, execution_id: str) -> Execution:
    """The record; NotFound if there is none."""
    return get_with_text(connection, execution_id)[0]


def get_with_text(connection: Connection, execution_id: str) -> tuple[Execution, str]:
    """The record, and its text as it is stored; NotFound if there is none."""
    row = connection.execute(_RECORD, {"wanted": execution_id}).one_or_none()
    if row is None:
        raise NotFound(f"there is no execution {execution_id[:80]!r}", "ListExecutions shows those there are")
    return records.from_json(row[0], row[1]), row[1]


def page(
    connection: Connection, wanted: ExecutionFilter, limit: int, before: tuple[int, str] | None
) -> Sequence[Execution]:
    """Newest first by (created_at, id), after the pair `before`."""
    query = _filtered(wanted).order_by(executions.c.created_at.desc(), executions.c.id.desc()).limit(limit)
    if before is not None:
        older = executions.c.created_at < before[0]
        same = and_(executions.c.created_at == before[0], executions.c.id < before[1])
        query = query.where(or_(older, same))
    return [records.from_json(specification, record) for specification, record in connection.execute(query)]


def queue_position(connection: Connection, execution_id: str) -> int:
    """1 for the next to be admitted in its cluster; 0 if it does not wait."""
    queued = executions.c.phase == Phase.QUEUED.value
    order = (executions.c.cluster_uid, executions.c.priority, executions.c.created_at)
    row = connection.execute(select(*order).where(executions.c.id == execution_id, queued)).one_or_none()
    if row is None:
        return 0
    cluster_uid, priority, created_at = row
    same_time = and_(executions.c.created_at == created_at, executions.c.id < execution_id)
    earlier = or_(executions.c.created_at < created_at, same_time)
    ahead = or_(executions.c.priority > priority, and_(executions.c.priority == priority, earlier))
    counting = select(func.count()).select_from(executions)
    return connection.execute(counting.where(queued, executions.c.cluster_uid == cluster_uid, ahead)).scalar_one() + 1


def events_of(connection: Connection, execution_id: str, after: int, limit: int) -> Sequence[StatusEvent]:
    """Events of one execution with a sequence greater than `after`, in order."""
    return _events(connection, _EVENTS_OF, {"wanted": execution_id, "after": after, "most": limit})


def events_after(connection: Connection, after: int, limit: int) -> Sequence[StatusEvent]:
    """Events of all executions with a position greater than `after`, in order."""
    return _events(connection, _EVENTS_OF_ALL, {"after": after, "most": limit})


def changed_since(connection: Connection, after: int) -> tuple[Sequence[str], int]:
    """Ids of the executions with events after a position, and the last position there is."""
    last = connection.execute(select(func.max(events.c.position))).scalar_one_or_none() or 0
    query = select(events.c.execution_id).where(events.c.position > after).distinct()
    return (connection.execute(query).scalars().all() if last > after else ()), last


def results(connection: Connection, execution_id: str) -> Sequence[StepResult]:
    """All collected results of an execution, in the order of its steps."""
    order = select(collected.c.step).where(collected.c.execution_id == execution_id).order_by(collected.c.number)
    found = {
        step: StepResult(execution_id, records.step_key(step), [], []) for step in connection.execute(order).scalars()
    }
    all_cases = select(cases).where(cases.c.execution_id == execution_id).order_by(cases.c.step, cases.c.number)
    by_case: dict[str, list[Any]] = {step: [] for step in found}
    for row in connection.execute(all_cases).mappings():
        by_case[row["step"]].append(records.case(row))
    kept = select(artifacts).where(artifacts.c.execution_id == execution_id).order_by(artifacts.c.path)
    by_file: dict[str, list[Any]] = {step: [] for step in found}
    for row in connection.execute(kept).mappings():
        by_file[row["step"]].append(records.artifact(row))
    return [StepResult(execution_id, r.key, by_case[step], by_file[step]) for step, r in found.items()]


def sealed_secrets(connection: Connection, execution_id: str) -> bytes:
    """The sealed secrets; empty once erased."""
    return connection.execute(_SEALED, {"wanted": execution_id}).scalar_one_or_none() or b""


def owned(connection: Connection, owner: str) -> Sequence[str]:
    """Ids of an owner's executions that are not DONE, oldest first."""
    query = select(executions.c.id).where(executions.c.owner == owner, executions.c.phase != Phase.DONE.value)
    return connection.execute(query.order_by(executions.c.created_at, executions.c.id)).scalars().all()


def other_owners(connection: Connection, owner: str) -> Sequence[str]:
    """Everyone else who owns an execution that is not DONE."""
    query = select(executions.c.owner).where(executions.c.owner != owner, executions.c.phase != Phase.DONE.value)
    return connection.execute(query.distinct()).scalars().all()


def waits_for(connection: Connection, owner: str) -> bool:
    """Whether an execution of this owner is queued."""
    return connection.execute(_WAITING, {"owner": owner}).first() is not None


# Made once: making a statement costs several times what SQLite needs for it, and these run for every change.
_RECORD = select(executions.c.specification, executions.c.record).where(executions.c.id == bindparam("wanted"))
_SEALED = select(secrets.c.sealed).where(secrets.c.execution_id == bindparam("wanted"))
_WAITING = (
    select(executions.c.id)
    .where(executions.c.owner == bindparam("owner"), executions.c.phase == Phase.QUEUED.value)
    .limit(1)
)
_EVENTS = select(events, executions.c.specification).join(executions, executions.c.id == events.c.execution_id)
_EVENTS_OF = (
    _EVENTS.where(events.c.execution_id == bindparam("wanted"), events.c.sequence > bindparam("after"))
    .order_by(events.c.sequence)
    .limit(bindparam("most"))
)
_EVENTS_OF_ALL = (
    _EVENTS.where(events.c.position > bindparam("after")).order_by(events.c.position).limit(bindparam("most"))
)


def _events(connection: Connection, query: Select[Any], values: Mapping[str, Any]) -> Sequence[StatusEvent]:
    return [records.event(row) for row in connection.execute(query, values).mappings()]


def _filtered(wanted: ExecutionFilter) -> Select[Any]:
    query: Select[Any] = select(executions.c.specification, executions.c.record)
    if wanted.project:
        query = query.where(executions.c.project == wanted.project)
    if wanted.name:
        query = query.where(executions.c.name == wanted.name)
    if wanted.id_prefix:
        query = query.where(func.substr(executions.c.id, 1, len(wanted.id_prefix)) == wanted.id_prefix)
    if wanted.phases:
        query = query.where(executions.c.phase.in_(sorted(p.value for p in wanted.phases)))
    if wanted.verdicts:
        query = query.where(executions.c.verdict.in_(sorted(v.value for v in wanted.verdicts)))
    for key, value in sorted((wanted.labels or {}).items()):
        having = select(labels.c.execution_id).where(labels.c.key == key, labels.c.value == value)
        query = query.where(executions.c.id.in_(having))
    return query

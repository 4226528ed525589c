"""Reads of the store, each in a transaction of its own that never waits for the writer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql import Select

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.faults import NotFound
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.ports.store import ExecutionFilter, StatusEvent, StepResult
from k8s_execution.store import records
from k8s_execution.store.schema import artifacts, cases, collected, events, executions, labels, secrets


def database_now() -> int:
    """Microseconds since the epoch. SQLite runs inside this machine, so its clock is this one (its own has 1 ms)."""
    return time.time_ns() // 1000


class Reader:
    """Fulfils `ports.store.ExecutionReader`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the readers' engine."""
        self._engine = engine

    async def now(self) -> int:
        """The database's time in microseconds since the epoch."""
        return database_now()

    async def get(self, execution_id: str) -> Execution:
        """The record; NotFound if there is none."""
        async with self._engine.begin() as connection:
            query = select(executions.c.record).where(executions.c.id == execution_id)
            text = (await connection.execute(query)).scalar_one_or_none()
        if text is None:
            raise NotFound(f"there is no execution {execution_id!r}", "ListExecutions shows those there are")
        return records.from_json(text)

    async def list(
        self, wanted: ExecutionFilter, *, limit: int, before: tuple[int, str] | None = None
    ) -> Sequence[Execution]:
        """Newest first by (created_at, id)."""
        query = _filtered(wanted).order_by(executions.c.created_at.desc(), executions.c.id.desc()).limit(limit)
        if before is not None:
            older = executions.c.created_at < before[0]
            same = and_(executions.c.created_at == before[0], executions.c.id < before[1])
            query = query.where(or_(older, same))
        async with self._engine.begin() as connection:
            found = (await connection.execute(query)).scalars().all()
        return [records.from_json(text) for text in found]

    async def queue_position(self, execution_id: str) -> int:
        """1 for the next to be admitted; 0 if it does not wait."""
        queued = executions.c.phase == Phase.QUEUED.value
        async with self._engine.begin() as connection:
            query = select(executions).where(executions.c.id == execution_id, queued)
            row = (await connection.execute(query)).mappings().one_or_none()
            if row is None:
                return 0
            earlier = or_(
                executions.c.created_at < row["created_at"],
                and_(executions.c.created_at == row["created_at"], executions.c.id < row["id"]),
            )
            ahead = or_(
                executions.c.priority > row["priority"], and_(executions.c.priority == row["priority"], earlier)
            )
            same_cluster = executions.c.cluster_uid == row["cluster_uid"]
            counting = select(func.count()).select_from(executions).where(queued, same_cluster, ahead)
            return int((await connection.execute(counting)).scalar_one()) + 1

    async def events_of(self, execution_id: str, after: int, limit: int) -> Sequence[StatusEvent]:
        """Events of one execution with a sequence greater than `after`, in order."""
        query = select(events).where(events.c.execution_id == execution_id, events.c.sequence > after)
        return await self._events(query.order_by(events.c.sequence).limit(limit))

    async def events(self, after: int, limit: int) -> Sequence[StatusEvent]:
        """Events of all executions with a position greater than `after`, in order."""
        return await self._events(
            select(events).where(events.c.position > after).order_by(events.c.position).limit(limit)
        )

    async def results(self, execution_id: str) -> Sequence[StepResult]:
        """All collected results of an execution, in the order of its steps."""
        async with self._engine.begin() as connection:
            order = select(collected).where(collected.c.execution_id == execution_id).order_by(collected.c.number)
            steps = [r["step"] for r in (await connection.execute(order)).mappings()]
            all_cases = select(cases).where(cases.c.execution_id == execution_id).order_by(cases.c.step, cases.c.number)
            case_rows = (await connection.execute(all_cases)).mappings().all()
            kept = select(artifacts).where(artifacts.c.execution_id == execution_id).order_by(artifacts.c.path)
            kept_rows = (await connection.execute(kept)).mappings().all()
        return [
            StepResult(
                execution_id,
                records.step_key(step),
                [records.case(r) for r in case_rows if r["step"] == step],
                [records.artifact(r) for r in kept_rows if r["step"] == step],
            )
            for step in steps
        ]

    async def sealed_secrets(self, execution_id: str) -> bytes:
        """The sealed secrets; empty once erased."""
        async with self._engine.begin() as connection:
            query = select(secrets.c.sealed).where(secrets.c.execution_id == execution_id)
            return (await connection.execute(query)).scalar_one_or_none() or b""

    async def ids(self, query: Select[str]) -> Sequence[str]:
        """The ids that a query selects."""
        async with self._engine.begin() as connection:
            return (await connection.execute(query)).scalars().all()

    async def _events(self, query: Select[Any]) -> Sequence[StatusEvent]:
        async with self._engine.begin() as connection:
            return [records.event(dict(row)) for row in (await connection.execute(query)).mappings()]


def _filtered(wanted: ExecutionFilter) -> Select[str]:
    query = select(executions.c.record)
    if wanted.project:
        query = query.where(executions.c.project == wanted.project)
    if wanted.name:
        query = query.where(executions.c.name == wanted.name)
    if wanted.id_prefix:
        query = query.where(executions.c.id.startswith(wanted.id_prefix, autoescape=True))
    if wanted.phases:
        query = query.where(executions.c.phase.in_(sorted(p.value for p in wanted.phases)))
    if wanted.verdicts:
        query = query.where(executions.c.verdict.in_(sorted(v.value for v in wanted.verdicts)))
    for key, value in sorted((wanted.labels or {}).items()):
        having = select(labels.c.execution_id).where(labels.c.key == key, labels.c.value == value)
        query = query.where(executions.c.id.in_(having))
    return query

"""The write transactions, as functions over one open connection: `store.writer` runs them, nobody else.

Each gets the set of changed executions to fill; a fault raised here rolls the transaction back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.faults import IdempotencyConflict, NotFound, QueueFull, Stale
from k8s_execution.domain.lifecycle import ACTIVE, Phase
from k8s_execution.ports.store import Acceptance, Change, QueueEntry, StepResult
from k8s_execution.store import records
from k8s_execution.store.reading import database_now
from k8s_execution.store.schema import artifacts, cases, collected, events, executions, idempotency, labels, secrets
from k8s_execution.store.writer import Changed

IDEMPOTENCY_KEPT = 24 * 3600 * 1_000_000


async def accept(connection: AsyncConnection, changed: Changed, acceptance: Acceptance, owner: str) -> Execution:
    """Record a new execution with its first event, or give the earlier one of the same key."""
    now = database_now()
    project = acceptance.execution.specification.project
    await connection.execute(delete(idempotency).where(idempotency.c.created_at < now - IDEMPOTENCY_KEPT))
    if acceptance.idempotency_key:
        earlier = await _earlier(connection, project, acceptance)
        if earlier is not None:
            return earlier
    await _check_queue(connection, acceptance)
    execution = replace(acceptance.execution, created_at=now, owner=owner, epoch=1, revision=1, sequence=1)
    await connection.execute(insert(executions).values(records.execution_row(execution)))
    if pairs := execution.specification.labels:
        rows = [{"execution_id": execution.id, "key": k, "value": v} for k, v in pairs.items()]
        await connection.execute(insert(labels), rows)
    if acceptance.sealed_secrets:
        values = {"execution_id": execution.id, "sealed": acceptance.sealed_secrets}
        await connection.execute(insert(secrets).values(values))
    if acceptance.idempotency_key:
        entry: dict[str, object] = {
            "project": project,
            "key": acceptance.idempotency_key,
            "fingerprint": acceptance.fingerprint,
            "execution_id": execution.id,
            "created_at": now,
        }
        await connection.execute(insert(idempotency).values(entry))
    await _add_event(connection, None, execution, now)
    changed.add(execution.id)
    return execution


async def change(
    connection: AsyncConnection,
    changed: Changed,
    execution_id: str,
    apply: Change,
    *,
    epoch: int | None,
    revision: int | None,
) -> Execution:
    """Read, apply, write with its status event; Stale where another owner or writer was first."""
    before = await _get(connection, execution_id)
    if epoch is not None and before.epoch != epoch:
        raise Stale(f"execution {execution_id} has epoch {before.epoch}, not {epoch}")
    if revision is not None and before.revision != revision:
        raise Stale(f"execution {execution_id} has revision {before.revision}, not {revision}")
    now = database_now()
    return await _write(connection, changed, before, apply(before, now), now)


async def save_result(
    connection: AsyncConnection, changed: Changed, result: StepResult, apply: Change, epoch: int
) -> Execution:
    """The result's rows (replacing those of an earlier try) and the change of the record."""
    step = records.step_text(result.key)
    for table in (cases, artifacts, collected):
        await connection.execute(delete(table).where(table.c.execution_id == result.execution_id, table.c.step == step))
    execution = await change(connection, changed, result.execution_id, apply, epoch=epoch, revision=None)
    number = [s.key for s in execution.steps].index(result.key)
    values = {"execution_id": result.execution_id, "step": step, "number": number}
    await connection.execute(insert(collected).values(values))
    rows = [records.case_row(result.execution_id, result.key, n, c) for n, c in enumerate(result.cases)]
    if rows:
        await connection.execute(insert(cases), rows)
    if result.artifacts:
        await connection.execute(
            insert(artifacts), [records.artifact_row(result.execution_id, a) for a in result.artifacts]
        )
    return execution


async def admit(
    connection: AsyncConnection,
    changed: Changed,
    choose: Callable[[Sequence[QueueEntry], int], Sequence[str]],
    apply: Change,
    *,
    owner: str,
) -> Sequence[str]:
    """Admit those of `owner` whom `choose` picks, cluster by cluster."""
    queued = executions.c.phase == Phase.QUEUED.value
    mine = select(executions.c.cluster_uid).where(queued, executions.c.owner == owner).distinct()
    admitted: list[str] = []
    for cluster_uid in (await connection.execute(mine)).scalars().all():
        here = executions.c.cluster_uid == cluster_uid
        rows = (await connection.execute(select(executions).where(queued, here))).mappings().all()
        queue = [QueueEntry(r["id"], r["project"], r["priority"], r["created_at"]) for r in rows]
        phases = executions.c.phase.in_(sorted(p.value for p in ACTIVE))
        counting = select(func.count()).select_from(executions).where(phases, here, executions.c.held == 0)
        chosen = choose(queue, int((await connection.execute(counting)).scalar_one()))
        own = {r["id"] for r in rows if r["owner"] == owner}
        for execution_id in chosen:
            if execution_id in own:
                await change(connection, changed, execution_id, apply, epoch=None, revision=None)
                admitted.append(execution_id)
    return admitted


async def take_over(
    connection: AsyncConnection,
    changed: Changed,
    dead: Callable[[str], bool],
    owner: str,
    *,
    cluster_uid: str,
    own: bool,
) -> Sequence[Execution]:
    """Take what dead owners left: of this cluster (`own`), or of simulated clusters other than this one."""
    running = executions.c.phase != Phase.DONE.value
    if own:
        where = executions.c.cluster_uid == cluster_uid
    else:
        where = (executions.c.cluster_uid != cluster_uid) & (executions.c.cluster_kind == "SIMULATED")
    query = select(executions.c.id, executions.c.owner).where(running, where, executions.c.owner != owner)
    rows = (await connection.execute(query)).mappings().all()
    gone = {name for name in {r["owner"] for r in rows} if dead(name)}
    taken: list[Execution] = []
    for row in rows:
        if row["owner"] in gone:
            before = await _get(connection, row["id"])
            after = replace(before, owner=owner, epoch=before.epoch + 1)
            taken.append(await _write(connection, changed, before, after, database_now()))
    return taken


async def _get(connection: AsyncConnection, execution_id: str) -> Execution:
    query = select(executions.c.record).where(executions.c.id == execution_id)
    text = (await connection.execute(query)).scalar_one_or_none()
    if text is None:
        raise NotFound(f"there is no execution {execution_id!r}", "ListExecutions shows those there are")
    return records.from_json(text)


async def _write(
    connection: AsyncConnection, changed: Changed, before: Execution, after: Execution, now: int
) -> Execution:
    if after == before:
        return before
    if before.verdict is not None and after.verdict is not before.verdict:
        raise RuntimeError(f"the verdict of {before.id} is fixed")
    visible = records.is_visible(before, after)
    written = replace(after, revision=before.revision + 1, sequence=before.sequence + visible)
    query = update(executions).where(executions.c.id == before.id).values(records.execution_row(written))
    await connection.execute(query)
    if visible:
        await _add_event(connection, before, written, now)
    if written.phase is Phase.DONE:
        await connection.execute(delete(secrets).where(secrets.c.execution_id == before.id))
    changed.add(before.id)
    return written


async def _add_event(connection: AsyncConnection, before: Execution | None, after: Execution, now: int) -> None:
    values = {
        "execution_id": after.id,
        "sequence": after.sequence,
        "time": now,
        "type": records.event_type(before, after),
        "record": records.to_json(after),
    }
    await connection.execute(insert(events).values(values))


async def _earlier(connection: AsyncConnection, project: str, acceptance: Acceptance) -> Execution | None:
    key = acceptance.idempotency_key
    query = select(idempotency).where(idempotency.c.project == project, idempotency.c.key == key)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return None
    if row["fingerprint"] != acceptance.fingerprint:
        message = f"the idempotency key {key!r} was used for another request (execution {row['execution_id']})"
        raise IdempotencyConflict(message, "use a new key for a new request")
    return await _get(connection, row["execution_id"])


async def _check_queue(connection: AsyncConnection, acceptance: Acceptance) -> None:
    if not acceptance.queue_limit:
        return
    waiting = select(func.count()).select_from(executions).where(executions.c.phase == Phase.QUEUED.value)
    if int((await connection.execute(waiting)).scalar_one()) >= acceptance.queue_limit:
        message = f"{acceptance.queue_limit} executions wait already"
        raise QueueFull(message, "try again later, or raise K8S_EXECUTION_QUEUE_LIMIT")

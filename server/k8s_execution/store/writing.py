"""The write transactions, as functions over one open transaction: `store.writer` runs them, nobody else.

A fault raised here takes the transaction back. What one changes is told to the listeners after its commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import bindparam, delete, func, insert, select, update

from k8s_execution.domain import holding
from k8s_execution.domain.execution import Execution
from k8s_execution.domain.faults import IdempotencyConflict, QueueFull, Stale
from k8s_execution.domain.lifecycle import ACTIVE, Phase
from k8s_execution.ports.store import Acceptance, Change, Choice, EventType, QueueEntry, StepResult
from k8s_execution.store import diff, reading, records
from k8s_execution.store.schema import artifacts, cases, collected, events, executions, idempotency, labels, secrets
from k8s_execution.store.writer import Transaction

IDEMPOTENCY_KEPT = 24 * 3600 * 1_000_000
_QUEUE = (executions.c.id, executions.c.project, executions.c.priority, executions.c.created_at, executions.c.owner)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a change was decided on; None does not restrict."""

    epoch: int | None = None
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Heir:
    """Who takes over, and how it knows that another owner is dead."""

    owner: str
    is_dead: Callable[[str], bool]


def accept(transaction: Transaction, acceptance: Acceptance, owner: str) -> Execution:
    """Record a new execution with its first event, or give the earlier one of the same key."""
    now = transaction.now
    project = acceptance.execution.specification.project
    transaction.connection.execute(delete(idempotency).where(idempotency.c.created_at < now - IDEMPOTENCY_KEPT))
    if acceptance.idempotency_key:
        earlier = _earlier(transaction, project, acceptance)
        if earlier is not None:
            return earlier
    _check_queue(transaction, acceptance)
    if acceptance.most_held is not None:
        holding.check(acceptance.execution, _places_taken(transaction, acceptance.execution), acceptance.most_held)
    execution = replace(acceptance.execution, created_at=now, owner=owner, epoch=1, revision=1, sequence=1)
    row = records.new_row(execution)
    transaction.connection.execute(insert(executions).values(row))
    if pairs := execution.specification.labels:
        rows = [{"execution_id": execution.id, "key": k, "value": v} for k, v in pairs.items()]
        transaction.connection.execute(insert(labels), rows)
    if acceptance.sealed_secrets:
        values = {"execution_id": execution.id, "sealed": acceptance.sealed_secrets}
        transaction.connection.execute(insert(secrets).values(values))
    if acceptance.idempotency_key:
        entry: dict[str, object] = {
            "project": project,
            "key": acceptance.idempotency_key,
            "fingerprint": acceptance.fingerprint,
            "execution_id": execution.id,
            "created_at": now,
        }
        transaction.connection.execute(insert(idempotency).values(entry))
    _add_event(transaction, EventType.CREATED, execution, row["record"])
    transaction.changed.add(execution.id)
    return execution


def change(
    transaction: Transaction,
    execution_id: str,
    apply: Change,
    expected: Expected,
) -> Execution:
    """Read, apply, write with its status event; Stale where another owner or writer was first."""
    before, text = reading.get_with_text(transaction.connection, execution_id)
    if expected.epoch is not None and before.epoch != expected.epoch:
        raise Stale(f"execution {execution_id} has epoch {before.epoch}, not {expected.epoch}")
    if expected.revision is not None and before.revision != expected.revision:
        raise Stale(f"execution {execution_id} has revision {before.revision}, not {expected.revision}")
    after = apply(before, transaction.now)
    if after == before:
        return before
    return _write(transaction, before, text, replace(after, owner=before.owner, epoch=before.epoch))


def save_result(transaction: Transaction, result: StepResult, apply: Change, epoch: int) -> Execution:
    """The result's rows (replacing those of an earlier try) and the change of the record."""
    step = records.step_text(result.key)
    for table in (cases, artifacts, collected):
        transaction.connection.execute(
            delete(table).where(table.c.execution_id == result.execution_id, table.c.step == step)
        )
    execution = change(transaction, result.execution_id, apply, Expected(epoch))
    number = [s.key for s in execution.steps].index(result.key)
    values = {"execution_id": result.execution_id, "step": step, "number": number}
    transaction.connection.execute(insert(collected).values(values))
    rows = [records.case_row(result.execution_id, result.key, n, c) for n, c in enumerate(result.cases)]
    if rows:
        transaction.connection.execute(insert(cases), rows)
    if result.artifacts:
        transaction.connection.execute(
            insert(artifacts), [records.artifact_row(result.execution_id, a) for a in result.artifacts]
        )
    return execution


def admit(
    transaction: Transaction,
    choose: Choice,
    apply: Change,
    *,
    owner: str,
) -> Sequence[str]:
    """Admit those of `owner` whom `choose` picks, cluster by cluster."""
    queued = executions.c.phase == Phase.QUEUED.value
    mine = select(executions.c.cluster_uid).where(queued, executions.c.owner == owner).distinct()
    admitted: list[str] = []
    for cluster_uid in transaction.connection.execute(mine).scalars().all():
        here = executions.c.cluster_uid == cluster_uid
        rows = transaction.connection.execute(select(*_QUEUE).where(queued, here)).all()
        queue = [QueueEntry(*row[:4]) for row in rows]
        phases = executions.c.phase.in_(sorted(p.value for p in ACTIVE))
        counting = (
            select(func.count()).select_from(executions).where(phases, here, executions.c.held != holding.Place.HELD)
        )
        chosen = choose(queue, transaction.connection.execute(counting).scalar_one())
        own = {row.id for row in rows if row.owner == owner}
        for execution_id in chosen:
            if execution_id in own:
                change(transaction, execution_id, apply, Expected())
                admitted.append(execution_id)
    return admitted


def hold(
    transaction: Transaction, execution_id: str, apply: Callable[[Execution, int], Execution], epoch: int
) -> Execution:
    """Apply a change that depends on how many places for held environments others have."""
    taken = _places_taken(transaction, reading.get(transaction.connection, execution_id))
    return change(transaction, execution_id, lambda e, _now: apply(e, taken), Expected(epoch))


def take_over(transaction: Transaction, heir: Heir, cluster_uid: str, *, own: bool) -> Sequence[Execution]:
    """Take what dead owners left: of this cluster (`own`), or of private clusters that ended with their owners."""
    running = executions.c.phase != Phase.DONE.value
    if own:
        where = executions.c.cluster_uid == cluster_uid
    else:
        where = (executions.c.cluster_uid != cluster_uid) & (executions.c.cluster_private == 1)
    query = select(executions.c.id, executions.c.owner).where(running, where, executions.c.owner != heir.owner)
    rows = transaction.connection.execute(query).all()
    gone = {name for name in {row.owner for row in rows} if heir.is_dead(name)}
    taken: list[Execution] = []
    for row in rows:
        if row.owner in gone:
            before, text = reading.get_with_text(transaction.connection, row.id)
            taken.append(_write(transaction, before, text, replace(before, owner=heir.owner, epoch=before.epoch + 1)))
    return taken


# Made once: making a statement costs several times what SQLite needs for it, and these run for every change.
_REWRITE = update(executions).where(executions.c.id == bindparam("written"))
_TELL = insert(events)


def _write(transaction: Transaction, before: Execution, text: str, after: Execution) -> Execution:
    diff.check(before, after)
    told = diff.event_type(before, after)
    sequence = before.sequence + (told is not None)
    written = replace(after, revision=before.revision + 1, sequence=sequence)
    row = records.execution_row(written, text)
    transaction.connection.execute(_REWRITE, {"written": before.id, **row})
    if told is not None:
        _add_event(transaction, told, written, row["record"])
    if written.phase is Phase.DONE:
        transaction.connection.execute(delete(secrets).where(secrets.c.execution_id == before.id))
    transaction.changed.add(before.id)
    return written


def _add_event(transaction: Transaction, told: EventType, after: Execution, record: str) -> None:
    values = {
        "execution_id": after.id,
        "sequence": after.sequence,
        "time": transaction.now,
        "type": told.value,
        "record": record,
    }
    inserted = transaction.connection.execute(_TELL, values)
    assert inserted.inserted_primary_key is not None
    transaction.position = inserted.inserted_primary_key[0]


def _earlier(transaction: Transaction, project: str, acceptance: Acceptance) -> Execution | None:
    key = acceptance.idempotency_key
    query = select(idempotency).where(idempotency.c.project == project, idempotency.c.key == key)
    row = transaction.connection.execute(query).one_or_none()
    if row is None:
        return None
    if row.fingerprint != acceptance.fingerprint:
        message = f"the idempotency key {key!r} was used for another request (execution {row.execution_id})"
        raise IdempotencyConflict(message, "use a new key for a new request")
    return reading.get(transaction.connection, row.execution_id)


def _places_taken(transaction: Transaction, execution: Execution) -> int:
    """The places for held environments that others of its cluster have."""
    there = executions.c.cluster_uid == execution.cluster.uid
    running = executions.c.phase != Phase.DONE.value
    others = (executions.c.held != holding.Place.NONE) & (executions.c.id != execution.id)
    query = select(func.count()).select_from(executions).where(running, there, others)
    return transaction.connection.execute(query).scalar_one()


def _check_queue(transaction: Transaction, acceptance: Acceptance) -> None:
    if not acceptance.queue_limit:
        return
    waiting = select(func.count()).select_from(executions).where(executions.c.phase == Phase.QUEUED.value)
    if transaction.connection.execute(waiting).scalar_one() >= acceptance.queue_limit:
        message = f"{acceptance.queue_limit} executions wait already"
        raise QueueFull(message, "try again later, or raise K8S_EXECUTION_QUEUE_LIMIT")

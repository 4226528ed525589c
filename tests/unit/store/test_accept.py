"""Accepting an execution: one transaction, one row a key, no more than may wait."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from k8s_execution.domain.faults import IdempotencyConflict, NotFound, QueueFull
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.ports.store import ExecutionFilter, Store
from k8s_execution.store.sqlite import SqlStore
from k8s_execution.store.writer import Transaction
from k8s_execution.store.writing import IDEMPOTENCY_KEPT, accept
from unit.store.made import acceptance, execution, warn


async def test_an_accepted_execution_is_ours_and_begins_with_one_event(store: SqlStore) -> None:
    asked = execution()
    accepted = await store.accept(replace(acceptance(), execution=asked))
    assert (accepted.owner, accepted.epoch, accepted.revision, accepted.sequence) == (store.owner, 1, 1, 1)
    assert accepted.specification == asked.specification
    assert accepted.created_at > 0
    [event] = await store.events_of(accepted.id, 0, 10)
    assert (event.type, event.sequence, event.time) == ("CREATED", 1, accepted.created_at)
    assert event.execution == accepted == await store.get(accepted.id)


async def test_fifty_concurrent_calls_with_one_key_are_one_execution(store: SqlStore) -> None:
    calls = [store.accept(replace(acceptance(), idempotency_key="k")) for _ in range(50)]
    accepted = await asyncio.gather(*calls)
    assert len({e.id for e in accepted}) == 1
    assert len(await store.list(ExecutionFilter(), limit=100)) == 1


async def test_a_repeated_key_answers_the_execution_as_it_is_now(store: SqlStore) -> None:
    first = await store.accept(replace(acceptance(), idempotency_key="k"))
    changed = await store.change(first.id, warn())
    assert await store.accept(replace(acceptance(), idempotency_key="k")) == changed


async def test_a_key_used_for_another_body_is_a_conflict_and_writes_nothing(store: SqlStore) -> None:
    await store.accept(replace(acceptance(), idempotency_key="k"))
    with pytest.raises(IdempotencyConflict):
        await store.accept(replace(acceptance(), idempotency_key="k", fingerprint="other"))
    assert len(await store.list(ExecutionFilter(), limit=100)) == 1


async def test_a_key_belongs_to_its_project(store: SqlStore) -> None:
    one = replace(acceptance(), idempotency_key="k")
    specification = replace(one.execution.specification, project="other")
    other = replace(one, execution=execution(specification=specification))
    assert (await store.accept(one)).id != (await store.accept(other)).id


async def test_a_key_is_forgotten_after_a_day(store: SqlStore) -> None:
    first = await store.accept(replace(acceptance(), idempotency_key="k"))

    async def at(time: int) -> str:
        again = replace(acceptance(), idempotency_key="k")
        return (await store._writer.write(lambda t: accept(Transaction(t.connection, time), again, "me"))).id

    day = first.created_at + IDEMPOTENCY_KEPT
    assert await at(day) == first.id
    assert await at(day + 1) != first.id


async def test_no_more_may_wait_than_the_limit(store: SqlStore) -> None:
    calls = [store.accept(replace(acceptance(), queue_limit=3)) for _ in range(8)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(o, QueueFull) for o in outcomes) == 5
    assert len(await store.list(ExecutionFilter(phases=frozenset({Phase.QUEUED})), limit=100)) == 3


async def test_a_repeated_key_is_answered_even_where_the_queue_is_full(store: SqlStore) -> None:
    first = await store.accept(replace(acceptance(), idempotency_key="k", queue_limit=1))
    assert (await store.accept(replace(acceptance(), idempotency_key="k", queue_limit=1))).id == first.id


async def test_an_unknown_id_is_not_found(store: SqlStore) -> None:
    with pytest.raises(NotFound):
        await store.get("nothing")


async def test_the_store_fulfils_its_port(store: SqlStore) -> None:
    port: Store = store
    assert port.owner

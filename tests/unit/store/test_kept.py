"""What lies in the database file, and what a closing store does with those who still write."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from k8s_execution.domain.faults import StoreUnavailable
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.ports.store import ExecutionFilter
from k8s_execution.store.leases import OwnerLock
from k8s_execution.store.sqlite import DATABASE, SqlStore
from unit.store.made import acceptance, entering, warn


def ask(data: Path, statement: str) -> object:
    """The first value of a statement, run behind the store's back."""
    with closing(sqlite3.connect(data / DATABASE)) as connection, connection:
        row = connection.execute(statement).fetchone()
    return row[0] if row else None


async def test_a_newer_replicas_keys_are_read_over_and_kept(store: SqlStore, data: Path) -> None:
    """What this version does not know is still there after it wrote."""
    accepted = await store.accept(acceptance())
    await asyncio.to_thread(ask, data, "update executions set record = json_set(record, '$.of_the_future', 'x')")
    assert await store.get(accepted.id) == accepted
    await store.change(accepted.id, warn())
    record = await asyncio.to_thread(ask, data, "select record from executions")
    assert json.loads(str(record))["of_the_future"] == "x"


def bytes_of(data: Path) -> bytes:
    """The database file after everything of the log was brought into it."""
    ask(data, "pragma wal_checkpoint(truncate)")
    return (data / DATABASE).read_bytes()


async def test_erased_secrets_are_nowhere_in_the_file(store: SqlStore, data: Path) -> None:
    """They are overwritten, not only forgotten."""
    accepted = await store.accept(replace(acceptance(), sealed_secrets=b"sealed-by-the-sealer"))
    assert b"sealed-by-the-sealer" in await asyncio.to_thread(bytes_of, data)
    await store.change(accepted.id, entering(Phase.DONE))
    assert b"sealed-by-the-sealer" not in await asyncio.to_thread(bytes_of, data)


async def test_a_write_that_meets_the_end_is_done_or_refused_and_never_left_waiting(
    data: Path, executor: ThreadPoolExecutor
) -> None:
    """Callers that go on while the store closes all get an answer, and it is the truth."""
    accepted: list[str] = []

    async def write_on(store: SqlStore) -> None:
        while True:
            try:
                accepted.append((await store.accept(acceptance())).id)
            except StoreUnavailable:
                return

    async with SqlStore.open(data, executor) as store:
        writers = [asyncio.create_task(write_on(store)) for _ in range(4)]
        await store.accept(acceptance())
    async with asyncio.timeout(30):
        await asyncio.gather(*writers)
    async with SqlStore.open(data, executor) as store:
        found = {e.id for e in await store.list(ExecutionFilter(), limit=10_000)}
    assert found >= set(accepted)
    assert len(found) == len(accepted) + 1


def test_a_dead_owner_is_dead_for_all_who_look_at_once(tmp_path: Path) -> None:
    """One of them removes the file under the others' hands."""
    for _ in range(50):
        dead = OwnerLock(tmp_path)
        looking = [OwnerLock(tmp_path) for _ in range(4)]
        name = dead.owner
        dead.release()
        (tmp_path / name).touch()
        with ThreadPoolExecutor(4) as pool:
            assert any(pool.map(lambda lock: lock.is_dead(name), looking))  # noqa: B023 - run at once
        assert all(lock.is_dead(name) for lock in looking)
        for lock in looking:
            lock.release()

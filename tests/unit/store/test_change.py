"""Changing an execution: fenced, versioned, told gap-free; what is fixed stays fixed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import Connection

from k8s_execution.domain.execution import Evidence, Execution, StepPhase
from k8s_execution.domain.faults import NotFound, Stale
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import ConfigFile, InlineSource
from k8s_execution.domain.verdict import Verdict
from k8s_execution.ports.store import Change
from k8s_execution.store.diff import RecordFixed
from k8s_execution.store.sqlite import SqlStore
from support import build
from unit.store.made import acceptance, entering, warn


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (entering(Phase.PROVISIONING), "PHASE_CHANGED"),
        (lambda e, _: e.with_step(replace(e.steps[0], phase=StepPhase.STARTING)), "STEP_CHANGED"),
        (lambda e, _: replace(e, verdict=Verdict.PASSED), "VERDICT"),
        (lambda e, _: replace(e, verdict=Verdict.PASSED, phase=Phase.CLEANING), "VERDICT"),
        (lambda e, _: replace(e, phase=Phase.TESTING, steps=()), "PHASE_CHANGED"),
        (lambda e, _: replace(e, warnings=("w",)), "UPDATED"),
        (lambda e, _: replace(e, evidence=Evidence(1, 2, 3, "ab")), "UPDATED"),
        (lambda e, _: replace(e, expires_at=5), "UPDATED"),
        (lambda e, _: replace(e, cancel_requested=True), "UPDATED"),
    ],
)
async def test_a_change_is_exactly_one_event_that_shows_the_record_after_it(
    store: SqlStore, change: Change, kind: str
) -> None:
    first = await store.accept(acceptance())
    changed = await store.change(first.id, change)
    assert (changed.revision, changed.sequence) == (2, 2)
    [event] = await store.events_of(first.id, 1, 10)
    assert (event.type, event.execution) == (kind, changed)
    assert await store.get(first.id) == changed


async def test_an_unchanged_record_is_not_written(store: SqlStore) -> None:
    first = await store.accept(acceptance())
    woken: list[str] = []
    end = store.subscribe(woken.append)
    assert await store.change(first.id, lambda before, _now: before) == first
    assert woken == []
    end()


async def test_bookkeeping_is_written_but_not_told(store: SqlStore) -> None:
    first = await store.accept(acceptance())
    changed = await store.change(first.id, lambda before, _now: replace(before, foundation_created=True))
    assert (changed.revision, changed.sequence, changed.foundation_created) == (2, 1, True)
    assert await store.get(first.id) == changed


async def test_sequences_are_dense_and_positions_ascend_under_concurrent_changes(store: SqlStore) -> None:
    accepted = [await store.accept(acceptance()) for _ in range(5)]
    await asyncio.gather(*(store.change(e.id, warn(str(n))) for n in range(20) for e in accepted))
    everything = await store.events(0, 1_000)
    assert [e.position for e in everything] == sorted({e.position for e in everything})
    for one in accepted:
        events = await store.events_of(one.id, 0, 1_000)
        assert [e.sequence for e in events] == list(range(1, 22))
        assert [len(e.execution.warnings) for e in events] == list(range(21))


async def test_a_change_with_another_epoch_is_stale(store: SqlStore) -> None:
    first = await store.accept(acceptance())
    for epoch in (0, 2):
        with pytest.raises(Stale):
            await store.change(first.id, warn(), epoch=epoch)
    assert await store.get(first.id) == first


async def test_of_two_changes_decided_on_one_revision_the_second_is_stale(store: SqlStore) -> None:
    first = await store.accept(acceptance())
    calls = [store.change(first.id, warn(n), epoch=first.epoch, revision=first.revision) for n in ("a", "b")]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(o, Stale) for o in outcomes] == [False, True]


async def test_a_change_cannot_alter_owner_epoch_sequence_or_revision(store: SqlStore) -> None:
    first = await store.accept(acceptance())
    wanted = replace(first, owner="thief", epoch=9, sequence=9, revision=9, warnings=("w",))
    changed = await store.change(first.id, lambda _e, _now: wanted)
    assert changed == replace(first, sequence=2, revision=2, warnings=("w",))


@pytest.mark.parametrize(
    "change",
    [
        lambda e, _: replace(e, verdict=Verdict.TESTS_FAILED),
        lambda e, _: replace(e, verdict=None),
        entering(Phase.CLEANING),
        lambda e, _: replace(e, specification=replace(e.specification, name="other")),
        lambda e, _: replace(e, id="other"),
        lambda e, _: replace(e, created_at=1),
    ],
)
async def test_what_is_fixed_at_the_end_stays_as_it_is(store: SqlStore, change: Change) -> None:
    first = await store.accept(acceptance())
    done = await store.change(first.id, lambda e, _: replace(e, verdict=Verdict.PASSED, phase=Phase.DONE))
    with pytest.raises(RecordFixed):
        await store.change(first.id, change)
    assert await store.get(first.id) == done


async def test_warnings_may_still_come_after_the_end(store: SqlStore) -> None:
    first = await store.accept(acceptance())
    await store.change(first.id, entering(Phase.DONE))
    assert (await store.change(first.id, warn())).warnings == ("a warning",)


async def test_a_change_that_raises_writes_nothing_and_harms_no_neighbour(store: SqlStore) -> None:
    first = await store.accept(acceptance())

    def broken(_before: Execution, _now: int) -> Execution:
        raise ZeroDivisionError

    changes: list[Callable[[Execution, int], Execution]] = [warn("a"), broken, warn("b")]
    outcomes = await asyncio.gather(*(store.change(first.id, c) for c in changes), return_exceptions=True)
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert (await store.get(first.id)).warnings == ("a", "b")


async def test_an_unknown_execution_cannot_be_changed(store: SqlStore) -> None:
    with pytest.raises(NotFound):
        await store.change("nothing", warn())


async def test_secrets_are_erased_when_the_execution_is_done(store: SqlStore) -> None:
    first = await store.accept(replace(acceptance(), sealed_secrets=b"sealed"))
    assert await store.sealed_secrets(first.id) == b"sealed"
    await store.change(first.id, entering(Phase.DONE))
    assert await store.sealed_secrets(first.id) == b""


async def test_keys_of_a_record_that_we_do_not_know_survive_a_change(store: SqlStore) -> None:
    first = await store.accept(acceptance())

    def of_a_newer_version(text: str) -> str:
        return json.dumps({**json.loads(text), "from_the_future": {"a": [1]}})

    await store._writer.write(lambda t: _rewrite(t.connection, first.id, of_a_newer_version))
    assert await store.get(first.id) == first
    await store.change(first.id, warn())
    text = await store._read(lambda c: c.exec_driver_sql("select record from executions").scalar_one())
    assert json.loads(text)["from_the_future"] == {"a": [1]}


async def test_a_large_plan_is_kept_once(store: SqlStore) -> None:
    files = (ConfigFile("/a", "x" * 200_000),)
    first = await store.accept(acceptance(specification=build.specification(source=InlineSource(files))))
    changed = await store.change(first.id, warn())
    assert changed.specification == first.specification
    assert (await store.events_of(first.id, 0, 10))[-1].execution == changed
    largest = "select max(length(record)) from (select record from executions union all select record from events)"
    assert await store._read(lambda c: c.exec_driver_sql(largest).scalar_one()) < 5_000


def _rewrite(connection: Connection, key: str, how: Callable[[str], str]) -> None:
    execute = connection.exec_driver_sql
    text = execute("select record from executions where id = ?", (key,)).scalar_one()
    execute("update executions set record = ? where id = ?", (how(text), key))

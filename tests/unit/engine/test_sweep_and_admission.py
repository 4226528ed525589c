"""Who is swept, and who is admitted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.facts import NamespaceFact
from k8s_execution.domain.faults import NotFound
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.engine import admission, sweep
from k8s_execution.engine.sweep import OrphanReason, SweepAction, Sweeper, judge
from k8s_execution.ports.cluster import ObjectRef, Refused
from k8s_execution.ports.store import ExecutionFilter, QueueEntry
from support import build

NOW = build.START + 3600 * build.SECOND


@pytest.mark.parametrize(
    ("installation", "expires_at", "row", "seen_before", "expected"),
    [
        ("installation", None, Phase.TESTING, False, None),
        ("installation", None, Phase.DONE, False, True),
        ("installation", None, None, False, False),
        ("installation", None, None, True, True),
        ("installation", NOW - 1, None, False, True),
        ("other", None, None, True, False),
        ("other", NOW + 1, None, True, None),
        ("other", NOW - 1, None, False, True),
        ("", None, None, True, False),
    ],
)
def test_orphans(
    installation: str, expires_at: int | None, row: Phase | None, seen_before: bool, expected: bool | None
) -> None:
    """None: somebody answers for it; False: reported only; True: may be deleted."""
    namespace = build.namespace(installation=installation, expires_at=expires_at)
    found = judge(namespace, "installation", row, NOW, seen_before=seen_before)
    assert (found and found.deletable) is expected if found is None else found.deletable is expected


def test_a_namespace_is_not_an_orphan_before_its_row_can_be_seen() -> None:
    """A young namespace without a row is only reported, however often it was seen."""
    found = judge(build.namespace(), "installation", None, build.START + build.SECOND, seen_before=True)
    assert found is not None
    assert not found.deletable


ENTRIES = st.lists(
    st.builds(QueueEntry, st.uuids().map(str), st.just("p"), st.integers(-3, 3), st.integers(0, 50)), max_size=20
)


@given(ENTRIES, st.integers(0, 10), st.integers(0, 10))
def test_admission_fills_the_cap_first_in_first_out_within_a_priority(
    queue: list[QueueEntry], cap: int, active: int
) -> None:
    """Never more than the cap; nobody is passed by a later one of the same priority."""
    chosen = admission.chooser(cap)(queue, active)
    assert len(chosen) == min(len(queue), max(0, cap - active))
    admitted = [e for e in queue if e.id in chosen]
    waiting = [e for e in queue if e.id not in chosen]
    for a in admitted:
        assert all((-a.priority, a.created_at) <= (-w.priority, w.created_at) for w in waiting)


class EmptyStore:
    """A store without executions, at a fixed time."""

    async def now(self) -> int:
        return NOW

    async def list(self, _wanted: ExecutionFilter, *, limit: int) -> Sequence[Execution]:
        return ()

    async def get(self, execution_id: str) -> Execution:
        raise NotFound(execution_id)


class StoreOfOthers(EmptyStore):
    """A store that holds an execution, but none of those that are asked for."""

    async def list(self, _wanted: ExecutionFilter, *, limit: int) -> Sequence[Execution]:
        return (build.execution(),)


class NotingCluster:
    """A cluster of given namespaces that notes what is deleted; it refuses to drain `refused`.

    What is deleted goes a moment later, but for `stuck`, which then says `blockers`.
    """

    def __init__(
        self, *namespaces: NamespaceFact, refused: str = "", stuck: str = "", blockers: tuple[str, ...] = ()
    ) -> None:
        self._namespaces = namespaces
        self._refused = refused
        self._stuck, self._blockers = stuck, blockers
        self._listeners: list[Callable[[str], None]] = []
        self.deleted: list[ObjectRef] = []

    def namespaces(self) -> Sequence[NamespaceFact]:
        return self._namespaces

    async def drain(self, namespace: str, grace_seconds: int) -> None:
        if namespace == self._refused:
            raise Refused(403, "Forbidden", "no right to delete pods")

    async def delete(self, ref: ObjectRef) -> bool:
        self.deleted.append(ref)
        asyncio.get_running_loop().call_soon(self._go, ref)
        return True

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _go(self, ref: ObjectRef) -> None:
        kept = (replace(n, terminating=True, conditions=self._blockers) for n in self._namespaces if n.uid == ref.uid)
        others = tuple(n for n in self._namespaces if n.uid != ref.uid)
        self._namespaces = (*others, *(n for n in kept if n.name == self._stuck))
        for listener in self._listeners:
            listener("")


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_dry_run_says_what_a_sweep_would_do_and_does_nothing(dry_run: bool) -> None:
    """Oldest first, with the reason; only the real sweep deletes, by uid."""
    ended = build.namespace(name="b", uid="b", installation="other", expires_at=NOW - 1, created_at=build.START + 1)
    endless = build.namespace(name="a", uid="a", installation="other")
    cluster = NotingCluster(ended, endless)
    sweeper = Sweeper(cast(Any, EmptyStore()), cast(Any, cluster), cast(Any, None), "installation")
    findings = await sweeper.sweep(dry_run=dry_run)
    assert [(f.namespace, f.reason, f.action) for f in findings] == [
        ("a", OrphanReason.NO_EXPIRY, SweepAction.REPORTED),
        ("b", OrphanReason.EXPIRED, SweepAction.DELETED),
    ]
    assert findings[1].expires_at == NOW - 1
    assert cluster.deleted == ([] if dry_run else [ObjectRef("Namespace", "", "b", "b")])


@pytest.mark.parametrize(("store", "deleted"), [(StoreOfOthers(), 1), (EmptyStore(), 0)])
async def test_a_store_that_lost_everything_does_not_empty_the_cluster(store: EmptyStore, deleted: int) -> None:
    """Missing in two sweeps is enough only where the store knows other executions."""
    cluster = NotingCluster(build.namespace(installation="installation", expires_at=None))
    sweeper = Sweeper(cast(Any, store), cast(Any, cluster), cast(Any, None), "installation")
    await sweeper.sweep(dry_run=False)
    assert cluster.deleted == []
    await sweeper.sweep(dry_run=False)
    assert len(cluster.deleted) == deleted


async def test_an_orphan_that_cannot_be_deleted_does_not_protect_the_later_ones() -> None:
    """It is reported, and the next one is deleted."""
    old = build.namespace(name="a", uid="a", installation="other", expires_at=NOW - 1)
    new = build.namespace(name="b", uid="b", installation="other", expires_at=NOW - 1, created_at=build.START + 1)
    cluster = NotingCluster(old, new, refused="a")
    sweeper = Sweeper(cast(Any, EmptyStore()), cast(Any, cluster), cast(Any, None), "installation")
    findings = await sweeper.sweep(dry_run=False)
    assert [(f.namespace, f.action) for f in findings] == [("a", SweepAction.REPORTED), ("b", SweepAction.DELETED)]


@pytest.mark.parametrize(("said", "told"), [(("a finalizer is left",), "a finalizer is left"), ((), "is still there")])
async def test_a_sweep_tells_as_deleted_only_what_is_gone(
    said: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stays is BLOCKED, with what the API server says of it."""
    monkeypatch.setattr(sweep, "GONE_SECONDS", 0.05)
    ended = [build.namespace(name=n, uid=n, installation="other", expires_at=NOW - 1) for n in ("a", "b")]
    cluster = NotingCluster(*ended, stuck="a", blockers=said)
    sweeper = Sweeper(cast(Any, EmptyStore()), cast(Any, cluster), cast(Any, None), "installation")
    findings = await sweeper.sweep(dry_run=False)
    assert [(f.namespace, f.action) for f in findings] == [("a", SweepAction.BLOCKED), ("b", SweepAction.DELETED)]
    assert told in findings[0].blockers[0]
    assert cluster._listeners == []

"""The sweep: namespaces with our labels that no live execution accounts for.

Ours (by installation id) go when their row is DONE, or missing in two sweeps in a row and past a minimal age; a
foreign installation's only after its expiry, and where it has none it is reported, never deleted. Deletions a sweep
are bounded, carry a uid precondition, and are told as done when the namespace is seen to be gone. A store without a
single execution has perhaps lost them: then ours go only after their expiry too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from k8s_execution.domain.facts import NamespaceFact
from k8s_execution.domain.faults import Fault, NotFound
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.engine.cleaning import POD_GRACE_SECONDS
from k8s_execution.engine.clocks import SECOND
from k8s_execution.ports.clock import Clock
from k8s_execution.ports.cluster import ClusterPort, ObjectRef, Refused, Unreachable
from k8s_execution.ports.store import ExecutionFilter, Store

log = logging.getLogger(__name__)

MINIMAL_AGE = 60 * SECOND
MOST_DELETIONS = 20
SWEEP_EVERY = 300.0
GONE_SECONDS = 60.0
"""How long a sweep watches what it deleted, all together, before it calls the rest BLOCKED."""


class SweepAction(StrEnum):
    """What became of a finding."""

    DELETED = "DELETED"
    REPORTED = "REPORTED"
    BLOCKED = "BLOCKED"


class OrphanReason(StrEnum):
    """Why nobody answers for a namespace; the last two are of another installation, or an unknown one."""

    NO_EXECUTION = "NO_EXECUTION"
    EXECUTION_DONE = "EXECUTION_DONE"
    EXPIRED = "EXPIRED"
    NO_EXPIRY = "NO_EXPIRY"


@dataclass(frozen=True, slots=True)
class Finding:
    """One orphaned namespace: why it is one, what was done (in a dry run: would be), what blocks its deletion.

    `age` is in seconds, the other times in µs by the API server's clock; `expires_at` None where it has no end.
    """

    namespace: str
    uid: str
    execution_id: str
    installation: str
    reason: OrphanReason
    action: SweepAction
    age: float
    created_at: int
    expires_at: int | None = None
    blockers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """A namespace, why it is orphaned, and whether it may be deleted."""

    namespace: NamespaceFact
    reason: OrphanReason
    deletable: bool


def judge(
    namespace: NamespaceFact, installation: str, row: Phase | None, now: int, *, seen_before: bool
) -> Judged | None:
    """Whether a namespace is orphaned; None where a live execution (or another installation) answers for it. Pure."""
    expired = namespace.expires_at is not None and now >= namespace.expires_at
    if namespace.installation != installation:
        if namespace.expires_at is None:
            return Judged(namespace, OrphanReason.NO_EXPIRY, False)
        return Judged(namespace, OrphanReason.EXPIRED, True) if expired else None
    if row is Phase.DONE:
        return Judged(namespace, OrphanReason.EXECUTION_DONE, True)
    if row is not None:
        return None
    old = now - namespace.created_at >= MINIMAL_AGE
    return Judged(namespace, OrphanReason.NO_EXECUTION, expired or (old and seen_before))


@dataclass(slots=True)
class Sweeper:
    """Sweeps on request and every few minutes."""

    store: Store
    cluster: ClusterPort
    clock: Clock
    installation: str
    _unknown: frozenset[str] = field(default_factory=frozenset)

    async def sweep(self, *, dry_run: bool) -> Sequence[Finding]:
        """Judge every labelled namespace, oldest first; delete what may be deleted unless it is a dry run."""
        now = await self.store.now()
        seen = self._unknown if await self.store.list(ExecutionFilter(), limit=1) else frozenset[str]()
        judged = [j for n in self.cluster.namespaces() if (j := await self._judge(n, now, seen)) is not None]
        if not dry_run:
            self._unknown = frozenset(j.namespace.uid for j in judged)
        judged.sort(key=lambda j: (j.namespace.created_at, j.namespace.name))
        chosen = [j for j in judged if j.deletable and not j.namespace.terminating][:MOST_DELETIONS]
        if dry_run:
            return [_finding(j, now, SweepAction.DELETED if j in chosen else _standing(j.namespace)) for j in judged]
        asked = {j.namespace.uid for j in chosen if await self._delete(j.namespace)}
        left = await self._left(asked)
        return [_finding(_as_seen(j, left), now, _done(j.namespace, asked, left)) for j in judged]

    async def sweep_for_ever(self) -> None:
        """Sweep every few minutes; a cluster or store that does not answer, or refuses, is asked again next time."""
        while True:
            await self.clock.sleep(SWEEP_EVERY)
            try:
                await self.sweep(dry_run=False)
            except (Unreachable, Refused, Fault) as fault:
                log.warning("the sweep was broken off: %s", fault)

    async def _judge(self, namespace: NamespaceFact, now: int, seen: frozenset[str]) -> Judged | None:
        try:
            row = (await self.store.get(namespace.execution_id)).phase
        except NotFound:
            row = None
        return judge(namespace, self.installation, row, now, seen_before=namespace.uid in seen)

    async def _left(self, asked: Collection[str]) -> Mapping[str, NamespaceFact]:
        """Those of the given uids that are still seen, when all are gone or the patience with them is over."""
        changed = asyncio.Event()
        cancel = self.cluster.subscribe(lambda _key: changed.set())
        try:
            async with asyncio.timeout(GONE_SECONDS):
                while left := {n.uid: n for n in self.cluster.namespaces() if n.uid in asked}:
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            pass  # told as BLOCKED, with what the API server says of them
        finally:
            cancel()
        return left

    async def _delete(self, namespace: NamespaceFact) -> bool:
        """Whether it was asked to go; one whose deletion is refused does not keep the later ones from theirs.

        The pods are asked first, with a short grace, which the namespace controller's own deletion does not lengthen.
        """
        try:
            await self.cluster.drain(namespace.name, POD_GRACE_SECONDS)
            await self.cluster.delete(ObjectRef("Namespace", "", namespace.name, namespace.uid))
        except Refused as refused:
            log.warning("the orphan %s cannot be deleted: %s", namespace.name, refused)
            return False
        return True


def _standing(namespace: NamespaceFact) -> SweepAction:
    """What is to be said of one that nothing was done about."""
    return SweepAction.BLOCKED if namespace.terminating and namespace.conditions else SweepAction.REPORTED


def _done(namespace: NamespaceFact, asked: Collection[str], left: Mapping[str, NamespaceFact]) -> SweepAction:
    """What became of one in a sweep that acts."""
    if namespace.uid not in asked:
        return _standing(namespace)
    return SweepAction.BLOCKED if namespace.uid in left else SweepAction.DELETED


def _as_seen(item: Judged, left: Mapping[str, NamespaceFact]) -> Judged:
    """With the namespace as it was seen last; one that stays without a word says at least that."""
    seen = left.get(item.namespace.uid)
    if seen is None:
        return item
    silent = (f"it is still there {GONE_SECONDS:.0f} s after it was asked to go",)
    return replace(item, namespace=replace(seen, conditions=seen.conditions or silent))


def _finding(item: Judged, now: int, action: SweepAction) -> Finding:
    namespace = item.namespace
    return Finding(
        namespace.name,
        namespace.uid,
        namespace.execution_id,
        namespace.installation,
        item.reason,
        action,
        (now - namespace.created_at) / 1e6,
        namespace.created_at,
        namespace.expires_at,
        namespace.conditions,
    )

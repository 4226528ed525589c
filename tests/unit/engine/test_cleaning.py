"""How an environment is emptied: which requests, in which order, and when it counts as empty."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from k8s_execution.domain.facts import NamespaceFact, Observed, PodFact
from k8s_execution.engine.cleaning import drain_namespace
from k8s_execution.ports.cluster import ObjectRef, Refused, Unreachable
from support import build


class Emptying:
    """A cluster of one namespace that notes what it is asked; pods that were asked to go are gone when somebody looks.

    `late` pods without our labels appear while the first go, so that no watch tells of them. `deaf`: the watch is cut.
    `seen` is how the watch shows the namespace, `synced` whether it shows all there is.
    """

    def __init__(
        self, *, pods: int = 2, late: int = 0, there: bool = True, refuses: bool = False, deaf: bool = False,
        seen: NamespaceFact | None = None, synced: bool = True,
    ) -> None:  # fmt: skip
        self.asked: list[str] = []
        self._pods, self._strays, self._late = pods, 0, late
        self._shown = pods if deaf else None
        self._there, self._refuses = there, refuses
        self._seen, self._synced = seen, synced
        self._listener: Callable[[str], None] = lambda _: None

    async def delete(self, ref: ObjectRef) -> bool:
        self.asked.append(f"delete {ref.kind} {ref.uid}")
        if self._refuses:
            raise Refused(403, "Forbidden", "no right to delete namespaces")
        return self._there

    async def end_pods(self, namespace: str, grace_seconds: int) -> None:
        self.asked.append(f"end pods in {grace_seconds} s")
        self._end()

    async def drain(self, namespace: str, grace_seconds: int) -> None:
        self.asked.append("drain")
        self._end()

    def _end(self) -> None:
        asyncio.get_running_loop().call_soon(self._gone)

    def _gone(self) -> None:
        self._pods, self._strays, self._late = 0, self._late, 0
        if self._shown is None:
            self._listener(build.execution().id)

    def observe(self, _execution_id: str) -> Observed:
        pods = (build.application_pod() for _ in range(self._shown or self._pods))
        return build.observed(*pods, namespace=self._seen, synced=self._synced)

    async def pods_left(self, _namespace: str) -> Sequence[PodFact]:
        self.asked.append("list pods")
        return [build.application_pod() for _ in range(self._pods + self._strays)]

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        self._listener = listener
        return lambda: None


async def emptied(cluster: Emptying, uid: str = "u") -> list[str]:
    """What was asked until the namespace, recorded with this uid, counted as empty."""
    execution = build.execution(namespace_uid=uid)
    async with asyncio.timeout(60):
        await drain_namespace(cast(Any, cluster), execution)
    return cluster.asked


@pytest.mark.parametrize("pods", [0, 1, 7])
async def test_an_environment_costs_three_questions_however_many_pods_it_has(pods: int) -> None:
    """The namespace first, so that nobody replaces a pod; the API server is asked once, when the watch shows none."""
    assert await emptied(Emptying(pods=pods)) == ["delete Namespace u", "end pods in 1 s", "list pods"]


async def test_a_namespace_that_is_no_more_is_empty() -> None:
    """Nothing else is asked."""
    assert await emptied(Emptying(there=False)) == ["delete Namespace u"]


async def test_a_namespace_of_the_same_name_that_is_not_ours_is_left_alone() -> None:
    """Its creation was refused because somebody else's has the name."""
    assert await emptied(Emptying(), uid="") == []


async def test_a_namespace_that_was_made_and_not_recorded_is_known_by_its_labels() -> None:
    """The process was killed in between."""
    asked = await emptied(Emptying(seen=build.namespace()), uid="")
    assert asked[0] == f"delete Namespace {build.namespace().uid}"


async def test_what_is_not_seen_yet_is_not_taken_for_absent() -> None:
    """The watch has not listed yet."""
    with pytest.raises(Unreachable):
        await emptied(Emptying(synced=False), uid="")


async def test_a_namespace_that_may_not_be_deleted_is_emptied_all_the_same() -> None:
    """Owners too, since they could make new pods in it."""
    assert await emptied(Emptying(refuses=True)) == ["delete Namespace u", "drain", "list pods"]


async def test_a_pod_that_came_in_the_last_moment_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API server that had not heard of the deletion yet may have let it in."""
    monkeypatch.setattr("k8s_execution.engine.cleaning.STRAY_SECONDS", 0.01)
    asked = await emptied(Emptying(late=1))
    assert asked == ["delete Namespace u", *["end pods in 1 s", "list pods"] * 2]


async def test_a_watch_that_is_cut_does_not_hide_that_the_pods_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who hears nothing asks the API server."""
    monkeypatch.setattr("k8s_execution.engine.cleaning.SILENCE_SECONDS", 0.01)
    assert await emptied(Emptying(deaf=True)) == ["delete Namespace u", "end pods in 1 s", "list pods"]

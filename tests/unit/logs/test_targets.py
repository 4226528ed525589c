"""Which runs of which containers have a log worth keeping."""

from __future__ import annotations

import pytest

from k8s_execution.domain.facts import ContainerFact, ContainerState, PodFact
from k8s_execution.logs.targets import Source, targets
from unit.logs.scripted import container, pod

R, T, W = ContainerState.RUNNING, ContainerState.TERMINATED, ContainerState.WAITING
CURRENT, PREVIOUS, LOST = Source.CURRENT, Source.PREVIOUS, Source.LOST


def found(seen: PodFact) -> list[tuple[str, int, Source, bool]]:
    return [(t.stream.container, t.stream.restart, t.source, t.terminated) for t in targets(seen)]


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        (container(W, identity=""), []),
        (container(R), [(0, CURRENT, False)]),
        (container(T, exit_code=1), [(0, CURRENT, True)]),
        (container(T, identity=""), []),
        (container(R, restarts=1, identity="c://1", last="c://0"), [(0, PREVIOUS, True), (1, CURRENT, False)]),
        (container(W, restarts=1, identity="c://1", last="c://1"), [(0, LOST, True), (1, CURRENT, True)]),
        (container(T, restarts=1, identity="c://1", last="c://0"), [(0, PREVIOUS, True), (1, CURRENT, True)]),
        (container(W, restarts=0, identity="c://0", last="c://0"), [(0, CURRENT, True)]),
        (
            container(R, restarts=3, identity="c://3", last="c://2"),
            [(0, LOST, True), (1, LOST, True), (2, PREVIOUS, True), (3, CURRENT, False)],
        ),
    ],
)
def test_runs_of_a_container(fact: ContainerFact, expected: list[tuple[int, Source, bool]]) -> None:
    assert found(pod(fact)) == [("application", *row) for row in expected]


def test_our_own_containers_of_a_step_are_no_streams() -> None:
    seen = pod(
        container(T, name="agent", exit_code=0), container(R, name="step"), container(R, name="collector"), step="s"
    )
    assert [name for name, *_ in found(seen)] == ["step"]


def test_the_agents_installation_is_a_stream_where_it_failed() -> None:
    assert [n for n, *_ in found(pod(container(T, name="agent", exit_code=1), step="s"))] == ["agent"]


def test_a_stream_carries_what_the_pod_is() -> None:
    stream = targets(pod(container(R, name="step"), step="unit"))[0].stream
    assert (stream.pod, stream.step, stream.step_kind, stream.application) == ("pod-1", "unit", "SUITE", "")


def test_only_an_applications_container_may_be_started_again() -> None:
    kinds = (pod(container(R)), pod(container(R, name="step"), step="s"))
    assert [targets(p)[0].restarts for p in kinds] == [True, False]


def test_a_run_that_has_ended_says_when() -> None:
    ended = container(T, restarts=1, identity="c://1", last="c://0", finished_at=9, last_finished_at=5)
    waits = container(W, restarts=1, identity="c://1", last="c://1", last_finished_at=9)
    assert [[t.finished_at for t in targets(pod(c))] for c in (ended, waits)] == [[5, 9], [None, 9]]

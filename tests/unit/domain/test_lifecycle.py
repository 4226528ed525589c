"""The table of transitions against docs and against what must hold of any such table."""

from __future__ import annotations

import itertools

import pytest

from k8s_execution.domain.lifecycle import (
    ACTIVE,
    ORDER,
    RUNNING,
    TRANSITIONS,
    IllegalTransition,
    Phase,
    diagram,
    move,
)

ALLOWED = {
    (Phase.QUEUED, Phase.PROVISIONING), (Phase.QUEUED, Phase.COLLECTING),
    (Phase.PROVISIONING, Phase.SETUP), (Phase.PROVISIONING, Phase.TEARDOWN), (Phase.PROVISIONING, Phase.COLLECTING),
    (Phase.SETUP, Phase.TESTING), (Phase.SETUP, Phase.TEARDOWN), (Phase.SETUP, Phase.COLLECTING),
    (Phase.TESTING, Phase.TEARDOWN), (Phase.TESTING, Phase.COLLECTING),
    (Phase.TEARDOWN, Phase.COLLECTING), (Phase.COLLECTING, Phase.CLEANING), (Phase.CLEANING, Phase.DONE),
}  # fmt: skip


@pytest.mark.parametrize(("source", "target"), list(itertools.product(Phase, Phase)))
def test_every_pair_is_allowed_or_refused(source: Phase, target: Phase) -> None:
    """All 64 of them; a refusal names both ends."""
    if (source, target) in ALLOWED:
        assert move(source, target) is target
        return
    with pytest.raises(IllegalTransition, match=f"{source} to {target}") as refused:
        move(source, target)
    assert (refused.value.source, refused.value.target) == (source, target)


def test_every_move_goes_forward() -> None:
    """So every execution ends."""
    for source, targets in TRANSITIONS.items():
        assert all(ORDER.index(target) > ORDER.index(source) for target in targets)


def test_every_phase_has_a_row_and_leads_to_the_end() -> None:
    """No phase but DONE is a dead end; none ends without COLLECTING and CLEANING."""
    assert set(TRANSITIONS) == set(Phase)
    assert [p for p in Phase if not TRANSITIONS[p]] == [Phase.DONE]
    assert [p for p in Phase if Phase.DONE in TRANSITIONS[p]] == [Phase.CLEANING]
    assert [p for p in Phase if Phase.CLEANING in TRANSITIONS[p]] == [Phase.COLLECTING]


def test_whatever_comes_before_collecting_can_go_there() -> None:
    """A failure, a timeout or a cleanup in any of these phases."""
    assert {p for p in Phase if Phase.COLLECTING in TRANSITIONS[p]} == set(ORDER[: ORDER.index(Phase.COLLECTING)])


def test_active_and_running() -> None:
    """What counts against the cap, and what a failure ends."""
    assert set(Phase) - ACTIVE == {Phase.QUEUED, Phase.DONE}
    assert RUNNING < ACTIVE


def test_the_diagram_shows_the_table() -> None:
    """Each allowed move once, and both ends."""
    lines = diagram().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> QUEUED"]
    assert lines[-1] == "    DONE --> [*]"
    assert sorted(lines[2:-1]) == sorted(f"    {a} --> {b}" for a, b in ALLOWED)

"""The life cycle: one table of transitions, and the only function that moves a phase along it.

A wrong move raises and changes nothing. The diagram in docs/architecture.md is drawn from `TRANSITIONS`. It must not
know why an execution moves: that is `engine.decide`.
"""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Where an execution stands."""

    QUEUED = "QUEUED"
    PROVISIONING = "PROVISIONING"
    SETUP = "SETUP"
    TESTING = "TESTING"
    TEARDOWN = "TEARDOWN"
    COLLECTING = "COLLECTING"
    CLEANING = "CLEANING"
    DONE = "DONE"


TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.QUEUED: frozenset({Phase.PROVISIONING, Phase.COLLECTING}),
    Phase.PROVISIONING: frozenset({Phase.SETUP, Phase.TEARDOWN, Phase.COLLECTING}),
    Phase.SETUP: frozenset({Phase.TESTING, Phase.TEARDOWN, Phase.COLLECTING}),
    Phase.TESTING: frozenset({Phase.TEARDOWN, Phase.COLLECTING}),
    Phase.TEARDOWN: frozenset({Phase.COLLECTING}),
    Phase.COLLECTING: frozenset({Phase.CLEANING}),
    Phase.CLEANING: frozenset({Phase.DONE}),
    Phase.DONE: frozenset(),
}

ACTIVE: frozenset[Phase] = frozenset(Phase) - {Phase.QUEUED, Phase.DONE}
"""Phases in which an environment exists or is being made or removed: they count against the concurrency cap."""

RUNNING: frozenset[Phase] = frozenset({Phase.PROVISIONING, Phase.SETUP, Phase.TESTING})
"""Phases that a failure, a timeout or a cancellation ends."""

ORDER: tuple[Phase, ...] = tuple(Phase)
"""The phases in the order they are passed; some are passed over."""


class IllegalTransition(Exception):
    """A move that the table does not hold: a defect of ours, never of the caller."""

    def __init__(self, source: Phase, target: Phase) -> None:
        """Name both ends of the refused move."""
        super().__init__(f"no transition from {source} to {target}")
        self.source = source
        self.target = target


def move(source: Phase, target: Phase) -> Phase:
    """The phase after the move; IllegalTransition if the table does not hold it."""
    if target not in TRANSITIONS[source]:
        raise IllegalTransition(source, target)
    return target


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> QUEUED"]
    lines += [f"    {s} --> {t}" for s in ORDER for t in ORDER if t in TRANSITIONS[s]]
    return "\n".join([*lines, "    DONE --> [*]"])

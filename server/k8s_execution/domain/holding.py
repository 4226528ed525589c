"""Held environments: who has a place, and what becomes of one that finds none. Pure.

Held environments do not count against the cap of running ones; they have a cap of their own. A plan with HOLD has a
place from its acceptance on, so that its environment is certainly held; one with ON_SUCCESS takes a place only when it
failed, and where none is left it is cleaned at once, with a warning. It must not count: the store does, in the
transaction that gives the place.
"""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.faults import HoldsFull, Problem
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import CleanupPolicy

SETTING = "K8S_EXECUTION_MAX_HELD_ENVIRONMENTS"
RULE = "policy.held_environments"


class Place(IntEnum):
    """Whether an execution has one of the places for held environments."""

    NONE = 0
    HELD = 1
    PROMISED = 2


def place(execution: Execution) -> Place:
    """The place that an execution has; a cleanup that was asked for gives it back."""
    if execution.phase is Phase.DONE or execution.cleanup_requested:
        return Place.NONE
    until, since = execution.hold_until, execution.entered.get(Phase.CLEANING, 0)
    if execution.phase is Phase.CLEANING and until is not None:
        return Place.HELD if until > since else Place.NONE
    return Place.PROMISED if execution.specification.policy.cleanup is CleanupPolicy.HOLD else Place.NONE


def hold(execution: Execution, until: int, taken: int, limit: int) -> Execution:
    """Hold the environment until `until` (µs), or give that up with a warning where others have all the places.

    Nothing changes where its cleanup was asked for meanwhile: it is wanted no more.
    """
    if execution.cleanup_requested:
        return execution
    if place(execution) is not Place.NONE or taken < limit:
        return replace(execution, hold_until=until)
    warning = f"the environment was not held: {_full(limit)}; its evidence is kept"
    return replace(execution, hold_until=execution.entered[Phase.CLEANING], warnings=(*execution.warnings, warning))


def check(execution: Execution, taken: int, limit: int) -> None:
    """HoldsFull where a new execution wants to be held and others have all the places."""
    if place(execution) is Place.NONE or taken < limit:
        return
    hint = f"use ALWAYS or ON_SUCCESS, end a held one with Cleanup, or raise {SETTING}"
    raise HoldsFull(Problem("policy.cleanup", CleanupPolicy.HOLD.value, RULE, _full(limit), hint))


def _full(limit: int) -> str:
    return f"every place for held environments is taken ({SETTING}={limit})"

"""Whom to admit: first in, first out within a priority, as long as the cap has room. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from k8s_execution.ports.store import Choice, QueueEntry


def order(queue: Sequence[QueueEntry]) -> list[QueueEntry]:
    """The queue in the order of admission: higher priority first, then older, then by id."""
    return sorted(queue, key=lambda e: (-e.priority, e.created_at, e.id))


def chooser(cap: int) -> Choice:
    """A choice for `store.admit`: fill the cap from the head of the queue."""

    def choose(queue: Sequence[QueueEntry], active: int) -> Sequence[str]:
        return [entry.id for entry in order(queue)[: max(0, cap - active)]]

    return choose

"""The facts of one kind as last observed, found by execution id.

It must not do I/O or know resourceVersions. Apart from `reflector` because what is lost and found again (deletions
during a gap) is a matter of two sets, and is tested as such.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Generic, Protocol, TypeVar

Key = tuple[str, str]
"""(namespace, name)."""


class Fact(Protocol):
    """What every cached fact has."""

    @property
    def execution_id(self) -> str:
        """The execution that the object belongs to."""
        ...

    @property
    def created_at(self) -> int:
        """When it was created, µs."""
        ...

    @property
    def name(self) -> str:
        """The object's name."""
        ...


F = TypeVar("F", bound=Fact)


class FactCache(Generic[F]):
    """Facts by key and by execution; tells `notify(execution_id)` of each change, and of nothing else."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        """Start empty."""
        self._notify = notify
        self._facts: dict[Key, F] = {}
        self._by_execution: dict[str, dict[Key, F]] = {}

    def put(self, key: Key, fact: F) -> None:
        """Add or replace one fact."""
        old = self._facts.get(key)
        if old == fact:
            return
        if old is not None and old.execution_id != fact.execution_id:
            self.drop(key)
        self._facts[key] = fact
        self._by_execution.setdefault(fact.execution_id, {})[key] = fact
        self._notify(fact.execution_id)

    def drop(self, key: Key) -> None:
        """Forget one fact, if it is known."""
        old = self._facts.pop(key, None)
        if old is None:
            return
        siblings = self._by_execution[old.execution_id]
        del siblings[key]
        if not siblings:
            del self._by_execution[old.execution_id]
        self._notify(old.execution_id)

    def missing(self, present: Container[Key]) -> list[Key]:
        """The keys that are known here and not `present`: what vanished while nobody watched."""
        return [key for key in self._facts if key not in present]

    def of(self, execution_id: str) -> tuple[F, ...]:
        """The facts of one execution, oldest first."""
        known = self._by_execution.get(execution_id)
        return tuple(sorted(known.values(), key=lambda f: (f.created_at, f.name))) if known else ()

    def all(self) -> tuple[F, ...]:
        """Every fact."""
        return tuple(self._facts.values())

    def __len__(self) -> int:
        """How many facts there are."""
        return len(self._facts)

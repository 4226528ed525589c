"""Who waits for whom: the `after` fields of a plan, with their defaults put in, as maps from a name to names.

Applications and the setup hooks that applications wait for, directly or through others, form one graph that is worked
off in PROVISIONING; the other setup hooks run in SETUP, when all of that is ready. Suites wait for suites, teardown
hooks for teardown hooks. Defaults (docs/contract): an application waits for nothing; a setup hook that applications
wait for, likewise; another setup hook waits for the setup hooks written before it; a suite for nothing; a teardown hook
for those written before it. "Written before" leaves out what already waits for it, so a default closes no circle.

Standard library only, no I/O. It must not judge: names that do not exist are left out here and reported by
`manifests.check`. It is apart because the checks and the engine must read one order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from k8s_execution.domain.plan import Specification, Step

Waits = Mapping[str, frozenset[str]]
"""A name, and the names that must be ready, passed or (teardown) ended before it starts; in plan order."""


@dataclass(frozen=True, slots=True)
class Graph:
    """The order of one plan. The first two maps share one set of names; each of the others stands alone."""

    applications: Waits
    provisioning_hooks: Waits
    setup: Waits
    suites: Waits
    teardown: Waits


def build(specification: Specification) -> Graph:
    """The order in which everything of a plan may start."""
    applications = {a.name: a.after for a in specification.environment.applications}
    plan = specification.test_plan
    hooks = {h.name: h for h in plan.setup}
    waited_for = _reachable(applications, {name: hook.after or () for name, hook in hooks.items()})
    early = {name: hook.after or () for name, hook in hooks.items() if name in waited_for}
    late = [hook for hook in plan.setup if hook.name not in waited_for]
    known = frozenset(applications) | frozenset(early)
    return Graph(
        applications=_within(applications, known),
        provisioning_hooks=_within(early, known),
        setup=_in_order(late),
        suites=_within({s.name: s.after or () for s in plan.suites}, frozenset(s.name for s in plan.suites)),
        teardown=_in_order(plan.teardown),
    )


def cycle(waits: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """One circle of names that wait for each other, its first name repeated at the end; empty if there is none."""
    stuck = {name: [n for n in after if n in waits] for name, after in waits.items()}
    while free := [name for name, after in stuck.items() if not any(n in stuck for n in after)]:
        for name in free:
            del stuck[name]
    if not stuck:
        return ()
    path: list[str] = []
    name = next(iter(stuck))
    while name not in path:
        path.append(name)
        name = next(n for n in stuck[name] if n in stuck)
    return (*path[path.index(name) :], name)


def _reachable(applications: Mapping[str, Iterable[str]], hooks: Mapping[str, Iterable[str]]) -> set[str]:
    """The hooks that applications wait for, directly, or through hooks and applications."""
    found: set[str] = set()
    todo = [name for after in applications.values() for name in after]
    while todo:
        name = todo.pop()
        if name in hooks and name not in found:
            found.add(name)
            todo.extend(hooks[name])
    return found


def _within(waits: Mapping[str, Iterable[str]], known: frozenset[str]) -> dict[str, frozenset[str]]:
    return {name: frozenset(after) & known for name, after in waits.items()}


def _in_order(steps: Iterable[Step]) -> dict[str, frozenset[str]]:
    """Steps that by default wait for all those written before them, except those that wait for them."""
    steps = tuple(steps)
    names = frozenset(s.name for s in steps)
    waits = {s.name: frozenset(s.after or ()) & names for s in steps}
    for index, step in enumerate(steps):
        if step.after is None:
            before = frozenset(s.name for s in steps[:index]) - {step.name}
            waits[step.name] = frozenset(name for name in before if not _reaches(waits, name, step.name))
    return waits


def _reaches(waits: Waits, start: str, target: str) -> bool:
    seen: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        if name == target:
            return True
        if name not in seen:
            seen.add(name)
            todo.extend(waits[name])
    return False

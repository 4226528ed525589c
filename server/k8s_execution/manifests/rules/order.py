"""Rules for names and order: no name twice, `after` names what exists, nobody waits in a circle. Pure.

Applications and setup hooks share one set of names, because `after` and references speak of both; suites and teardown
hooks have one each.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from k8s_execution.domain import graph
from k8s_execution.domain.plan import Specification
from k8s_execution.manifests.rules.findings import Findings


@dataclass(frozen=True, slots=True)
class _Named:
    """One thing with a name and what it waits for."""

    path: str
    name: str
    after: tuple[str, ...]


def check(found: Findings, specification: Specification) -> None:
    """Names and order of the whole plan."""
    plan = specification.test_plan
    applications = [
        _Named(f"environment.applications[{i}]", a.name, a.after)
        for i, a in enumerate(specification.environment.applications)
    ]
    setup, suites, teardown = (
        [_Named(f"test_plan.{kind}[{i}]", s.name, s.after or ()) for i, s in enumerate(steps)]
        for kind, steps in (("setup", plan.setup), ("suites", plan.suites), ("teardown", plan.teardown))
    )
    _group(found, [*applications, *setup], "applications and setup hooks")
    _group(found, suites, "suites")
    _group(found, teardown, "teardown hooks")


def _group(found: Findings, members: Sequence[_Named], kind: str) -> None:
    seen: dict[str, _Named] = {}
    for member in members:
        if member.name in seen:
            message = f"must differ from the name of {seen[member.name].path}"
            found.add(f"{member.path}.name", member.name, "name.unique", message, "rename one of them")
        seen.setdefault(member.name, member)
    for member in members:
        _after(found, member, seen, kind)
    circle = graph.cycle({m.name: [n for n in m.after if n in seen] for m in seen.values()})
    if circle:
        message = f"must not wait in a circle: {' after '.join(circle)}"
        found.add(f"{seen[circle[0]].path}.after", circle[1], "after.circle", message, "remove one of them")


def _after(found: Findings, member: _Named, known: dict[str, _Named], kind: str) -> None:
    found.count(f"{member.path}.after", member.after, 64)
    for index, name in enumerate(member.after):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            others = ", ".join(sorted(n for n in known if n != member.name)[:8])
            hint = f"did you mean {near[0]}?" if near else f"known are {others}" if others else "remove it"
            found.add(f"{member.path}.after[{index}]", name, "after.known", f"must be among the plan's {kind}", hint)

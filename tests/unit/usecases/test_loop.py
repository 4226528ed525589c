"""The event loop is not held: plans are judged and rendered on the pool's threads, never on the loop's own."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.faults import Problem
from k8s_execution.domain.plan import Specification
from k8s_execution.manifests.check import Checker
from k8s_execution.ports.cluster import Body
from k8s_execution.ports.manifests import Review
from k8s_execution.usecases import Limits, Parts, UseCases
from unit.usecases.made import NamesOnly, call


@dataclass
class Watched(NamesOnly, Checker):
    """Manifests and checker that note which thread they are asked on."""

    threads: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        Checker.__init__(self)

    def namespace(self, execution: Execution) -> Body:
        self.threads.add(threading.get_ident())
        return super().namespace(execution)

    def step(self, execution: Execution, key: StepKey) -> Body:
        self.threads.add(threading.get_ident())
        return super().step(execution, key)

    def prepare(
        self, specification: Specification, secrets: Mapping[str, str]
    ) -> tuple[Specification, Sequence[Problem]]:
        self.threads.add(threading.get_ident())
        return super().prepare(specification, secrets)

    def review(self, specification: Specification) -> Review:
        self.threads.add(threading.get_ident())
        return super().review(specification)


async def test_validate_judges_and_renders_beside_the_event_loop(parts: Parts) -> None:
    """Twelve objects took 10 ms, and the loop may be held for two."""
    watched = Watched()
    report = await UseCases(replace(parts, checker=watched, manifests=watched), Limits()).validate(call())
    assert report.objects
    assert watched.threads
    assert threading.get_ident() not in watched.threads


async def test_execute_judges_beside_the_event_loop(parts: Parts) -> None:
    """A large plan takes several milliseconds."""
    watched = Watched()
    await UseCases(replace(parts, checker=watched, manifests=watched), Limits()).execute(call())
    assert watched.threads
    assert threading.get_ident() not in watched.threads

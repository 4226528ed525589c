"""The hands: what an action creates and records, what a refusal and a silence become, and what is done only once."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from k8s_execution.domain import holding
from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.facts import EventFact
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import Application, CleanupPolicy, Policy, StepKind
from k8s_execution.domain.verdict import Code
from k8s_execution.engine import actions
from k8s_execution.engine.actuate import Actuator
from k8s_execution.engine.known import KnownRecords
from k8s_execution.ports.cluster import Refused, Unreachable
from k8s_execution.runtime.clock import SystemClock
from k8s_execution.runtime.threads import Threads
from support import build
from unit.engine.made import Creations, Engine, KindsOnly, Records

UNIT = StepKey(StepKind.SUITE, "unit")
FRESH: dict[str, object] = {
    "namespace_uid": "",
    "expires_at": None,
    "foundation_created": False,
    "applications_created": frozenset(),
}
FORBIDDEN = Refused(403, "Forbidden", "exceeded quota: environment")


@dataclass
class Started:
    """Operations that only note what was started."""

    names: list[tuple[str, bool]] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    def start(self, key: str, name: str, work: Callable[[int], Awaitable[None]], *, once: bool = False) -> None:
        self.names.append((name, once))

    def forget(self, key: str) -> None:
        self.forgotten.append(key)


@pytest.fixture
def threads() -> Iterator[Threads]:
    """The pool."""
    with ThreadPoolExecutor(2) as pool:
        yield Threads(pool)


def provisioning(**given: object) -> Execution:
    """An execution in PROVISIONING of which nothing exists yet."""
    spec = build.specification(applications=(Application("api", "api:1"),))
    return build.execution(spec, Phase.PROVISIONING, **{**FRESH, **given})


def engine(threads: Threads, execution: Execution, **answers: list[Exception]) -> Engine:
    """Stand-ins around one execution."""
    return Engine(threads, Records.of(execution), Creations(answers))


def hands(made: Engine, operations: Started | None = None, most_held: int = 1) -> Actuator:
    """The actuator over them."""
    tools = made.tools(most_held)
    return Actuator(tools, cast(Any, operations or Started()), KnownRecords(tools.store, SystemClock()))


async def test_the_namespace_and_what_the_api_server_says_of_it_are_recorded(threads: Threads) -> None:
    """The TTL begins when the API server made it, by its clock."""
    execution = provisioning()
    made = engine(threads, execution)
    await hands(made).run(execution, [actions.CreateNamespace()])
    stored = made.store.executions[execution.id]
    born = build.START + build.SECOND
    assert (stored.namespace_uid, stored.namespace_created_at) == ("Namespace-uid", born)
    assert stored.expires_at == born + execution.specification.policy.ttl_ms * 1000


async def test_the_services_own_rights_come_before_everything_that_needs_them(threads: Threads) -> None:
    """The rest of the foundation goes out together."""
    execution = provisioning()
    made = engine(threads, execution)
    made.manifests = KindsOnly(with_access=True)
    await hands(made).run(execution, [actions.CreateFoundation()])
    assert made.cluster.created[0] == "RoleBinding"
    assert set(made.cluster.created[1:]) == {"ResourceQuota", "Secret"}
    assert made.store.executions[execution.id].foundation_created


async def test_refused_rights_end_it_before_anything_else_is_made(threads: Threads) -> None:
    """The refusal is the execution's failure."""
    execution = provisioning()
    made = engine(threads, execution, RoleBinding=[Refused(403, "Forbidden", "may not bind")])
    made.manifests = KindsOnly(with_access=True)
    await hands(made).run(execution, [actions.CreateFoundation()])
    stored = made.store.executions[execution.id]
    assert made.cluster.created == ["RoleBinding"]
    assert (stored.foundation_created, stored.failure and stored.failure.code) == (False, Code.REFUSED)


async def test_applications_that_may_be_made_are_recorded_in_one_write(threads: Threads) -> None:
    """Each write wakes the loop, is told as an event, and costs a sync of the disk."""
    execution = provisioning()
    made = engine(threads, execution)
    told: list[str] = []
    made.store.subscribe(told.append)
    await hands(made).run(execution, [actions.CreateApplications(("api", "web"))])
    assert made.store.executions[execution.id].applications_created == {"api", "web"}
    assert told == [execution.id]


async def test_what_one_application_meets_does_not_hide_that_the_other_was_made(threads: Threads) -> None:
    """A silent API server at one of two: the other is recorded, and the silence is told."""
    execution = provisioning()
    made = engine(threads, execution, Deployment=[Unreachable("no answer")])
    with pytest.raises(Unreachable):
        await hands(made).run(execution, [actions.CreateApplications(("api", "web"))])
    assert len(made.store.executions[execution.id].applications_created) == 1


async def test_a_refusal_is_the_executions_failure(threads: Threads) -> None:
    """With the API server's words and the object; nothing is recorded as created."""
    execution = provisioning()
    made = engine(threads, execution, Deployment=[FORBIDDEN])
    await hands(made).run(execution, [actions.CreateApplications(("api",))])
    stored = made.store.executions[execution.id]
    assert stored.failure is not None
    assert (stored.failure.code, stored.failure.object) == (Code.QUOTA_EXCEEDED, "deployment/api")
    assert stored.failure.message == FORBIDDEN.message
    assert stored.applications_created == frozenset()


async def test_a_namespace_that_went_meanwhile_is_told_so(threads: Threads) -> None:
    """404 after provisioning: somebody deleted it."""
    execution = build.execution(phase=Phase.TESTING)
    made = engine(threads, execution, Job=[Refused(404, "NotFound", "namespaces not found")])
    await hands(made).run(execution, [actions.StartStep(UNIT)])
    failure = made.store.executions[execution.id].failure
    assert failure is not None
    assert failure.code is Code.NAMESPACE_LOST


async def test_a_silent_api_server_leaves_nothing_recorded_and_is_asked_again(threads: Threads) -> None:
    """What one action met does not keep the others from being carried out; repeating all of it is harmless."""
    execution = provisioning()
    made = engine(threads, execution, ResourceQuota=[Unreachable("no answer")])
    both: list[actions.Action] = [actions.CreateFoundation(), actions.CreateApplications(("api",))]
    with pytest.raises(Unreachable):
        await hands(made).run(execution, both)
    stored = made.store.executions[execution.id]
    assert (stored.failure, stored.foundation_created) == (None, False)
    assert stored.applications_created == {"api"}
    await hands(made).run(stored, both)
    assert made.store.executions[execution.id].foundation_created


async def test_a_step_is_created_once_a_process(threads: Threads) -> None:
    """A repeated POST would be answered with 409 and is spared; after it was forgotten it is sent again."""
    execution = build.execution(phase=Phase.TESTING)
    made = engine(threads, execution, Job=[Unreachable("no answer")])
    actuator = hands(made)
    with pytest.raises(Unreachable):
        await actuator.run(execution, [actions.StartStep(UNIT)])
    for _ in range(3):
        await actuator.run(execution, [actions.StartStep(UNIT)])
    assert made.cluster.created == ["Job", "Job"]
    actuator.forget(execution.id)
    await actuator.run(execution, [actions.StartStep(UNIT)])
    assert made.cluster.created == ["Job", "Job", "Job"]


async def test_long_actions_run_beside_the_loop(threads: Threads) -> None:
    """Each under a name of its own; a stop is sent once."""
    execution, pod, operations = build.execution(phase=Phase.TESTING), build.step_pod(), Started()
    made = engine(threads, execution)
    wanted: list[actions.Action] = [
        actions.SendSource(UNIT, pod), actions.StopStep(UNIT, pod), actions.CollectStep(UNIT, pod),
        actions.ReleaseStep(UNIT, pod), actions.SealEvidence(), actions.DeleteWorkload(), actions.DeleteNamespace(),
    ]  # fmt: skip
    await hands(made, operations).run(execution, wanted)
    assert len({name for name, _ in operations.names}) == len(wanted)
    assert [name for name, once in operations.names if once] == [f"stop {UNIT}"]


async def test_events_are_kept_by_their_owner(threads: Threads) -> None:
    """A new answer about one owner replaces only its own."""
    execution = provisioning()
    made = engine(threads, execution)
    event = EventFact("e1", "Job", "j", "a", "Warning", "FailedCreate", "why", 1, build.START, build.START)
    other = replace(event, uid="e2", involved_uid="b")
    made.cluster.events_of = {"a": (event,), "b": (other,)}
    actuator = hands(made)
    await actuator.run(execution, [actions.FetchEvents("a"), actions.FetchEvents("b")])
    made.cluster.events_of["a"] = ()
    await actuator.run(execution, [actions.FetchEvents("a")])
    assert actuator.events(execution.id) == (other,)


@pytest.mark.parametrize(("taken", "place"), [(0, holding.Place.HELD), (1, holding.Place.NONE)])
async def test_an_environment_is_held_only_where_a_place_is_left(
    threads: Threads, taken: int, place: holding.Place
) -> None:
    """The store counts in the transaction that gives the place."""
    spec = build.specification(policy=Policy(cleanup=CleanupPolicy.ON_SUCCESS))
    execution = build.execution(spec, Phase.CLEANING)
    made = engine(threads, execution)
    made.store.taken = taken
    await hands(made, most_held=1).run(execution, [actions.Hold(build.START + build.SECOND)])
    assert holding.place(made.store.executions[execution.id]) is place


async def test_what_is_done_is_forgotten(threads: Threads) -> None:
    """Follows, operations and what was noted."""
    execution, operations = build.execution(phase=Phase.DONE), Started()
    made = engine(threads, execution)
    await hands(made, operations).run(execution, [actions.Finish()])
    assert (made.logs.forgotten, operations.forgotten) == ([execution.id], [execution.id])


async def test_manifests_are_rendered_beside_the_event_loop(threads: Threads) -> None:
    """A foundation alone takes more than the loop may be held for."""
    execution = provisioning()
    made = engine(threads, execution)
    wanted: list[actions.Action] = [actions.CreateNamespace(), actions.CreateFoundation()]
    await hands(made).run(execution, [*wanted, actions.CreateApplications(("api",)), actions.StartStep(UNIT)])
    assert made.manifests.threads
    assert threading.get_ident() not in made.manifests.threads

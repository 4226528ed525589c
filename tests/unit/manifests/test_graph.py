"""The order of a plan: who waits for whom, with the defaults put in."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from k8s_execution.domain import graph
from k8s_execution.domain.plan import Application, Environment, ImageSource, Specification, Step, StepKind, TestPlan

NAMES = ("a", "b", "c", "d")


def hook(name: str, after: tuple[str, ...] | None = None, kind: StepKind = StepKind.SETUP) -> Step:
    return Step(name, kind, "busybox", ("true",), after=after)


def plan(
    applications: dict[str, tuple[str, ...]] | None = None,
    setup: tuple[Step, ...] = (),
    suites: tuple[Step, ...] = (),
    teardown: tuple[Step, ...] = (),
) -> Specification:
    apps = tuple(Application(name, "busybox", after=after) for name, after in (applications or {}).items())
    return Specification("plan", TestPlan(ImageSource(), suites, setup, teardown), Environment(applications=apps))


def test_a_hook_that_an_application_waits_for_runs_while_provisioning() -> None:
    order = graph.build(plan({"api": ("migrate",), "db": ()}, (hook("migrate", ("db",)), hook("seed"))))
    assert order.applications == {"api": {"migrate"}, "db": set()}
    assert order.provisioning_hooks == {"migrate": {"db"}}
    assert order.setup == {"seed": set()}


def test_a_hook_that_only_another_awaited_hook_waits_for_runs_while_provisioning_too() -> None:
    order = graph.build(plan({"api": ("migrate",)}, (hook("migrate", ("wait",)), hook("wait"))))
    assert order.provisioning_hooks == {"migrate": {"wait"}, "wait": set()}
    assert not order.setup


def test_setup_hooks_run_in_the_order_written_unless_they_say_otherwise() -> None:
    order = graph.build(plan(setup=(hook("a"), hook("b"), hook("c", ()))))
    assert order.setup == {"a": set(), "b": {"a"}, "c": set()}


def test_a_hook_in_setup_does_not_wait_for_what_provisioning_made_ready() -> None:
    order = graph.build(plan({"api": ()}, (hook("seed", ("api",)),)))
    assert order.setup == {"seed": set()}


def test_a_default_closes_no_circle() -> None:
    order = graph.build(plan(setup=(hook("a", ("c",)), hook("b"), hook("c"))))
    assert order.setup == {"a": {"c"}, "b": {"a"}, "c": set()}


def test_suites_wait_for_suites_only_and_for_nothing_by_default() -> None:
    suites = (hook("a", None, StepKind.SUITE), hook("b", ("a", "api"), StepKind.SUITE))
    assert graph.build(plan({"api": ()}, suites=suites)).suites == {"a": set(), "b": {"a"}}


def test_teardown_hooks_run_in_the_order_written() -> None:
    teardown = (hook("a", None, StepKind.TEARDOWN), hook("b", None, StepKind.TEARDOWN))
    assert graph.build(plan(teardown=teardown)).teardown == {"a": set(), "b": {"a"}}


def test_a_circle_is_named_from_its_first_member_round() -> None:
    assert graph.cycle({"x": ("a",), "a": ("b",), "b": ("c",), "c": ("a",)}) == ("a", "b", "c", "a")
    assert graph.cycle({"a": ("a",)}) == ("a", "a")


def test_unknown_names_and_diamonds_are_no_circle() -> None:
    assert graph.cycle({"a": ("b", "c"), "b": ("d",), "c": ("d", "nobody"), "d": ()}) == ()


AFTER = st.none() | st.lists(st.sampled_from(NAMES), max_size=3, unique=True).map(tuple)


@settings(deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(NAMES, AFTER)))
def test_defaults_never_make_a_circle_where_the_plan_has_none(after: dict[str, tuple[str, ...] | None]) -> None:
    explicit = {name: waits or () for name, waits in after.items()}
    order = graph.build(plan(setup=tuple(hook(name, waits) for name, waits in after.items())))
    assert bool(graph.cycle(order.setup)) == bool(graph.cycle(explicit))

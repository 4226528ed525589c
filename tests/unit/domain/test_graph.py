"""Who waits for whom, with the defaults put in."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.domain.graph import build as build_graph
from k8s_execution.domain.graph import cycle
from k8s_execution.domain.plan import Application, StepKind
from support import build

NAMES = "abcdef"
WAITS = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=3), max_size=6)
AFTER = st.none() | st.lists(st.sampled_from(NAMES), max_size=2).map(tuple)


def app(name: str, *after: str) -> Application:
    """An application that waits."""
    return Application(name, f"{name}:1", after=after)


def test_applications_and_suites_wait_for_nothing_by_default() -> None:
    """All start at once."""
    graph = build_graph(build.specification(build.suite("a"), build.suite("b"), applications=(app("x"), app("y"))))
    assert graph.applications == {"x": frozenset(), "y": frozenset()}
    assert graph.suites == {"a": frozenset(), "b": frozenset()}


def test_setup_hooks_run_in_the_order_written() -> None:
    """Each after all before it; an empty `after` means as soon as possible."""
    graph = build_graph(
        build.specification(build.hook("a"), build.hook("b"), build.hook("c", after=()), build.hook("d", after=("a",)))
    )
    assert graph.setup == {"a": frozenset(), "b": frozenset("a"), "c": frozenset(), "d": frozenset("a")}
    assert graph.provisioning_hooks == {}


def test_teardown_hooks_run_in_the_order_written() -> None:
    """By the same rule."""
    graph = build_graph(
        build.specification(build.suite(), build.hook("a", StepKind.TEARDOWN), build.hook("b", StepKind.TEARDOWN))
    )
    assert graph.teardown == {"a": frozenset(), "b": frozenset("a")}


def test_a_hook_that_an_application_waits_for_is_provisioning() -> None:
    """Directly or through another hook; it waits for nothing by default."""
    spec = build.specification(
        build.hook("late"),
        build.hook("migrate", after=("prepare",)),
        build.hook("prepare"),
        build.suite(),
        applications=(app("db"), app("api", "db", "migrate")),
    )
    graph = build_graph(spec)
    assert graph.provisioning_hooks == {"migrate": frozenset({"prepare"}), "prepare": frozenset()}
    assert graph.applications == {"db": frozenset(), "api": frozenset({"db", "migrate"})}
    assert graph.setup == {"late": frozenset()}


def test_a_default_closes_no_circle() -> None:
    """What is written before but waits for a hook is not waited for by it."""
    graph = build_graph(build.specification(build.hook("a", after=("b",)), build.hook("b")))
    assert graph.setup == {"a": frozenset("b"), "b": frozenset()}


def test_unknown_names_are_left_out() -> None:
    """They are reported by the checks, and must not hold an execution up."""
    graph = build_graph(build.specification(build.suite(after=("nobody",)), applications=(app("x", "nobody"),)))
    assert graph.applications == {"x": frozenset()}
    assert graph.suites == {"unit": frozenset()}


@given(st.lists(AFTER, min_size=1, max_size=6))
def test_defaults_never_make_a_circle_of_a_plan_without_one(afters: list[tuple[str, ...] | None]) -> None:
    """Whatever the explicit waits are."""
    hooks = [build.hook(name, after=after) for name, after in zip(NAMES, afters, strict=False)]
    explicit = {h.name: tuple(h.after or ()) for h in hooks}
    graph = build_graph(build.specification(*hooks, build.suite()))
    assert bool(cycle(graph.setup)) is bool(cycle(explicit))


@given(WAITS)
def test_a_circle_is_shown_as_it_is(waits: dict[str, list[str]]) -> None:
    """Each name waits for the next, the last is the first; none is reported only if all can be worked off."""
    circle = cycle(waits)
    if circle:
        assert circle[0] == circle[-1]
        assert len(circle) >= 2
        assert all(b in waits[a] for a, b in pairwise(circle))
        return
    done: set[str] = set()
    while ready := [
        n for n, after in waits.items() if n not in done and all(a in done or a not in waits for a in after)
    ]:
        done.update(ready)
    assert done == set(waits)


def test_a_name_that_waits_for_itself_is_a_circle() -> None:
    """The smallest one."""
    assert cycle({"a": ["a"]}) == ("a", "a")

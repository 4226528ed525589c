"""Facts by execution, and who is told."""

from __future__ import annotations

from k8s_execution.domain.facts import JobFact
from k8s_execution.kube.cache import FactCache


def job(name: str, execution: str = "e", active: int = 0) -> JobFact:
    """A fact that differs by `active`."""
    return JobFact("n", name, "u-" + name, execution, created_at=1, active=active)


def test_listeners_hear_of_changes_only() -> None:
    """The same fact again is no news."""
    heard: list[str] = []
    cache: FactCache[JobFact] = FactCache(heard.append)
    cache.put(("n", "a"), job("a"))
    cache.put(("n", "a"), job("a"))
    cache.put(("n", "a"), job("a", active=1))
    cache.drop(("n", "a"))
    cache.drop(("n", "a"))
    assert heard == ["e", "e", "e"]


def test_what_vanished_is_found() -> None:
    """A relist needs it to synthesise deletions."""
    cache: FactCache[JobFact] = FactCache(lambda _: None)
    for name in "abc":
        cache.put(("n", name), job(name, execution=name))
    assert cache.missing({("n", "a"), ("n", "c"), ("n", "new")}) == [("n", "b")]
    cache.drop(("n", "b"))
    assert cache.of("b") == () and len(cache) == 2


def test_an_object_that_changes_its_execution_moves() -> None:
    """Both executions hear of it."""
    heard: list[str] = []
    cache: FactCache[JobFact] = FactCache(heard.append)
    cache.put(("n", "a"), job("a", execution="x"))
    cache.put(("n", "a"), job("a", execution="y"))
    assert heard == ["x", "x", "y"]
    assert cache.of("x") == () and len(cache.of("y")) == 1


def test_facts_come_oldest_first() -> None:
    """By creation, then by name."""
    cache: FactCache[JobFact] = FactCache(lambda _: None)
    for name, created in (("b", 2), ("c", 1), ("a", 2)):
        cache.put(("n", name), JobFact("n", name, name, "e", created_at=created))
    assert [f.name for f in cache.of("e")] == ["c", "a", "b"]
    assert cache.all() != ()

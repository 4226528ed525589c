"""The fingerprint of a request: the same for the same meaning, another for another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k8s_execution.domain.fingerprint import fingerprint
from k8s_execution.domain.plan import ConfigFile, InlineSource, Policy, Specification
from support import build

SPEC = build.specification()


def test_it_is_a_sha256_and_stable() -> None:
    """Equal values made apart have one fingerprint."""
    assert fingerprint(SPEC, {}) == fingerprint(build.specification(), {})
    assert len(fingerprint(SPEC, {})) == 64


def test_the_order_of_maps_means_nothing() -> None:
    """Labels and secrets are maps."""
    first = replace(SPEC, labels={"a": "1", "b": "2"})
    second = replace(SPEC, labels={"b": "2", "a": "1"})
    assert fingerprint(first, {"X": "1", "Y": "2"}) == fingerprint(second, {"Y": "2", "X": "1"})


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, name="other"),
        replace(SPEC, labels={"a": "1"}),
        replace(SPEC, policy=Policy(priority=1)),
        build.specification(build.suite("other")),
        build.specification(source=InlineSource((ConfigFile("a", "b"),))),
        build.specification(build.suite(command=("a", "b"))),
        build.specification(build.suite(command=("a b",))),
        build.specification(build.suite(after=())),
    ],
)
def test_another_meaning_is_another_fingerprint(other: Specification) -> None:
    """Every field counts; `after` unset and `after` empty differ."""
    assert fingerprint(other, {}) != fingerprint(SPEC, {})


def test_secret_values_count_and_do_not_show() -> None:
    """They enter as a hash only."""
    made = [fingerprint(SPEC, secrets) for secrets in ({}, {"T": "hunter22"}, {"T": "hunter23"}, {"U": "hunter22"})]
    assert len(set(made)) == 4
    assert not any("hunter" in m for m in made)

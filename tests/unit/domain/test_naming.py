"""Names on Kubernetes objects: always valid, always the same, never two for one or one for two."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.domain import naming
from k8s_execution.domain.execution import StepKey
from k8s_execution.domain.plan import StepKind

LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
"""k8s.io/apimachinery/pkg/util/validation.IsValidLabelValue."""
NAME = st.from_regex(naming.DNS_LABEL, fullmatch=True)
KEY = st.builds(StepKey, st.sampled_from(StepKind), NAME, st.integers(0, 999), st.integers(1, 99))


def test_an_execution_id_is_fresh_and_fits_a_namespace() -> None:
    """26 characters, never twice, and the namespace with the default prefix is a DNS label."""
    ids = {naming.new_execution_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"[a-z0-9]{26}", i) for i in ids)
    assert all(naming.is_dns_label(naming.namespace("quality-fabric", i)) for i in ids)


@given(KEY)
def test_a_jobs_name_leaves_room_for_its_pods(key: StepKey) -> None:
    """A DNS label of at most 57 characters."""
    name = naming.job(key)
    assert naming.is_dns_label(name)
    assert len(name) <= 57


@given(KEY, KEY)
def test_two_tries_have_two_names(first: StepKey, second: StepKey) -> None:
    """And one try has one."""
    assert (naming.job(first) == naming.job(second)) is (first == second)


def test_long_names_that_begin_alike_differ() -> None:
    """By the hash of the whole key."""
    names = [naming.job(StepKey(StepKind.SUITE, "a" * 40 + c)) for c in "xy"]
    assert names[0] != names[1]


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a_b", "a.b", "a" * 64, "a\n", "ä", "a b"])
def test_what_is_no_dns_label_is_refused(text: str) -> None:
    """RFC 1123, ASCII only, no trailing newline."""
    assert not naming.is_dns_label(text)


@pytest.mark.parametrize("text", ["a", "0", "a-b", "a" * 63])
def test_a_dns_label_is_one(text: str) -> None:
    """From 1 to 63 characters."""
    assert naming.is_dns_label(text)


@given(st.text())
def test_any_text_becomes_a_label_value(text: str) -> None:
    """Kubernetes takes it."""
    value = naming.label_value(text)
    assert LABEL_VALUE.fullmatch(value)
    assert len(value) <= 63


@given(st.from_regex(LABEL_VALUE, fullmatch=True).filter(lambda t: len(t) <= 63))
def test_a_label_value_stays_as_it_is(text: str) -> None:
    """Nothing is changed without need."""
    assert naming.label_value(text) == text


@given(NAME)
def test_an_environment_prefix_is_a_variable_name(name: str) -> None:
    """Upper case, with `_` for `-`."""
    assert re.fullmatch(r"[A-Z0-9_]+", naming.env_prefix(name))

"""Records and events as values: nothing is lost on the way to the rows and back; pure functions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.domain.execution import StepKey
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import StepKind
from k8s_execution.domain.testcase import TestCase, TestStatus
from k8s_execution.domain.verdict import Verdict
from k8s_execution.ports.store import EventType
from k8s_execution.store import diff, records
from support import build
from unit.store.made import execution

NAME = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
KEYS = st.builds(StepKey, st.sampled_from(StepKind), NAME, st.integers(0, 99), st.integers(1, 9))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(KEYS)
def test_a_step_key_survives_its_column(key: StepKey) -> None:
    assert records.step_key(records.step_text(key)) == key


@given(st.builds(TestCase, TEXT, TEXT, TEXT, st.sampled_from(TestStatus), st.floats(0, 1e9), TEXT, TEXT, TEXT))
def test_a_test_case_survives_its_row(case: TestCase) -> None:
    assert records.case(records.case_row("e", StepKey(StepKind.SUITE, "s"), 0, case)) == case


@given(TEXT, st.dictionaries(TEXT, TEXT, max_size=3), st.lists(TEXT, max_size=3), st.sampled_from(Phase))
def test_an_execution_survives_its_two_texts(
    name: str, labels: dict[str, str], warnings: list[str], phase: Phase
) -> None:
    specification = replace(build.specification(), name=name, labels=labels)
    before = execution(specification=specification, warnings=tuple(warnings), phase=phase, entered={phase: 7})
    row = records.new_row(before)
    assert "specification" not in row["record"]
    assert records.from_json(row["specification"], row["record"]) == before


def test_a_very_large_plan_is_read_without_the_cache() -> None:
    before = execution(specification=replace(build.specification(), labels={"k": "x" * 100_000}))
    row = records.new_row(before)
    assert records.from_json(row["specification"], row["record"]) == before


@pytest.mark.parametrize(
    ("phase", "hold_until", "cleanup", "held"),
    [
        (Phase.CLEANING, 5, False, 1),
        (Phase.CLEANING, 5, True, 0),
        (Phase.CLEANING, None, False, 0),
        (Phase.TESTING, 5, False, 0),
    ],
)
def test_only_what_is_kept_to_look_at_is_held(phase: Phase, hold_until: int | None, cleanup: bool, held: int) -> None:
    row = records.execution_row(execution(phase=phase, hold_until=hold_until, cleanup_requested=cleanup))
    assert row["held"] == held


def test_the_verdict_is_told_before_the_phase() -> None:
    before = execution(phase=Phase.COLLECTING)
    after = replace(before, phase=Phase.CLEANING, verdict=Verdict.PASSED)
    assert diff.event_type(before, after) is EventType.VERDICT


def test_another_owner_is_no_event() -> None:
    before = execution()
    assert diff.event_type(before, replace(before, owner="other", epoch=2, revision=9)) is None

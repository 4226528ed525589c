"""Records as JSON and back: nothing is lost, and what another version wrote can be read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from k8s_execution.domain.encoding import decode, encode
from k8s_execution.domain.execution import (
    Cluster,
    ClusterKind,
    Evidence,
    Execution,
    ResolvedImage,
    StepKey,
    StepPhase,
    StepState,
)
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import (
    Application,
    BundleSource,
    CleanupPolicy,
    ConfigFile,
    EgressRule,
    Environment,
    ImageSource,
    InlineSource,
    Policy,
    Port,
    Quota,
    Readiness,
    ReadinessKind,
    Resources,
    Security,
    Specification,
    Step,
    StepKind,
    Strategy,
    SuiteType,
    TestPlan,
    Volume,
)
from k8s_execution.domain.testcase import TestCase, TestCounts, TestStatus
from k8s_execution.domain.verdict import Code, Diagnosis, Verdict
from support import build

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TEXTS = st.lists(TEXT, max_size=2).map(tuple)
PAIRS = st.dictionaries(TEXT, TEXT, max_size=2)
TIME = st.integers(0, 2**53)
COUNT = st.integers(0, 2**31)


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """A value or None."""
    return st.none() | strategy


def some(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    """Up to two values."""
    return st.lists(strategy, max_size=2).map(tuple)


FILE = st.builds(ConfigFile, TEXT, TEXT)
SOURCE = st.builds(BundleSource, TEXT) | st.builds(InlineSource, some(FILE)) | st.just(ImageSource())
RESOURCES = st.builds(Resources, TEXT, TEXT, TEXT, TEXT, TEXT)
READINESS = st.builds(Readiness, st.sampled_from(ReadinessKind), COUNT, TEXT, TEXTS, TEXT, COUNT, COUNT, COUNT)
APPLICATION = st.builds(
    Application,
    name=TEXT,
    image=TEXT,
    command=TEXTS,
    ports=some(st.builds(Port, TEXT, COUNT)),
    env=PAIRS,
    readiness=maybe(READINESS),
    resources=RESOURCES,
    volumes=some(st.builds(Volume, TEXT, TEXT, TEXT)),
    security=st.builds(Security, maybe(COUNT), st.booleans()),
    after=TEXTS,
)
STEP = st.builds(
    Step,
    name=TEXT,
    kind=st.sampled_from(StepKind),
    image=TEXT,
    command=TEXTS,
    install=some(TEXTS),
    env=PAIRS,
    resources=RESOURCES,
    timeout_ms=maybe(COUNT),
    after=maybe(TEXTS),
    suite_type=maybe(st.sampled_from(SuiteType)),
    optional=st.booleans(),
)
ENVIRONMENT = st.builds(
    Environment,
    env=PAIRS,
    secrets=TEXTS,
    files=some(FILE),
    applications=some(APPLICATION),
    egress=some(st.builds(EgressRule, TEXT, some(COUNT))),
    quota=st.builds(Quota, maybe(TEXT), maybe(TEXT), maybe(COUNT), maybe(TEXT)),
)
SPECIFICATION = st.builds(
    Specification,
    name=TEXT,
    test_plan=st.builds(
        TestPlan, SOURCE, some(STEP), some(STEP), some(STEP), st.builds(Strategy, COUNT, st.booleans())
    ),
    environment=ENVIRONMENT,
    policy=st.builds(Policy, timeout_ms=COUNT, cleanup=st.sampled_from(CleanupPolicy), priority=st.integers(-9, 9)),
    labels=PAIRS,
    parameters=PAIRS,
)
VERDICT = maybe(st.sampled_from(Verdict))
DIAGNOSIS = maybe(st.builds(Diagnosis, st.sampled_from(Code), TEXT, TEXT, TEXT, TEXT))
COUNTS = st.builds(TestCounts, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT)
STATE = st.builds(
    StepState,
    key=st.builds(StepKey, st.sampled_from(StepKind), TEXT, COUNT, COUNT),
    phase=st.sampled_from(StepPhase),
    verdict=VERDICT,
    diagnosis=DIAGNOSIS,
    exit_code=maybe(st.integers(-64, 255)),
    pod=TEXT,
    source_sent=st.booleans(),
    tests=maybe(COUNTS),
    started_at=maybe(TIME),
)
EXECUTION = st.builds(
    Execution,
    id=TEXT,
    specification=SPECIFICATION,
    namespace=TEXT,
    cluster=st.builds(Cluster, st.sampled_from(ClusterKind), TEXT, TEXT),
    phase=st.sampled_from(Phase),
    steps=some(STATE),
    verdict=VERDICT,
    failure=DIAGNOSIS,
    cancel_requested=st.booleans(),
    namespace_created_at=maybe(TIME),
    applications_created=st.frozensets(TEXT, max_size=3),
    evidence=maybe(st.builds(Evidence, TIME, TIME, TIME, TEXT, TEXTS)),
    tests=COUNTS,
    images=some(st.builds(ResolvedImage, TEXT, TEXT, TEXT)),
    warnings=TEXTS,
    gaps=TEXTS,
    entered=st.dictionaries(st.sampled_from(Phase), TIME, max_size=3),
    hold_until=maybe(TIME),
    sequence=COUNT,
    revision=COUNT,
    epoch=COUNT,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(EXECUTION)
def test_an_execution_survives_json(execution: Execution) -> None:
    """Every field, through real JSON text, equal in value and in type."""
    again = decode(Execution, json.loads(json.dumps(encode(execution))))
    assert again == execution
    assert repr(again) == repr(replace(execution, applications_created=again.applications_created))


@given(st.builds(TestCase, TEXT, TEXT, TEXT, st.sampled_from(TestStatus), st.floats(0, 1e6), TEXT, TEXT, TEXT))
def test_a_test_case_survives_json(case: TestCase) -> None:
    """With its duration."""
    assert decode(TestCase, json.loads(json.dumps(encode(case)))) == case


def test_defaults_are_left_out() -> None:
    """A record is small."""
    assert encode(Policy()) == {"@": "Policy"}
    assert encode(Policy(priority=1)) == {"@": "Policy", "priority": 1}


def test_unknown_keys_are_passed_over() -> None:
    """What a newer replica wrote can be read, at every depth."""
    data = encode(build.execution())
    data["of_the_future"] = {"@": "Future", "x": [1]}
    data["specification"]["policy"] = {"@": "Policy", "priority": 3, "mood": "good"}
    data["steps"][0]["colour"] = "blue"
    spec = build.specification(policy=Policy(priority=3))
    assert decode(Execution, data) == build.execution(spec)


def test_missing_keys_take_the_default() -> None:
    """What an older version wrote can be read."""
    data = encode(build.execution(warnings=("a",)))
    del data["warnings"]
    assert decode(Execution, data) == build.execution()


@pytest.mark.parametrize("source", [BundleSource("b-1"), InlineSource((ConfigFile("a", "b"),)), ImageSource()])
def test_a_union_is_told_by_its_tag(source: BundleSource | InlineSource | ImageSource) -> None:
    """Each member comes back as itself."""
    spec = build.specification(source=source)
    assert decode(Specification, encode(spec)).test_plan.source == source


def test_an_unknown_member_of_a_union_is_refused() -> None:
    """There is no way to guess what it means."""
    data = encode(build.specification())
    data["test_plan"]["source"] = {"@": "TelepathySource"}
    with pytest.raises(ValueError, match="TelepathySource"):
        decode(Specification, data)


@pytest.mark.parametrize("value", [{"phase": "ASLEEP"}, {"id": "x", "phase": "ASLEEP"}])
def test_an_unknown_enum_value_is_refused(value: dict[str, str]) -> None:
    """A phase that this version does not know cannot be worked on."""
    with pytest.raises((ValueError, TypeError)):
        decode(Execution, {**encode(build.execution()), **value})


def test_a_missing_required_key_is_refused() -> None:
    """A record without its id is none."""
    data = encode(build.execution())
    del data["id"]
    with pytest.raises(TypeError, match="id"):
        decode(Execution, data)

"""How a step's verdict is drawn from the agent's record, the container's status and the report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k8s_execution.domain.agent_record import AgentRecord, AgentStage
from k8s_execution.domain.facts import ContainerFact, ContainerState
from k8s_execution.domain.plan import Step, StepKind, SuiteType
from k8s_execution.domain.suites import RULES
from k8s_execution.domain.testcase import TestCounts
from k8s_execution.domain.verdict import Code, Verdict
from k8s_execution.engine.outcome import BROKEN_HINTS, Evidence, is_explained, judge
from support import build

RAN = AgentRecord(AgentStage.COMMAND, 0)
GREEN = TestCounts(3, 3)
RED = TestCounts(3, 2, 1)
CUSTOM = build.suite(suite_type=SuiteType.CUSTOM, command=("sh", "-c", "true"))


def ended(exit_code: int, reason: str = "Error") -> ContainerFact:
    """A terminated step container."""
    return build.container(state=ContainerState.TERMINATED, exit_code=exit_code, reason=reason)


@pytest.mark.parametrize(
    ("step", "record", "container", "counts", "reports", "code"),
    [
        (build.suite(), RAN, ended(0), GREEN, 1, None),
        (build.suite(), replace(RAN, exit_code=1), ended(1), RED, 1, Code.TESTS_FAILED),
        (build.suite(), replace(RAN, exit_code=1), ended(1), TestCounts(), 0, Code.REPORT_MISSING),
        (build.suite(), RAN, ended(0), TestCounts(), 0, Code.REPORT_MISSING),
        (build.suite(), replace(RAN, exit_code=2), ended(2), RED, 1, Code.TESTS_BROKEN),
        (build.suite(), replace(RAN, exit_code=4), ended(4), TestCounts(), 0, Code.TESTS_BROKEN),
        (build.suite(), replace(RAN, exit_code=5), ended(5), TestCounts(), 1, Code.NO_TESTS),
        (build.suite(), replace(RAN, exit_code=77), ended(77), GREEN, 1, Code.TESTS_BROKEN),
        (
            build.suite(),
            replace(RAN, exit_code=127, not_found="pytest"),
            ended(127),
            TestCounts(),
            0,
            Code.COMMAND_NOT_FOUND,
        ),
        (build.suite(), replace(RAN, exit_code=124, timed_out=True), ended(124), TestCounts(), 0, Code.TIMEOUT_TESTS),
        (build.suite(), replace(RAN, exit_code=143, stopped=True), ended(143), TestCounts(), 0, Code.CANCELLED_BY_USER),
        (build.suite(), replace(RAN, exit_code=137, oom_kills=1), ended(137), TestCounts(), 0, Code.OUT_OF_MEMORY),
        (build.suite(), None, ended(137, "OOMKilled"), TestCounts(), 0, Code.OUT_OF_MEMORY),
        (build.suite(), None, ended(128, "StartError"), TestCounts(), 0, Code.COMMAND_NOT_FOUND),
        (build.suite(), None, ended(1), TestCounts(), 0, Code.POD_LOST),
        (
            build.suite(install=(("pip", "install", "x"),)),
            AgentRecord(AgentStage.INSTALL, 1),
            ended(1),
            TestCounts(),
            0,
            Code.INSTALL_FAILED,
        ),
        (
            build.suite(),
            AgentRecord(AgentStage.SOURCE, 125, error="no source"),
            ended(125),
            TestCounts(),
            0,
            Code.SOURCE_FAILED,
        ),
        (CUSTOM, RAN, ended(0), TestCounts(), 0, None),
        (CUSTOM, replace(RAN, exit_code=3), ended(3), TestCounts(), 0, Code.TESTS_FAILED),
        (CUSTOM, RAN, ended(0), RED, 1, Code.TESTS_FAILED),
        (CUSTOM, replace(RAN, exit_code=127), ended(127), TestCounts(), 0, Code.COMMAND_NOT_FOUND),
        (build.hook("h"), RAN, ended(0), TestCounts(), 0, None),
        (build.hook("h"), replace(RAN, exit_code=9), ended(9), TestCounts(), 0, Code.SETUP_FAILED),
        (
            build.hook("h", StepKind.TEARDOWN),
            replace(RAN, exit_code=9),
            ended(9),
            TestCounts(),
            0,
            Code.TEARDOWN_FAILED,
        ),
    ],
)
def test_cause(
    step: Step,
    record: AgentRecord | None,
    container: ContainerFact,
    counts: TestCounts,
    reports: int,
    code: Code | None,
) -> None:
    """Each way a step can end has its own cause; only the tests' own word is PASSED or TESTS_FAILED."""
    found = judge(Evidence(step, record, container, counts, reports))
    assert (found.diagnosis and found.diagnosis.code) == code
    assert (found.verdict is Verdict.PASSED) == (code is None)


def test_a_step_that_kills_its_first_process_is_not_cancelled() -> None:
    """Nobody cancelled: the plan cannot run as written."""
    stopped = replace(RAN, exit_code=143, stopped=True)
    found = judge(Evidence(build.suite(), stopped, ended(143), TestCounts(), 0, asked=False))
    assert found.diagnosis is not None
    assert found.diagnosis.code is Code.TESTS_BROKEN


def test_the_diagnosis_names_the_step_and_shows_the_end_of_its_output() -> None:
    """What a caller needs to see first."""
    found = judge(Evidence(build.suite(), replace(RAN, exit_code=1), ended(1), RED, 1, "E assert 1 == 2"))
    assert found.diagnosis is not None
    assert (found.diagnosis.object, found.diagnosis.excerpt) == ("suite/unit", "E assert 1 == 2")
    assert found.diagnosis.message == "1 of 3 tests failed"


@pytest.mark.parametrize(
    ("record", "container", "started", "explained"),
    [
        (RAN, ended(0), True, True),
        (None, ended(137, "OOMKilled"), True, True),
        (None, ended(128, "StartError"), False, True),
        (None, ended(137), True, False),
        (None, ended(137), False, False),
        (None, ended(0), True, False),
        (None, ended(0), False, True),
        (None, ended(125), False, False),
        (None, None, False, False),
    ],
)
def test_a_step_killed_without_a_record_is_not_explained(
    record: AgentRecord | None, container: ContainerFact | None, started: bool, explained: bool
) -> None:
    """Then the pod may be on its way out as a whole, which another look shows."""
    assert is_explained(record, container, started=started) is explained


@pytest.mark.parametrize("step", [build.suite(), CUSTOM, build.hook("prepare")])
def test_a_step_that_deletes_what_the_agent_keeps_is_the_plans_fault(step: Step) -> None:
    """The agent came to its own end, so nothing from outside ended it, and nobody but the step can delete there."""
    found = judge(Evidence(step, None, ended(0), TestCounts(), 0, started=False))
    assert (found.verdict, found.exit_code) == (Verdict.PLAN_FAILED, 0)
    assert found.diagnosis is not None
    assert "/k8s-execution" in found.diagnosis.message
    assert "WORK_DIR" in found.diagnosis.hint


def test_every_cause_of_broken_tests_has_a_way_out() -> None:
    """Whatever the table of suite types names."""
    assert {code for rule in RULES.values() for code in rule.broken.values()} <= set(BROKEN_HINTS)

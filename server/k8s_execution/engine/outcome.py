"""How a step ended: the agent's record, the container's status and the report's counts in, a judgement out. Pure.

Only what the tests themselves say is PASSED or TESTS_FAILED; everything else has a cause of its own (docs/contract).
"""

from __future__ import annotations

from dataclasses import dataclass

from k8s_execution.domain.agent_record import AgentRecord, AgentStage
from k8s_execution.domain.facts import ContainerFact
from k8s_execution.domain.plan import Step, StepKind
from k8s_execution.domain.quantity import format_duration
from k8s_execution.domain.suites import RULES
from k8s_execution.domain.testcase import TestCounts
from k8s_execution.domain.verdict import Code, Diagnosis, Verdict

EXIT_AGENT_TROUBLE = 125
EXIT_NOT_FOUND = 127
_SIGNALS = 128
"""From here on an exit code says which signal killed the process."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a step's verdict is drawn from. `output_tail` is the end of what it printed.

    `asked` says that the service asked the step to end: a cancellation, a failure elsewhere, fail_fast.
    `started` says whether the agent's start marker was found.
    """

    step: Step
    record: AgentRecord | None
    container: ContainerFact | None
    counts: TestCounts
    reports: int
    output_tail: str = ""
    asked: bool = True
    started: bool = True


@dataclass(frozen=True, slots=True)
class Judgement:
    """A step's verdict, its cause where it did not pass, and the exit code of its command if it ran."""

    verdict: Verdict
    diagnosis: Diagnosis | None = None
    exit_code: int | None = None


def judge(evidence: Evidence) -> Judgement:
    """The verdict of one try of one step."""
    exit_code = _exit_code(evidence)
    diagnosis = _before_command(evidence) or _of_command(evidence)
    if diagnosis is None:
        return Judgement(Verdict.PASSED, None, exit_code)
    return Judgement(diagnosis.verdict, diagnosis, exit_code)


def is_explained(record: AgentRecord | None, container: ContainerFact | None, *, started: bool) -> bool:
    """Whether a record, its container or its own deletions say how a step ended; else it was ended from outside."""
    own = container is not None and container.reason in _OWN_REASONS
    return record is not None or own or _was_wiped(container, started=started)


def _was_wiped(container: ContainerFact | None, *, started: bool) -> bool:
    """Whether the agent came to its own end and what it had written before is gone: only the step can have done it."""
    if started or container is None or container.exit_code is None:
        return False
    # With 125 it says that it could not even begin: its volume is full, or cannot be written.
    return container.exit_code < _SIGNALS and container.exit_code != EXIT_AGENT_TROUBLE


_NOT_STARTED = frozenset({"StartError", "ContainerCannotRun"})
_OWN_REASONS = _NOT_STARTED | {"OOMKilled"}


def _exit_code(evidence: Evidence) -> int | None:
    if evidence.record is not None:
        return evidence.record.exit_code
    return evidence.container.exit_code if evidence.container else None


def _where(evidence: Evidence) -> str:
    return f"{evidence.step.kind.lower()}/{evidence.step.name}"


BROKEN_HINTS = {
    Code.NO_TESTS: "pytest collects test_*.py: check source.local.path, exclude, .gitignore and the command's paths",
    Code.TESTS_BROKEN: "the end of the log says why; what cannot be imported must be in the image or in `install`",
}


def _found(evidence: Evidence, code: Code, message: str, hint: str = "") -> Diagnosis:
    return Diagnosis(code, message, _where(evidence), evidence.output_tail, hint)


def _before_command(evidence: Evidence) -> Diagnosis | None:
    """Causes that lie before or around the command: memory, time, cancellation, source, install, program missing."""
    record, container = evidence.record, evidence.container
    killed = container is not None and container.reason == "OOMKilled"
    if killed or (record is not None and record.oom_kills > 0 and record.exit_code != 0):
        limit = evidence.step.resources.memory_limit
        hint = f"raise resources.memory_limit (now {limit}) of {_where(evidence)}"
        return _found(evidence, Code.OUT_OF_MEMORY, f"killed for using more than its {limit} of memory", hint)
    if record is None:
        return _without_record(evidence)
    if record.stopped and not evidence.asked:
        message = "its first process was asked to end by a signal that the service did not send"
        return _found(evidence, Code.TESTS_BROKEN, message, "does something in the step kill process 1?")
    if record.stopped:
        return _found(evidence, Code.CANCELLED_BY_USER, "stopped before it ended")
    if record.timed_out:
        own = evidence.step.timeout_ms
        limit = f"its timeout of {format_duration(own)}" if own else "the plan's policy.timeout"
        return _found(evidence, Code.TIMEOUT_TESTS, f"ran longer than {limit}", "raise the limit, or split the step")
    if record.stage is AgentStage.SOURCE or (record.exit_code == EXIT_AGENT_TROUBLE and record.error):
        return _found(evidence, Code.SOURCE_FAILED, record.error or "the test code did not arrive in the pod")
    if record.not_found:
        hint = f"check the command against the image {evidence.step.image}"
        return _found(evidence, Code.COMMAND_NOT_FOUND, f"no program {record.not_found!r} in the image", hint)
    if record.stage is AgentStage.INSTALL:
        command = " ".join(evidence.step.install[record.install_index])
        message = f"install command {command!r} failed with exit code {record.exit_code}"
        return _found(evidence, Code.INSTALL_FAILED, message)
    return None


def _without_record(evidence: Evidence) -> Diagnosis:
    container = evidence.container
    if container is not None and container.reason in _NOT_STARTED:
        return _found(evidence, Code.COMMAND_NOT_FOUND, container.message or "the container could not be started")
    exit_code = container.exit_code if container else None
    if _was_wiped(container, started=evidence.started):
        message = f"how it ended is unknown (exit code {exit_code}): the agent's files in /k8s-execution were removed"
        hint = "something in the step deletes them; its own files are in WORK_DIR, REPORT_DIR and ARTIFACT_DIR"
        return _found(evidence, Code.TESTS_BROKEN, message, hint)
    return _found(evidence, Code.POD_LOST, f"the step left no record (container exit code {exit_code})")


def _of_command(evidence: Evidence) -> Diagnosis | None:
    assert evidence.record is not None
    exit_code = evidence.record.exit_code
    match evidence.step.kind:
        case StepKind.SUITE:
            return _of_suite(evidence, exit_code)
        case StepKind.SETUP | StepKind.TEARDOWN if exit_code != 0:
            code = Code.SETUP_FAILED if evidence.step.kind is StepKind.SETUP else Code.TEARDOWN_FAILED
            return _found(evidence, code, f"the hook failed with exit code {exit_code}", "see its log")
        case _:
            return None


def _of_suite(evidence: Evidence, exit_code: int) -> Diagnosis | None:
    assert evidence.step.suite_type is not None
    rule = RULES[evidence.step.suite_type]
    if exit_code in rule.broken:
        message = f"{evidence.step.suite_type} ended with exit code {exit_code}: {_PYTEST_EXIT[exit_code]}"
        return _found(evidence, rule.broken[exit_code], message, BROKEN_HINTS[rule.broken[exit_code]])
    if exit_code == EXIT_NOT_FOUND and not evidence.reports:
        return _found(evidence, Code.COMMAND_NOT_FOUND, "a shell in the command found no such program (exit code 127)")
    if rule.needs_report and not evidence.reports:
        message = f"exit code {exit_code} without a test report, which {evidence.step.suite_type} promises"
        hint = "is the test runner installed in the image, and does the command run it?"
        return _found(evidence, Code.REPORT_MISSING, message, hint)
    failing = evidence.counts.failed + evidence.counts.errors
    if exit_code == 0 and not failing:
        return None
    if exit_code != 0 and rule.failed is not None and exit_code not in rule.failed:
        return _found(evidence, Code.TESTS_BROKEN, f"the test runner ended with exit code {exit_code}")
    message = f"{failing} of {evidence.counts.total} tests failed" if failing else f"exit code {exit_code}"
    return _found(evidence, Code.TESTS_FAILED, message)


_PYTEST_EXIT = {
    2: "interrupted, or modules could not be imported",
    3: "internal error",
    4: "usage error",
    5: "no tests were collected",
}
"""What pytest documents of its exit codes."""

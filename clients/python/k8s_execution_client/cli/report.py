"""The end of a run in words: verdict, counts, why, where the evidence is, and whether anything is left.

Pure: messages in, lines out.
"""

from __future__ import annotations

from collections.abc import Iterator

from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import (
    CANCELLED,
    DONE,
    TESTS_FAILED,
    Diagnosis,
    Execution,
    TestCounts,
    Verdict,
)
from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_service_pb2 import GetResultsResponse
from k8s_execution_client._gen.maestro.k8s.execution.v1.results_pb2 import TestCase
from k8s_execution_client.terminal import safe, safe_lines

MAX_FAILURES = 20
EXCERPT_LINES = 12
NAMES = ("passed", "failed", "errors", "skipped", "flaky")


def report(execution: Execution, results: GetResultsResponse) -> Iterator[str]:
    """The lines of the report; `results` may be empty."""
    name = safe(execution.name)
    yield f"{Verdict.Name(execution.verdict)}  {name}  {execution.id}{_seconds(execution)}"
    for suite in results.suites:
        verdict = Verdict.Name(suite.verdict) if suite.verdict else "not run"
        yield f"  suite {safe(suite.name)}: {verdict}, {counts(suite.tests)} in {suite.duration:.1f} s"
    yield f"  tests: {counts(execution.tests)}"
    yield from _failures(results)
    # What failed is told above, test by test: the log's tail would only repeat it, among the noise of an install.
    told = execution.verdict == TESTS_FAILED and execution.tests.failed + execution.tests.errors > 0
    for cause in diagnoses(execution):
        yield from diagnosis_lines(cause, excerpt=not told)
    for image in execution.resolved.images:
        if image.ran_as:
            yield f"  image {safe(image.ref)} ran as {safe(image.ran_as)}"
    for warning in execution.warnings:
        yield f"  warning: {safe(warning)}"
    yield from evidence_lines(execution)
    if execution.phase == DONE:
        yield f"  nothing left: namespace {safe(execution.namespace)} is gone"


def diagnoses(execution: Execution) -> Iterator[Diagnosis]:
    """The execution's own first, then those of the steps that it does not tell already, but for those only stopped."""
    if execution.HasField("diagnosis"):
        yield execution.diagnosis
    own = (execution.diagnosis.code, execution.diagnosis.object, execution.diagnosis.message)
    for step in execution.steps:
        cause = step.diagnosis
        stopped = step.verdict == CANCELLED
        if step.HasField("diagnosis") and not stopped and (cause.code, cause.object, cause.message) != own:
            yield cause


def diagnosis_lines(diagnosis: Diagnosis, *, excerpt: bool = True) -> Iterator[str]:
    """Code, object, message, the excerpt's last lines (the causes of most ends are at a log's end), hint."""
    target = f" ({safe(diagnosis.object)})" if diagnosis.object else ""
    yield f"  {safe(diagnosis.code)}{target}: {safe(diagnosis.message)}"
    if excerpt and diagnosis.excerpt.strip():
        lines = safe_lines(diagnosis.excerpt.rstrip("\n"))
        if len(lines) > EXCERPT_LINES:
            yield f"    | … {len(lines) - EXCERPT_LINES} lines before"
        yield from (f"    | {line}" for line in lines[-EXCERPT_LINES:])
    if diagnosis.hint:
        yield f"    hint: {safe(diagnosis.hint)}"
    if diagnosis.retryable:
        yield "    the same plan may succeed when it is run again"


def counts(tests: TestCounts) -> str:
    """`5 passed, 1 failed`, zeros left out."""
    parts = [f"{getattr(tests, name)} {name}" for name in NAMES if getattr(tests, name)]
    return ", ".join(parts) or "no test cases"


def case_name(case: TestCase) -> str:
    """`class::name`."""
    return "::".join(part for part in (case.class_name, case.name) if part)


def _failures(results: GetResultsResponse) -> Iterator[str]:
    bad = [c for c in results.cases if c.status in {TestCase.FAILED, TestCase.ERROR}]
    for case in bad[:MAX_FAILURES]:
        status = TestCase.Status.Name(case.status)
        message = f": {safe(case.message)}" if case.message else ""
        yield f"  {status} {safe(case.suite)} {safe(case_name(case))}{message}"
    if len(bad) > MAX_FAILURES:
        yield f"  … and {len(bad) - MAX_FAILURES} more"


def evidence_lines(execution: Execution) -> Iterator[str]:
    """Whether all is kept, how much, and what is not."""
    if not execution.HasField("evidence"):
        return
    evidence = execution.evidence
    state = "complete" if evidence.complete else "INCOMPLETE"
    yield f"  evidence: {state}, {evidence.log_lines} lines of log, {evidence.log_bytes} bytes"
    for gap in evidence.gaps:
        yield f"    missing: {safe(gap)}"


def _seconds(execution: Execution) -> str:
    if not execution.HasField("finished_at"):
        return ""
    spent = execution.finished_at.ToNanoseconds() - execution.created_at.ToNanoseconds()
    return f"  in {spent / 1e9:.1f} s"

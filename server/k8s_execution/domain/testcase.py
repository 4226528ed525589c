"""Test cases as a report names them, and their counts.

Counted are `<testcase>` elements (docs/contract): xfailed is skipped, xpassed is passed. It must not parse reports:
that is `evidence.junit`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class TestStatus(StrEnum):
    """How one test case ended."""

    __test__ = False

    PASSED = "PASSED"
    FAILED = "FAILED"
    ERROR = "ERROR"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True)
class TestCase:
    """One `<testcase>`; `duration` in seconds, `message` one line, `details` the report's text, cut to a bound."""

    __test__ = False

    suite: str
    class_name: str
    name: str
    status: TestStatus
    duration: float = 0.0
    file: str = ""
    message: str = ""
    details: str = ""


@dataclass(frozen=True, slots=True)
class TestCounts:
    """How many test cases there were, by status. `flaky` counts those that passed only on a later attempt."""

    __test__ = False

    total: int = 0
    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    flaky: int = 0

    def __add__(self, other: TestCounts) -> TestCounts:
        """The counts of both together."""
        return TestCounts(
            self.total + other.total,
            self.passed + other.passed,
            self.failed + other.failed,
            self.errors + other.errors,
            self.skipped + other.skipped,
            self.flaky + other.flaky,
        )


def count(cases: Iterable[TestCase]) -> TestCounts:
    """Count cases by status."""
    tally = dict.fromkeys(TestStatus, 0)
    for case in cases:
        tally[case.status] += 1
    return TestCounts(
        sum(tally.values()),
        tally[TestStatus.PASSED],
        tally[TestStatus.FAILED],
        tally[TestStatus.ERROR],
        tally[TestStatus.SKIPPED],
    )

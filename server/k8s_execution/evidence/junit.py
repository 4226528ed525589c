"""JUnit XML reports to test cases; pure.

Written by user code, so read with suspicion: no DTD, no entities, bounded in size, depth, number and text. Counted are
`<testcase>` elements, never the attribute `tests=` (docs/contract); pytest writes a failing teardown as a second
element, which counts as one. Shapes of pytest (xunit1, xunit2), Maven Surefire, Gradle, Jest and their like: any
nesting of `testsuites` and `testsuite`. Unknown elements are passed over (Surefire's `flakyFailure`, `properties`).
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from k8s_execution.domain.testcase import TestCase, TestStatus

LARGEST = 32 * 1024 * 1024
DEEPEST = 32
MOST_CASES = 100_000
NAME_LENGTH = 1_024
MESSAGE_LENGTH = 1_024
DETAILS_LENGTH = 16 * 1024
SUITES = frozenset({"testsuite", "testsuites"})
_STATUS = {"error": TestStatus.ERROR, "failure": TestStatus.FAILED, "skipped": TestStatus.SKIPPED}
_WORST_FIRST = (TestStatus.ERROR, TestStatus.FAILED, TestStatus.SKIPPED)


class NotJUnit(ValueError):
    """Well-formed XML of another kind, such as a coverage report."""


@dataclass(frozen=True, slots=True)
class _Open:
    """An element that has begun: its local name and, of a suite, its name."""

    tag: str
    suite: str


def parse(data: bytes) -> list[TestCase]:
    """Every test case in document order; ValueError with a sentence if the report is broken or over a bound."""
    if len(data) > LARGEST:
        raise ValueError(f"the report has {len(data)} bytes, at most {LARGEST} are read")
    try:
        return _cases(data)
    except ParseError as error:
        raise ValueError(f"the report is not well-formed XML: {error}") from error
    except DefusedXmlException as error:
        raise ValueError("the report has a DTD or entities, which are not read") from error
    except (LookupError, UnicodeError) as error:  # an encoding that is unknown or that the bytes are not in
        raise ValueError(f"the report's encoding cannot be read: {error}") from error


def _cases(data: bytes) -> list[TestCase]:
    cases: list[TestCase] = []
    path: list[_Open] = []
    for event, element in iterparse(io.BytesIO(data), events=("start", "end"), forbid_dtd=True):
        tag = _local(element.tag)
        if event == "start":
            _begin(path, tag, element)
            continue
        path.pop()
        suite = path[-1].suite if path else ""
        if tag == "testcase" and path:
            cases.append(_case(element, suite))
            if len(cases) > MOST_CASES:
                raise ValueError(f"the report has more than {MOST_CASES} test cases")
        if tag in SUITES or tag == "testcase":
            element.clear()
    return cases


def _begin(path: list[_Open], tag: str, element: Element) -> None:
    if not path and tag not in SUITES:
        raise NotJUnit(f"the report's root element is {_cut(tag, 80)!r}, not testsuite or testsuites")
    if len(path) >= DEEPEST:
        raise ValueError(f"the report's elements are nested more than {DEEPEST} deep")
    outer = path[-1].suite if path else ""
    own = element.get("name", "") if tag == "testsuite" else ""
    path.append(_Open(tag, _cut(own, NAME_LENGTH) or outer))


def _case(element: Element, suite: str) -> TestCase:
    status, cause = _outcome(element)
    details = _cut((cause.text or "").strip(), DETAILS_LENGTH) if cause is not None else ""
    message = ""
    if cause is not None:
        first_line = next(iter(details.splitlines()), "")
        message = " ".join((cause.get("message") or first_line or cause.get("type") or "").split())
    return TestCase(
        suite=suite,
        class_name=_cut(element.get("classname", ""), NAME_LENGTH),
        name=_cut(element.get("name", ""), NAME_LENGTH),
        status=status,
        duration=_seconds(element.get("time", "")),
        file=_cut(element.get("file", ""), NAME_LENGTH),
        message=_cut(message, MESSAGE_LENGTH),
        details=details,
    )


def _outcome(element: Element) -> tuple[TestStatus, Element | None]:
    """The worst of the case's outcomes, and the element that says it."""
    found: dict[TestStatus, Element] = {}
    for child in element:
        status = _STATUS.get(_local(child.tag))
        if status is not None:
            found.setdefault(status, child)
    for status in _WORST_FIRST:
        if status in found:
            return status, found[status]
    return TestStatus.PASSED, None


def _local(tag: Any) -> str:
    """The name without its namespace; comments and instructions have a function for a tag."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _seconds(text: str) -> float:
    """Surefire writes thousands with a comma; what is no duration counts as none."""
    try:
        seconds = float(text.replace(",", ""))
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds >= 0 else 0.0


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"

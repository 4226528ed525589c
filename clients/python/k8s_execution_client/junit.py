"""Writes the results of an execution as one JUnit file, for CI systems that read no other form.

One `<testsuite>` a suite, in order of the plan, with the cases as they were reported; the tests of a suite that
reported none are not invented. Characters that XML 1.0 cannot hold are replaced. Pure but for the file it writes.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET  # only writes; nothing is parsed
from pathlib import Path

from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_service_pb2 import GetResultsResponse
from k8s_execution_client._gen.maestro.k8s.execution.v1.results_pb2 import SuiteResult, TestCase

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(name: str, results: GetResultsResponse) -> bytes:
    """The document, UTF-8; `name` is that of the plan."""
    root = ET.Element("testsuites", {"name": _xml(name)})
    for suite in results.suites:
        element = ET.SubElement(root, "testsuite", _suite(suite))
        for case in results.cases:
            if case.suite == suite.name:
                _case(element, case)
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(child.get(key, "0")) for child in root)))
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def write_junit(path: Path, name: str, results: GetResultsResponse) -> None:
    """Write the document to `path`, making its folder. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(junit(name, results))


def _suite(suite: SuiteResult) -> dict[str, str]:
    return {
        "name": _xml(suite.name),
        "tests": str(suite.tests.total),
        "failures": str(suite.tests.failed),
        "errors": str(suite.tests.errors),
        "skipped": str(suite.tests.skipped),
        "time": f"{suite.duration:.3f}",
    }


def _case(parent: ET.Element, case: TestCase) -> None:
    attributes = {"classname": _xml(case.class_name), "name": _xml(case.name), "time": f"{case.duration:.3f}"}
    if case.file:
        attributes["file"] = _xml(case.file)
    element = ET.SubElement(parent, "testcase", attributes)
    kind = {TestCase.FAILED: "failure", TestCase.ERROR: "error", TestCase.SKIPPED: "skipped"}.get(case.status)
    if kind:
        inner = ET.SubElement(element, kind, {"message": _xml(case.message)})
        inner.text = _xml(case.details) or None


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)

"""Small pure parts: exit codes, text for terminals, JUnit, JSON Schema, lines of log."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2 as ex
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as api
from k8s_execution_client._gen.maestro.k8s.execution.v1 import logs_pb2, results_pb2
from k8s_execution_client.cli.log_lines import LogLines
from k8s_execution_client.cli.report import EXCERPT_LINES, diagnosis_lines
from k8s_execution_client.exit_codes import ExitCode, of_reason, of_verdict
from k8s_execution_client.junit import junit
from k8s_execution_client.schema import plan_schema
from k8s_execution_client.terminal import safe


def test_every_verdict_has_an_exit_code_of_its_own() -> None:
    """None is forgotten when the contract grows."""
    codes = [of_verdict(name) for name, number in ex.Verdict.items() if number]
    assert len(set(codes)) == len(codes)
    assert ExitCode.DEFECT not in codes


def test_no_verdict_is_a_defect() -> None:
    """`run` ends only with one."""
    assert of_verdict("VERDICT_UNSPECIFIED") == ExitCode.DEFECT


@pytest.mark.parametrize(
    ("reason", "code", "expected"),
    [
        ("VALIDATION_FAILED", "INVALID_ARGUMENT", 2),
        ("EXECUTION_NOT_FOUND", "NOT_FOUND", 2),
        ("TOO_LARGE", "RESOURCE_EXHAUSTED", 2),
        ("QUEUE_FULL", "RESOURCE_EXHAUSTED", 6),
        ("STORE_UNAVAILABLE", "UNAVAILABLE", 6),
        ("UNAUTHENTICATED", "UNAUTHENTICATED", 6),
        ("", "DEADLINE_EXCEEDED", 6),
        ("", "INTERNAL", 70),
    ],
)
def test_a_refused_call_says_whose_fault_it_is(reason: str, code: str, expected: int) -> None:
    """The request's, the service's state, or a defect."""
    assert of_reason(reason, code) == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 漢", "plain ü 漢"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]52;c;ZXZpbA==\x07", "\\x1b]52;c;ZXZpbA==\\x07"),
        ("\x1b]8;;http://evil\x1b\\text", "\\x1b]8;;http://evil\\x1b\\text"),
        ("real\rfake", "real\\x0dfake"),
        ("windows\r", "windows"),
        ("a\tb", "a\tb"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("\x9b2J", "\\x9b2J"),
        ("\x1b[2J", "\\x1b[2J"),
    ],
)
def test_a_terminal_obeys_nothing_in_a_line(text: str, shown: str) -> None:
    """Colours are dropped, all else is shown."""
    assert safe(text) == shown


@given(st.text())
def test_no_control_character_gets_through(text: str) -> None:
    """Whatever the line."""
    assert not any((c < " " and c != "\t") or "\x7f" <= c <= "\x9f" for c in safe(text))


@given(st.text(max_size=50))
def test_junit_is_well_formed_whatever_the_text(text: str) -> None:
    """Characters that XML cannot hold are replaced."""
    results = api.GetResultsResponse()
    results.suites.add(name=text, tests=ex.TestCounts(total=1, failed=1))
    results.cases.add(suite=text, name=text, status=results_pb2.TestCase.FAILED, message=text, details=text)
    root = ET.fromstring(junit(text, results))
    assert (root.get("tests"), root.get("failures")) == ("1", "1")
    assert root.find("./testsuite/testcase/failure") is not None


def batch(*lines: tuple[str, bool], pod: str = "p") -> logs_pb2.LogBatch:
    """A batch of (text, partial)."""
    made = [logs_pb2.LogLine(text=text, partial=partial) for text, partial in lines]
    return logs_pb2.LogBatch(stream=logs_pb2.LogStream(pod=pod, container="c"), lines=made)


def test_pieces_of_an_overlong_line_join() -> None:
    """Without a prefix the output is the container's own."""
    written: list[str] = []
    lines = LogLines(written.append, written.append, prefix=False, raw=True)
    lines.batch(batch(("aaa", True), ("bbb", False), ("end", True)))
    assert "".join(written) == "aaabbb\nend"


def test_of_a_long_excerpt_the_end_is_shown_and_how_much_is_not() -> None:
    """The cause is at a log's end."""
    cause = ex.Diagnosis(code="CRASH_LOOP", message="ended", excerpt="".join(f"line {n}\n" for n in range(50)))
    shown = [line for line in diagnosis_lines(cause) if line.startswith("    | ")]
    assert shown[0] == f"    | … {50 - EXCERPT_LINES} lines before"
    assert shown[-1] == "    | line 49"
    assert len(shown) == 1 + EXCERPT_LINES


def test_a_gap_of_unknown_size_is_said_so() -> None:
    """to_sequence one less than from_sequence."""
    noted: list[str] = []
    made = batch()
    made.gap.from_sequence, made.gap.to_sequence, made.gap.reason = 5, 4, "NODE_LOST: gone"
    LogLines(noted.append, noted.append, prefix=False).batch(made)
    assert noted == ["[p c] --- lines are missing before line 5: NODE_LOST: gone ---"]


def test_the_schema_describes_the_contract() -> None:
    """Enums, required fields, bounds, and one of several sources."""
    schema = plan_schema()
    definitions = schema["$defs"]
    assert schema["required"] == ["test_plan"]
    assert "idempotency_key" not in schema["properties"]
    assert definitions["Suite"]["properties"]["type"] == {"enum": ["PYTEST", "CUSTOM"]}
    assert definitions["Strategy"]["properties"]["parallel"] == {"type": "integer", "minimum": 1, "maximum": 64}
    assert {"required": ["local"]} in definitions["Source"]["oneOf"]
    assert "oneOf" not in definitions["Resources"]
    assert definitions["TestPlan"]["properties"]["suites"]["maxItems"] == 64


@pytest.mark.parametrize("example", ["examples/shop/plan.yaml", "examples/real-project/plan.yaml"])
def test_the_schema_knows_every_field_of_the_examples(example: str) -> None:
    """A walk along the schema; a whole validator is not needed for names."""
    root = Path(__file__).parents[3]
    schema = plan_schema()
    walk(yaml.safe_load((root / example).read_text()), schema, schema["$defs"])


def walk(data: object, schema: dict[str, object], definitions: dict[str, dict[str, object]]) -> None:
    """Fail where `data` has a field that the schema has not."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        schema = definitions[reference.removeprefix("#/$defs/")]
    if isinstance(data, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        assert isinstance(known, dict)
        for name, value in data.items():
            inner = known.get(name, others)
            assert isinstance(inner, dict), name
            walk(value, inner, definitions)
    elif isinstance(data, list):
        items = schema["items"]
        assert isinstance(items, dict)
        for item in data:
            walk(item, items, definitions)

"""The table of the Kubernetes suite: what it shows, and what makes it fail."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
REPORT = "<testsuites><testsuite>{}</testsuite></testsuites>"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """`tools/suite_table.py` as a module: tools are scripts, not a package."""
    spec = importlib.util.spec_from_file_location("suite_table", ROOT / "tools" / "suite_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the names in their annotations
    spec.loader.exec_module(module)
    return module


def case(name: str, inner: str = "", module: str = "tests.kubernetes.test_pods") -> str:
    """One element of a report."""
    return f'<testcase classname="{module}" name="{name}">{inner}</testcase>'


def run(tool: ModuleType, folder: Path, simulated: str, real: str) -> int:
    """The command on two reports with these cases."""
    for name, content in (("simulated", simulated), ("real", real)):
        (folder / name).write_text(REPORT.format(content))
    code = tool.main([str(folder / "simulated"), str(folder / "real"), "--output", str(folder / "build" / "table.md")])
    return int(code)


def test_cases_that_passed_on_both_are_green_and_told_as_sentences(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = case("test_a_pod_runs[v5]") + case("test_x", module="tests.e2e.test_other")
    alone = case("test_denied", module="tests.kubernetes.test_network_policies")
    assert run(tool, tmp_path, both, both + alone) == 0
    assert capsys.readouterr().out == "suite-table: 1 cases × 2 clusters, 1 only on the real one: all green\n"
    text = (tmp_path / "build" / "table.md").read_text()
    assert "| pods | a pod runs [v5] | ✓ | ✓ |" in text
    assert "| network policies | denied | – | ✓ |" in text
    assert "test_x" not in text


@pytest.mark.parametrize(
    ("simulated", "real", "words"),
    [
        (case("test_a"), case("test_a", "<failure/>"), "simulated PASSED, real FAILED"),
        (case("test_a", "<skipped/>"), case("test_a"), "simulated SKIPPED, real PASSED"),
        (case("test_a"), "", "simulated PASSED, real MISSING"),
        ("", case("test_a"), "simulated MISSING, real PASSED"),
        (case("test_a") + case("test_a", "<error/>"), case("test_a"), "simulated FAILED, real PASSED"),
    ],
    ids=["failed", "skipped", "missing on the real", "missing on the simulated", "teardown"],
)
def test_anything_else_fails_and_is_named(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], simulated: str, real: str, words: str
) -> None:  # fmt: skip
    assert run(tool, tmp_path, simulated, real) == 1
    assert f"test_pods::test_a: {words}" in capsys.readouterr().out


def test_no_case_and_no_report_fail(tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tool, tmp_path, "", "") == 1
    assert "no case of the suite was run" in capsys.readouterr().out
    assert tool.main([str(tmp_path / "none"), str(tmp_path / "none")]) == 1
    assert "a report cannot be read" in capsys.readouterr().err

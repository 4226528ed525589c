"""The agent's own checks: gofmt, go vet and its Go tests, with their output when they fail."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import ModuleType

import pytest

PATIENCE = 150.0  # seconds; a first compilation of the tests takes about 20


@pytest.fixture(scope="module")
def go(build_agent: ModuleType) -> Path:
    """The Go command that also builds the agent."""
    found = build_agent.find_go()
    assert isinstance(found, Path)
    return found


def output(build_agent: ModuleType, command: list[str | Path]) -> tuple[int, str]:
    """Exit code and all output of a command in the agent's folder."""
    done = subprocess.run(
        command,
        cwd=build_agent.SOURCES,
        env=build_agent.go_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout


def test_the_sources_are_formatted(build_agent: ModuleType, go: Path) -> None:
    """`gofmt -l` names no file."""
    root = output(build_agent, [go, "env", "GOROOT"])[1].strip()
    beside = [go.parent / "gofmt", Path(root) / "bin" / "gofmt", Path(root) / "pkg" / "gofmt"]
    formatter = next((path for path in beside if path.is_file()), None)
    if formatter is None:
        pytest.skip(f"this Go toolchain ({root}) has no gofmt: install Go from its own archive")
    assert output(build_agent, [formatter, "-l", "."]) == (0, "")


def test_vet_finds_nothing(build_agent: ModuleType, go: Path) -> None:
    """`go vet` is clean, tests included."""
    code, text = output(build_agent, [go, "vet", "./..."])
    assert code == 0, text


def test_the_go_tests_pass(build_agent: ModuleType, go: Path) -> None:
    """`go test` passes."""
    code, text = output(build_agent, [go, "test", "./..."])
    assert code == 0, text

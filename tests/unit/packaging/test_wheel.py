"""The wheels: built from the checkout, installed where the checkout is not seen, and the main job run from there."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from support.cluster import environment

CHECKOUT = Path(__file__).resolve().parents[3]
AGENT = "k8s_execution/bin/k8s-execution-agent"
UV = Path(sys.executable).with_name("uv")


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command that must succeed, and does not see this checkout; what it said, if it did not."""
    done = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env={name: value for name, value in environment().items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Both wheels, built with what the virtual environment has: nothing is fetched."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in (CHECKOUT, CHECKOUT / "clients" / "python"):
        command = (UV, "build", "-q", "--offline", "--wheel", "--no-build-isolation", "--python", sys.executable)
        run(*command, "-o", folder, project, cwd=folder)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheels: list[Path]) -> Path:
    """A virtual environment with the wheels; third-party packages are seen where they are, the checkout is not.

    A folder named in a .pth file is not searched for .pth files of its own, which is how editable installs are found.
    """
    folder = tmp_path_factory.mktemp("clean") / "venv"
    run(UV, "venv", "-q", "--offline", "--python", sys.executable, folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    run(UV, "pip", "install", "-q", "--offline", "--no-deps", "--python", python, *wheels, cwd=folder.parent)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    (packages / "third_party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="the agent is a Linux program; wheels built elsewhere carry none")
def test_the_wheel_carries_the_agent_and_says_for_which_machine(wheels: list[Path]) -> None:
    """As a program that may be run, so that an installed service needs no compiler."""
    wheel = next(w for w in wheels if w.name.startswith("k8s_execution-"))
    assert "manylinux" in wheel.name
    assert "musllinux" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        agent = archive.getinfo(AGENT)
        assert agent.file_size > 1_000_000
        assert agent.external_attr >> 16 & 0o111 == 0o111


def test_the_main_job_runs_from_the_wheels(installed: Path, tmp_path: Path) -> None:
    """Templates, migrations, agent and command line: all that it needs is in them."""
    command = (installed / "bin" / "python", CHECKOUT / "examples" / "main_job.py")
    done = run(*command, "--data", tmp_path / "data", "-o", "json", cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert answer["verdict"] == "PASSED"
    where = "import k8s_execution, k8s_execution_client as c; print(k8s_execution.__file__, c.__file__)"
    for file in run(installed / "bin" / "python", "-c", where, cwd=tmp_path).stdout.split():
        assert Path(file).is_relative_to(installed)

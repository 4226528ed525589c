"""Folders of a process: private, gone with it, and swept by the next one where it was killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from k8s_execution.runtime import scratch

KILLED = """
import os, signal, sys
from k8s_execution.runtime.scratch import scratch
with scratch() as folder:
    (folder / "left").mkdir()
    (folder / "left" / "file").write_text("x")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of the test's own, for other processes too."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # where Python remembers its first answer
    yield tmp_path
    monkeypatch.setattr("tempfile.tempdir", None)


READ_ONLY = """
from k8s_execution.runtime.scratch import scratch
with scratch() as folder:
    (folder / "module" / "inner").mkdir(parents=True)
    (folder / "module" / "inner" / "file").write_text("x")
    (folder / "link").symlink_to("/")
    for name in ("module/inner", "module"):
        (folder / name).chmod(0o555)
"""


def killed() -> Path:
    """The folder of a process that was killed in it."""
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    return Path(done.stdout.strip())


def test_a_folder_is_private_and_gone_at_the_end() -> None:
    """With all that is in it, and its lock."""
    with scratch.scratch() as folder:
        assert folder.parent == scratch.home()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert scratch.home().stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("x")
    assert list(scratch.home().iterdir()) == []


def test_folders_that_nobody_may_write_into_go_too() -> None:
    """Such as Go's module cache of a test in a simulated pod."""
    unprivileged = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []
    if unprivileged and shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere: install util-linux for setpriv, or run the tests as another user")
    command = [*unprivileged, sys.executable, "-c", READ_ONLY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (list(scratch.home().iterdir()), done.stderr) == ([], "")


def test_what_a_killed_process_left_is_swept() -> None:
    """The lock of a dead owner is free."""
    folder = killed()
    assert (folder / "left" / "file").exists()
    assert scratch.sweep() == 1
    assert list(scratch.home().iterdir()) == []


def test_a_living_owner_keeps_its_folder() -> None:
    """Whoever sweeps."""
    with scratch.scratch() as folder:
        sweep = "from k8s_execution.runtime import scratch; print(scratch.sweep())"
        done = subprocess.run([sys.executable, "-c", sweep], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.strip() == "0"
        assert folder.exists()


def test_a_name_that_somebody_else_took_is_not_entered() -> None:
    """The temporary folder is everybody's: a link or an open folder there may be a trap."""
    elsewhere = scratch.home().parent / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    scratch.home().symlink_to(elsewhere)
    assert scratch.sweep() == 0
    with scratch.scratch() as folder:
        assert not folder.resolve().is_relative_to(elsewhere)
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
    assert list(elsewhere.iterdir()) == []

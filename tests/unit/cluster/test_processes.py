"""Processes are known by pid and start time, found by their marker, and told with the end of their log."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster import processes
from cluster.faults import ClusterFault
from cluster.processes import MARKER, Process

FOREVER = [sys.executable, "-c", "import signal; print('began', flush=True); signal.pause()"]
STUBBORN_PROGRAM = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("began", flush=True)
while True:
    signal.pause()
"""
STUBBORN = [sys.executable, "-c", STUBBORN_PROGRAM]


def begun(command: list[str], folder: Path) -> Process:
    """A process that runs, with the marker of `folder`."""
    log = folder / "process.log"
    pid = processes.start(command, log, {**os.environ, MARKER: str(folder)})
    process = processes.identify("process", pid)
    processes.wait_for(lambda: "began" in log.read_text(), "its first word", 20, log, process)
    return process


def test_an_unrecorded_process_is_found_by_its_marker_and_ended(tmp_path: Path) -> None:
    process = begun(FOREVER, tmp_path)
    found = processes.marked(tmp_path)
    assert [(p.pid, p.started) for p in found] == [(process.pid, process.started)]
    processes.stop(found, 10)
    assert not processes.alive(process)
    assert processes.marked(tmp_path) == []


def test_who_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = begun(STUBBORN, tmp_path)
    processes.stop([process], 0.2)
    assert not processes.alive(process)


def test_a_process_lives_until_its_last_thread_has_ended() -> None:
    """Its first thread is a zombie before: what it listens on is not free yet."""
    threads = (
        "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); print(1, flush=True)"
    )
    command = [sys.executable, "-c", f"{threads}; ctypes.CDLL(None).pthread_exit(None)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as started:
        process = processes.identify("threads", started.pid)
        assert started.stdout is not None and started.stdout.readline()
        state = Path(f"/proc/{started.pid}/stat")
        deadline = time.monotonic() + 60
        while ") Z " not in state.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert processes.alive(process)
        started.kill()
        started.wait()
        assert not processes.alive(process)


def test_a_pid_that_now_belongs_to_another_is_left_alone() -> None:
    other = Process("other", os.getpid(), 1)
    assert not processes.alive(other)
    processes.stop([other], 0)


def test_a_failed_wait_carries_the_end_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("the reason\n", encoding="utf-8")
    with pytest.raises(ClusterFault, match=r"(?s)readiness did not come within 0 s.*the reason"):
        processes.wait_for(lambda: False, "readiness", 0, log)


def test_a_wait_ends_with_the_process_it_waits_for(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("it broke\n", encoding="utf-8")
    with pytest.raises(ClusterFault, match=r"(?s)etcd ended while waiting for its port.*it broke"):
        processes.wait_for(lambda: False, "its port", 60, log, Process("etcd", os.getpid(), 1))


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClusterFault, match="/no/such cannot be started"):
        processes.start(["/no/such"], tmp_path / "log", {})


def test_processes_are_found_by_a_variable_but_not_the_one_that_asks(tmp_path: Path) -> None:
    process = begun(FOREVER, tmp_path)
    assert [p.pid for p in processes.with_variable(MARKER, str(tmp_path))] == [process.pid]
    name, value = next(iter(os.environ.items()))
    assert os.getpid() not in {p.pid for p in processes.with_variable(name, value)}
    processes.stop([process], 10)

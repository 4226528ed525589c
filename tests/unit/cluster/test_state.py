"""The record of a cluster: what is written is read again, and what cannot be read is refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import state
from cluster.faults import ClusterFault
from cluster.processes import Process
from cluster.state import Journal, State

ETCD = Process("etcd", 17, 4711)


def test_every_step_is_on_disk_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path, State(3))
    journal.link("kx3-host")
    assert state.read(tmp_path) == State(3, links=("kx3-host",))
    journal.process(ETCD)
    journal.cgroup(Path("/sys/fs/cgroup/memory/x"))
    journal.ready()
    assert state.read(tmp_path) == State(3, (ETCD,), ("kx3-host",), ("/sys/fs/cgroup/memory/x",), ready=True)


def test_no_record_is_no_state(tmp_path: Path) -> None:
    assert state.read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"slot": 1}', '{"slot": "x", "processes": [], "links": []}', "{"])
def test_what_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(ClusterFault, match="not the state of a cluster"):
        state.decode(text)


def test_the_latest_process_of_a_name_counts() -> None:
    again = Process("etcd", 18, 4800)
    assert State(0, (ETCD, again)).process("etcd") == again
    with pytest.raises(ClusterFault, match="no process kubelet"):
        State(0, (ETCD,)).process("kubelet")


def test_the_lowest_free_slot_is_taken(tmp_path: Path) -> None:
    assert state.free_slot(tmp_path) == 0
    Journal(tmp_path / "a", State(0))
    Journal(tmp_path / "b", State(2))
    assert state.free_slot(tmp_path) == 1
    assert state.names(tmp_path) == ["a", "b"]


def test_a_full_machine_says_so(tmp_path: Path) -> None:
    for slot in range(16):
        Journal(tmp_path / f"c{slot}", State(slot))
    with pytest.raises(ClusterFault, match="16 clusters run already"):
        state.free_slot(tmp_path)


def test_two_commands_do_not_work_on_one_cluster() -> None:
    with (
        state.cluster_lock("unit-test-lock"),
        state.cluster_lock("unit-test-other"),
        pytest.raises(ClusterFault, match="another command"),
        state.cluster_lock("unit-test-lock"),
    ):
        pass
    with state.cluster_lock("unit-test-lock"):
        pass  # it is free again


def test_raised_limits_are_remembered_for_a_restart(tmp_path: Path) -> None:
    Journal(tmp_path, State(3, fast=True)).ready()
    found = state.read(tmp_path)
    assert found is not None
    assert found.fast


def test_a_record_from_before_there_were_raised_limits_has_none() -> None:
    assert not state.decode('{"slot": 1, "processes": [], "links": [], "cgroups": [], "ready": true}').fast

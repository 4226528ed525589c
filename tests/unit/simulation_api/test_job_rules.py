"""Counting and judging the pods of a Job, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_simulation.controllers.job_rules import (
    BACKOFF,
    DEADLINE,
    FINALIZER,
    REACHED,
    judge,
    parse_indexes,
    render_indexes,
    tally,
)

NOW = 1_780_000_000.0


def job(status: Any = None, **spec: Any) -> dict[str, Any]:
    full = {"parallelism": 1, "completions": 1, "backoffLimit": 0, "template": {"spec": {}}, **spec}
    return {"metadata": {"name": "j", "namespace": "n"}, "spec": full, "status": status or {}}


def pod(phase: str, *, counted: bool = False, deleting: bool = False, code: int = 1, **meta: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "p", "namespace": "n", "uid": phase, **meta}
    if not counted:
        metadata["finalizers"] = [FINALIZER]
    if deleting:
        metadata["deletionTimestamp"] = "2026-05-28T00:00:00Z"
    states = [{"name": "c", "state": {"terminated": {"exitCode": code}}}] if phase == "Failed" else []
    return {"metadata": metadata, "spec": {}, "status": {"phase": phase, "containerStatuses": states}}


@pytest.mark.parametrize(
    ("status", "pods", "verdict"),
    [
        ({}, [pod("Running")], None),
        ({}, [pod("Succeeded")], REACHED),
        ({"succeeded": 1}, [pod("Succeeded", counted=True)], REACHED),
        ({}, [pod("Failed")], BACKOFF),
        ({"failed": 1}, [], BACKOFF),
        ({"startTime": "2020-01-01T00:00:00Z"}, [pod("Running")], None),
    ],
)
def test_one_pod_without_retries(status: Any, pods: Any, verdict: Any) -> None:
    made = job(status)
    assert judge(made, tally(made, pods), NOW) == verdict


def test_the_deadline_counts_from_the_start_time() -> None:
    made = job({"startTime": "2020-01-01T00:00:00Z"}, activeDeadlineSeconds=5)
    assert judge(made, tally(made, [pod("Running")]), NOW) == DEADLINE


def test_a_verdict_once_given_stays() -> None:
    target = {"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded", "message": DEADLINE.message}
    made = job({"conditions": [target]})
    assert judge(made, tally(made, [pod("Succeeded")]), NOW) == DEADLINE


@pytest.mark.parametrize(("policy", "failed"), [("Failed", 0), ("TerminatingOrFailed", 1)])
def test_a_pod_being_deleted_counts_by_the_replacement_policy(policy: str, failed: int) -> None:
    counted = tally(job(podReplacementPolicy=policy), [pod("Running", deleting=True, deletionGracePeriodSeconds=30)])
    assert counted.failed == failed


def test_a_rule_can_fail_the_job_at_once_or_ignore_a_failure() -> None:
    def policy(action: str) -> dict[str, Any]:
        return {"rules": [{"action": action, "onExitCodes": {"operator": "In", "values": [42]}}]}

    made = job(backoffLimit=6, podFailurePolicy=policy("FailJob"))
    verdict = judge(made, tally(made, [pod("Failed", code=42)]), NOW)
    assert verdict is not None
    assert verdict.message == "Container c for pod n/p failed with exit code 42 matching FailJob rule at index 0"
    made = job(backoffLimit=0, podFailurePolicy=policy("Ignore"))
    assert judge(made, tally(made, [pod("Failed", code=42)]), NOW) is None


def test_retries_wait_ten_seconds_and_twice_as_long_each_time() -> None:
    counted = tally(job(backoffLimit=6), [])
    counted.failed, counted.last_failure = 3, NOW
    assert counted.backoff(NOW) == 40.0


@given(st.sets(st.integers(0, 50)))
def test_index_lists_survive_writing_and_reading(indexes: set[int]) -> None:
    assert parse_indexes(render_indexes(indexes)) == indexes

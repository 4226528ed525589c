"""Raw objects to facts: examples as Kubernetes sends them, and anything at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.domain.facts import ContainerFact, ContainerKind, ContainerState, EventFact, NamespaceFact
from k8s_execution.kube import parse

NINE = 1795510800_000_000
LABELS = {
    "k8s-execution.maestro/execution-id": "e1",
    "k8s-execution.maestro/step-kind": "SUITE",
    "k8s-execution.maestro/step": "api",
    "k8s-execution.maestro/shard": "2",
    "k8s-execution.maestro/attempt": "3",
}
POD: dict[str, Any] = {
    "metadata": {
        "namespace": "n",
        "name": "suite-api-x-abcde",
        "uid": "u1",
        "creationTimestamp": "2026-11-24T09:00:00Z",
        "labels": LABELS,
        "ownerReferences": [{"kind": "Job", "name": "suite-api-x", "uid": "j1", "controller": True}],
    },
    "spec": {
        "nodeName": "node-1",
        "initContainers": [{"name": "agent", "image": "agent:1"}],
        "containers": [{"name": "step", "image": "python:3"}, {"name": "collector", "image": "agent:1"}],
    },
    "status": {
        "phase": "Running",
        "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}],
        "initContainerStatuses": [
            {
                "name": "agent",
                "image": "docker.io/agent:1",
                "imageID": "sha256:a",
                "containerID": "containerd://a",
                "state": {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-11-24T09:00:01Z"}},
            }
        ],
        "containerStatuses": [
            {
                "name": "collector",
                "image": "agent:1",
                "state": {"running": {"startedAt": "2026-11-24T09:00:02Z"}},
                "ready": True,
                "started": True,
                "containerID": "containerd://c",
            },
            {
                "name": "step",
                "image": "python:3",
                "restartCount": 1,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                "lastState": {
                    "terminated": {
                        "exitCode": 137,
                        "reason": "OOMKilled",
                        "containerID": "containerd://old",
                        "finishedAt": "2026-11-24T09:00:02Z",
                    }
                },
            },
        ],
    },
}


def test_a_pod_of_a_step() -> None:
    """Labels, owner, scheduling and every container in the order of the spec."""
    fact = parse.pod(POD)
    assert (fact.namespace, fact.name, fact.uid, fact.execution_id) == ("n", "suite-api-x-abcde", "u1", "e1")
    assert (fact.step_kind, fact.step, fact.shard, fact.attempt) == ("SUITE", "api", 2, 3)
    assert (fact.job, fact.node, fact.phase, fact.created_at) == ("suite-api-x", "node-1", "Running", NINE)
    assert (fact.scheduled, fact.ready, fact.deleting) == (True, False, False)
    assert [c.name for c in fact.containers] == ["agent", "step", "collector"]


def test_container_states() -> None:
    """Terminated, waiting after a kill, running."""
    fact = parse.pod(POD)
    assert fact.container("agent") == ContainerFact(
        name="agent",
        kind=ContainerKind.INIT,
        image="agent:1",
        state=ContainerState.TERMINATED,
        image_id="sha256:a",
        container_id="containerd://a",
        reason="Completed",
        exit_code=0,
        finished_at=NINE + 1_000_000,
    )
    step = fact.container("step")
    assert step is not None
    assert (step.state, step.reason, step.message) == (ContainerState.WAITING, "CrashLoopBackOff", "back-off")
    assert (step.restart_count, step.last_reason, step.last_exit_code) == (1, "OOMKilled", 137)
    assert (step.last_container_id, step.exit_code) == ("containerd://old", None)
    assert (step.last_finished_at, step.finished_at) == (NINE + 2_000_000, None)
    collector = fact.container("collector")
    assert collector is not None
    assert (collector.state, collector.started_at, collector.ready) == (ContainerState.RUNNING, NINE + 2_000_000, True)


def test_an_unschedulable_pod_tells_why() -> None:
    """The message of PodScheduled=False; none once scheduled."""
    message = "0/1 nodes are available: 1 Insufficient cpu."
    raw = {"status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": message}]}}
    assert (parse.pod(raw).scheduled, parse.pod(raw).scheduling_message) == (False, message)


def test_an_evicted_pod() -> None:
    """Reason and message of the pod itself; deletion is seen."""
    raw = {
        "metadata": {"deletionTimestamp": "2026-11-24T09:00:00Z"},
        "status": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"},
    }
    fact = parse.pod(raw)
    assert (fact.phase, fact.reason, fact.message, fact.deleting) == ("Failed", "Evicted", "low on memory", True)


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("True", "", ("DeletionByTaintManager", "Taint manager: deleting")),
        ("True", "Evicted", ("Evicted", "low on memory")),
        ("False", "", ("", "")),
    ],
)
def test_a_pod_that_the_cluster_is_about_to_end(status: str, reason: str, expected: tuple[str, str]) -> None:
    """The DisruptionTarget condition, where the status itself gives no reason."""
    disruption = {"type": "DisruptionTarget", "status": status, "reason": "DeletionByTaintManager",
                  "message": "Taint manager: deleting"}  # fmt: skip
    own = {"reason": reason, "message": "low on memory"} if reason else {}
    fact = parse.pod({"status": {"phase": "Running", "conditions": [disruption], **own}})
    assert (fact.reason, fact.message) == expected


@pytest.mark.parametrize(
    ("conditions", "complete", "failed"),
    [
        ([], False, ("", "")),
        ([{"type": "Complete", "status": "True"}], True, ("", "")),
        ([{"type": "Complete", "status": "False"}], False, ("", "")),
        (
            [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "late"}],
            False,
            ("DeadlineExceeded", "late"),
        ),
        ([{"type": "Failed", "status": "True"}], False, ("Failed", "")),
        ([{"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded"}], False, ("", "")),
    ],
)
def test_jobs(conditions: list[dict[str, str]], complete: bool, failed: tuple[str, str]) -> None:
    """Only final conditions count."""
    fact = parse.job({"metadata": {"name": "j"}, "status": {"active": 1, "conditions": conditions}})
    assert (fact.active, fact.complete, (fact.failed_reason, fact.failed_message)) == (1, complete, failed)


def test_deployments() -> None:
    """Replicas default to one; a status of an older spec is not observed; ReplicaFailure speaks."""
    fresh = parse.deployment({"metadata": {"generation": 1}})
    assert (fresh.replicas, fresh.ready_replicas, fresh.observed) == (1, 0, False)
    failing = parse.deployment(
        {
            "metadata": {"generation": 2},
            "spec": {"replicas": 3},
            "status": {
                "observedGeneration": 2,
                "readyReplicas": 2,
                "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}],
            },
        }
    )
    assert (failing.replicas, failing.ready_replicas, failing.observed) == (3, 2, True)
    assert failing.failure_message == "exceeded quota"


def test_a_namespace_that_does_not_go_says_why() -> None:
    """Conditions that are True, with their text; expiry from our annotation."""
    fact = parse.namespace(
        {
            "metadata": {
                "name": "qf-e1",
                "uid": "u",
                "creationTimestamp": "2026-11-24T09:00:00Z",
                "labels": {
                    "k8s-execution.maestro/execution-id": "e1",
                    "k8s-execution.maestro/installation": "i",
                },
                "annotations": {"k8s-execution.maestro/expires-at": "2026-11-24T09:00:00.000001Z"},
            },
            "status": {
                "phase": "Terminating",
                "conditions": [
                    {"type": "NamespaceContentRemaining", "status": "True", "message": "pods. has 1"},
                    {"type": "NamespaceFinalizersRemaining", "status": "False", "message": "none"},
                ],
            },
        }
    )
    assert fact == NamespaceFact(
        "qf-e1",
        "u",
        "e1",
        "i",
        NINE,
        NINE + 1,
        terminating=True,
        conditions=("NamespaceContentRemaining: pods. has 1",),
    )


@pytest.mark.parametrize(
    ("more", "count", "first", "last"),
    [
        ({}, 1, NINE, NINE),
        (
            {"count": 3, "firstTimestamp": "2026-11-24T09:00:01Z", "lastTimestamp": "2026-11-24T09:00:05Z"},
            3,
            NINE + 10**6,
            NINE + 5 * 10**6,
        ),
        ({"eventTime": "2026-11-24T09:00:01.500000Z"}, 1, NINE + 1_500_000, NINE + 1_500_000),
        (
            {"eventTime": "2026-11-24T09:00:01Z", "series": {"count": 7, "lastObservedTime": "2026-11-24T09:00:09Z"}},
            7,
            NINE + 10**6,
            NINE + 9 * 10**6,
        ),
    ],
)
def test_events(more: dict[str, Any], count: int, first: int, last: int) -> None:
    """Old writers count in the event, new ones in its series."""
    raw = {
        "metadata": {"uid": "u", "creationTimestamp": "2026-11-24T09:00:00Z"},
        "involvedObject": {"kind": "Pod", "name": "p", "uid": "pu"},
        "type": "Warning",
        "reason": "Failed",
        "message": "m",
        **more,
    }
    assert parse.event(raw) == EventFact("u", "Pod", "p", "pu", "Warning", "Failed", "m", count, first, last)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-24T09:00:00Z", NINE),
        ("2026-11-24T10:00:00+01:00", NINE),
        ("2026-11-24T09:00:00.123456Z", NINE + 123_456),
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-24T09:00:00", None),
        ("tomorrow", None),
        ("", None),
        (None, None),
        (5, None),
    ],
)
def test_times(text: Any, time: int | None) -> None:
    """RFC 3339 with a zone, or nothing."""
    assert parse.micros(text) == time


KEYS = st.sampled_from(
    [
        "metadata",
        "spec",
        "status",
        "labels",
        "name",
        "namespace",
        "uid",
        "conditions",
        "containerStatuses",
        "containers",
        "state",
        "terminated",
        "waiting",
        "running",
        "lastState",
        "type",
        "reason",
        "message",
        "creationTimestamp",
        "ownerReferences",
        "kind",
        "involvedObject",
        "series",
        "count",
        "items",
        "replicas",
        "annotations",
        "restartCount",
        "exitCode",
        "k8s-execution.maestro/shard",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)


@given(st.dictionaries(KEYS, JSON, max_size=6))
def test_parsing_never_fails(raw: dict[str, Any]) -> None:
    """Whatever a server sends, a fact comes out."""
    for parser in (parse.pod, parse.job, parse.deployment, parse.namespace, parse.event):
        parser(raw)
    parse.items(raw), parse.key(raw), parse.version(raw)

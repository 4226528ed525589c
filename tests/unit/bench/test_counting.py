"""How the benchmarks count requests, hold targets and see that an environment is ready."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import bare, environments, provision, requests, testbed

LINES = [
    "# TYPE apiserver_request_total counter",
    'apiserver_request_total{code="201",resource="pods",scope="resource",subresource="",verb="POST"} 3',
    'apiserver_request_total{code="409",resource="pods",scope="resource",subresource="",verb="POST"} 1',
    'apiserver_request_total{code="200",resource="pods",scope="resource",subresource="log",verb="CONNECT"} 1.2e+01',
    'apiserver_current_inflight_requests{request_kind="mutating"} 9',
]
METRICS = "\n".join(LINES)


def entry(stage: str = "ResponseComplete", agent: str = "k8s-execution", verb: str = "get", **about: str) -> str:
    """A line of the audit log."""
    line = {
        "userAgent": agent, "stage": stage, "verb": verb, "objectRef": about, "requestURI": "/x",
        "requestReceivedTimestamp": "2026-11-24T12:00:00.250000Z", "responseStatus": {"code": 200},
    }  # fmt: skip
    return json.dumps(line)


def audited(tmp_path: Path, *lines: str) -> list[requests.Request]:
    """What is read of a log of these lines."""
    log = tmp_path / "audit.log"
    log.write_text("\n".join(lines))
    return list(requests.audited(log))


def test_the_metric_is_summed_over_codes() -> None:
    assert requests.totals(METRICS) == {"POST pods": 4, "CONNECT pods/log": 12}


def test_only_the_services_own_requests_count(tmp_path: Path) -> None:
    found = audited(tmp_path, entry(resource="pods"), entry(agent="kubectl/v1", resource="pods"))
    assert [(r.verb, r.what, r.code) for r in found] == [("get", "pods", 200)]


def test_a_follow_counts_once_though_the_log_tells_of_it_twice(tmp_path: Path) -> None:
    both = [entry(stage, resource="pods", subresource="log") for stage in ("ResponseStarted", "ResponseComplete")]
    assert [r.what for r in audited(tmp_path, *both)] == ["pods/log"]


def test_the_last_line_may_be_half_written(tmp_path: Path) -> None:
    assert len(audited(tmp_path, entry(resource="pods"), entry(resource="pods")[:40])) == 1


@pytest.mark.parametrize(
    ("target", "held"),
    [
        (testbed.at_most("x", 1.15, 1.15), True),
        (testbed.at_most("x", 1.16, 1.15), False),
        (testbed.at_least("x", 10, 10), True),
        (testbed.at_least("x", 9.9, 10), False),
    ],
)
def test_a_target_is_held_up_to_its_limit(
    target: testbed.Target, held: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert target.held is held
    assert testbed.report([], {}, [target]) == int(not held)
    assert json.loads(capsys.readouterr().out)["targets"][0]["held"] is held


def test_rates_are_compared_round_by_round() -> None:
    times = {"service": [2.0, 4.0, 3.0], "oracle": [2.0] * 3, "creates": [1.0] * 3, "kubectl": [6.0] * 3}
    rates = {"service": [8.0, 4.0], "oracle": [8.0, 8.0], "creates": [16.0, 8.0], "kubectl": [2.0, 1.0]}
    assert provision.ratios(times, rates) == {
        "seconds of oracle": 1.5, "seconds of creates": 3.0, "seconds of kubectl": 0.5,
        "rate of oracle": 0.75, "rate of creates": 0.5, "rate of kubectl": 4.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "available"),
    [
        ({"observedGeneration": 1, "readyReplicas": 2}, True),
        ({"observedGeneration": 1, "readyReplicas": 1}, False),
        ({"readyReplicas": 2}, False),
        ({}, False),
    ],
)
def test_a_deployment_is_available_when_the_present_spec_has_its_replicas(
    status: dict[str, Any], available: bool
) -> None:
    deployment = {"metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": status}
    assert environments.is_available(deployment) is available


def test_every_environment_has_a_name_of_its_own() -> None:
    text = json.dumps([{"kind": "Namespace", "metadata": {"name": "quality-fabric-" + "0" * 26}}])
    objects = environments.Objects(text, ("Namespace",))
    first, second = environments.namespace_of(objects.make()), environments.namespace_of(objects.make())
    assert first.startswith("bench-")
    assert first != second


def test_paths_are_those_of_the_api() -> None:
    assert bare.path_of("Namespace", name="n") == "/api/v1/namespaces/n"
    assert bare.path_of("NetworkPolicy", "n") == "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies"
    assert bare.path_of("Deployment", "n", "d") == "/apis/apps/v1/namespaces/n/deployments/d"

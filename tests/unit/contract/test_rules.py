"""The field rules of the contract: what they take, what they refuse, and by which rule."""

from __future__ import annotations

import copy
from typing import Any

import protovalidate
import pytest
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.message import Message

from k8s_execution_client._gen.buf.validate import validate_pb2
from k8s_execution_client._gen.maestro.k8s.execution.v1 import (
    environment_pb2,
    execution_pb2,
    plan_pb2,
    rules_pb2,
)
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as service_pb2

SMALLEST: dict[str, Any] = {
    "test_plan": {
        "source": {"image": {}},
        "suites": [{"name": "unit", "type": "PYTEST", "image": "python:3-slim"}],
    }
}
FULL: dict[str, Any] = {
    "name": "shop-regression",
    "project": "shop",
    "labels": {"branch": "feature/x", "commit": "3f2a"},
    "parameters": {"TAG": "latest"},
    "environment": {
        "env": {"LOG_LEVEL": "debug"},
        "secrets": {"X": {"value": "s3cret"}},
        "files": [{"path": "/etc/shop/config.yaml", "content": "a: ${api.url}\n"}],
        "applications": [
            {
                "name": "api",
                "image": "registry.example/shop-api:${param.TAG}",
                "command": ["/bin/api"],
                "args": ["--port", "8080"],
                "working_dir": "/srv",
                "replicas": 2,
                "ports": [{"name": "http", "port": 8080}, {"port": 9090}],
                "env": {"DB_HOST": "x"},
                "readiness": {
                    "http": {"path": "/healthz?full=1", "port": 8080},
                    "period": "1s",
                    "timeout": "2s",
                    "failure_threshold": 30,
                },
                "resources": {
                    "cpu": "250m",
                    "memory": "256Mi",
                    "cpu_limit": "1",
                    "memory_limit": "512Mi",
                    "shm_size": "64Mi",
                },
                "volumes": [{"name": "data", "mount_path": "/data", "size": "1Gi", "kind": "EMPTY_DIR"}],
                "security": {"run_as_user": 1000, "writable_root": False},
                "after": ["migrate"],
            }
        ],
        "network": {"egress": [{"cidr": "203.0.113.0/24", "ports": [443]}]},
        "quota": {"cpu": "4", "memory": "8Gi", "pods": 20, "ephemeral_storage": "10Gi"},
    },
    "test_plan": {
        "source": {"inline": {"files": [{"path": "tests/test_api.py", "content": "def test(): pass"}]}},
        "setup": [
            {
                "name": "migrate",
                "image": "registry.example/shop-api:1.4",
                "command": ["python", "-m", "shop.migrate"],
                "timeout": "120s",
            }
        ],
        "suites": [
            {
                "name": "api-tests",
                "image": "python:3-slim",
                "type": "PYTEST",
                "install": [["pip", "install", "-r", "requirements.txt"]],
                "command": ["python", "-m", "pytest", "-q"],
                "env": {"BASE_URL": "${api.url}"},
                "timeout": "600s",
                "optional": False,
                "after": [],
                "reports": ["**/junit*.xml"],
                "artifacts": ["**/*.png", "coverage/"],
                "resources": {"cpu": "500m", "memory": "512Mi"},
            }
        ],
        "teardown": [
            {
                "name": "dump",
                "image": "postgres:15",
                "command": ["sh", "-c", "pg_dump > $ARTIFACT_DIR/db.sql"],
                "artifacts": ["db.sql"],
                "timeout": "60s",
            }
        ],
        "strategy": {"parallel": 4, "fail_fast": False},
    },
    "policy": {
        "timeout": "30m",
        "provisioning_timeout": "5m",
        "queue_timeout": "30m",
        "ttl": "1h30m",
        "cleanup": "HOLD",
        "hold_for": "30m",
        "priority": 0,
    },
    "idempotency_key": "ci-4711",
}
APP = "environment.applications[0]"
SUITE = "test_plan.suites[0]"
NEW = object()
"""Marks a list item to append."""

WRONG: list[tuple[str, Any, str, str]] = [
    # where to write, what, the field of the violation ("" = where it was written), the rule
    ("name", "Shop", "", "string.identity"),
    ("name", "shop\n", "", "string.identity"),
    ("name", "s" * 64, "", "string.identity"),
    ("project", "../x", "", "string.identity"),
    ("labels.app", "x", 'labels["app"]', "string.label_key"),
    ("labels.kubernetes\\.io/x", "x", 'labels["kubernetes.io/x"]', "string.label_key"),
    ("labels.pod-security\\.kubernetes\\.io/enforce", "x", "", "string.label_key"),
    ("labels.k8s-execution\\.maestro/installation", "x", "", "string.label_key"),
    ("labels.branch", "a\nb", 'labels["branch"]', "string.line"),
    ("labels.branch", "a" * 257, 'labels["branch"]', "string.line"),
    ("labels", {f"k{i}": "" for i in range(33)}, "", "map.max_pairs"),
    ("parameters.a-b", "x", 'parameters["a-b"]', "string.variable"),
    ("parameters.P", "x" * 4097, 'parameters["P"]', "string.max_len"),
    ("idempotency_key", "a b", "", "idempotency_key"),
    ("idempotency_key", "k" * 129, "", "idempotency_key"),
    ("environment.env.1A", "x", 'environment.env["1A"]', "string.variable"),
    ("environment.env.A\n", "x", "", "string.variable"),
    ("environment.env.K8S_EXECUTION_STEP", "{}", "", "string.variable"),
    ("environment.env.A", "a\0b", 'environment.env["A"]', "string.process_text"),
    ("environment.env.A", "ä" * 16385, 'environment.env["A"]', "string.process_text"),
    ("environment.secrets.X", {}, 'environment.secrets["X"]', "secret.one_of"),
    ("environment.secrets.X", {"from_env": "TOKEN"}, 'environment.secrets["X"]', "secret.from_env"),
    ("environment.secrets.X.value", "x" * 16385, 'environment.secrets["X"].value', "string.max_bytes"),
    ("environment.files[0].path", "etc/x", "", "string.absolute_path"),
    ("environment.files[0].path", "/etc/../x", "", "string.absolute_path"),
    ("environment.files[0].content", "x" * 262145, "", "string.max_bytes"),
    ("environment.files", [{"path": "/a"}, {"path": "/a"}], "", "files.unique"),
    ("environment.applications", [{"name": "a", "image": "i"}] * 2, "", "applications.unique"),
    (f"{APP}.name", "", "", "string.name"),
    (f"{APP}.name", "Api", "", "string.name"),
    (f"{APP}.name", "аpi", "", "string.name"),  # the first letter is Cyrillic
    (f"{APP}.name", "1api", "", "string.name"),
    (f"{APP}.name", "a" * 41, "", "string.name"),
    (f"{APP}.name", "param", "", "string.name"),
    (f"{APP}.image", "", "", "string.image"),
    (f"{APP}.image", "a b", "", "string.image"),
    (f"{APP}.image", "x\n  privileged: true", "", "string.image"),
    (f"{APP}.image", "x:${api.url}", "", "string.image"),
    (f"{APP}.command", ["x"] * 257, "", "repeated.max_items"),
    (f"{APP}.args[0]", "a\0", "", "string.process_text"),
    (f"{APP}.working_dir", "srv", "", "string.absolute_path"),
    (f"{APP}.replicas", 0, "", "int32.gte_lte"),
    (f"{APP}.replicas", 51, "", "int32.gte_lte"),
    (f"{APP}.ports[0].port", 0, "", "int32.gte_lte"),
    (f"{APP}.ports[0].port", 65536, "", "int32.gte_lte"),
    (f"{APP}.ports[0].name", "8080", "", "port.name"),
    (f"{APP}.ports[0].name", "a--b", "", "port.name"),
    (f"{APP}.ports[0].name", "abcdefghijklmnop", "", "port.name"),
    (f"{APP}.ports", [{"port": 80}, {"port": 80}], "", "ports.unique"),
    (f"{APP}.ports", [{"name": "a", "port": 80}, {"name": "a", "port": 81}], "", "ports.unique"),
    (f"{APP}.readiness", {}, "", "readiness.one_of"),
    (f"{APP}.readiness", {"period": "1s"}, "", "readiness.one_of"),
    (f"{APP}.readiness.http.path", "healthz", "", "http.path"),
    (f"{APP}.readiness.http.path", "/a b", "", "http.path"),
    (f"{APP}.readiness.http.port", 70000, "", "int32.gte_lte"),
    (f"{APP}.readiness", {"tcp": {}}, f"{APP}.readiness.tcp.port", "int32.gte_lte"),
    (f"{APP}.readiness", {"exec": {}}, f"{APP}.readiness.exec.command", "repeated.min_items"),
    (f"{APP}.readiness.period", "1 s", "", "string.duration"),
    (f"{APP}.readiness.timeout", "6m", "", "string.duration_at_most"),
    (f"{APP}.readiness.failure_threshold", 0, "", "int32.gte_lte"),
    (f"{APP}.resources.cpu", "0", "", "string.cpu"),
    (f"{APP}.resources.cpu", "1.5.0", "", "string.cpu"),
    (f"{APP}.resources.memory", "512m", "", "string.size"),
    (f"{APP}.resources.memory", "-1", "", "string.size"),
    (f"{APP}.resources.memory", "١Gi", "", "string.size"),
    (f"{APP}.volumes[0].mount_path", "/", "", "string.absolute_path"),
    (f"{APP}.volumes[0].mount_path", "/data:ro", "", "string.absolute_path"),
    (f"{APP}.volumes[0].kind", 7, "", "enum.defined_only"),
    (f"{APP}.volumes", [{"name": "a", "mount_path": "/a"}, {"name": "b", "mount_path": "/a"}], "", "volumes.unique"),
    (f"{APP}.security.run_as_user", 0, "", "security.run_as_user"),
    (f"{APP}.after", ["a", "a"], "", "repeated.unique"),
    (f"{APP}.after", ["A"], f"{APP}.after[0]", "string.name"),
    ("environment.network.egress[0].cidr", "203.0.113.7/24", "", "egress.cidr"),
    ("environment.network.egress[0].cidr", "example.com", "", "egress.cidr"),
    ("environment.network.egress[0].ports", [0], "environment.network.egress[0].ports[0]", "int32.gte_lte"),
    ("environment.quota.pods", 0, "", "int32.gte_lte"),
    ("environment.quota.memory", "8GB", "", "string.size"),
    ("test_plan", None, "", "required"),
    ("test_plan.source", None, "", "required"),
    ("test_plan.source", {}, "", "source.one_of"),
    ("test_plan.source", {"local": {"path": "."}}, "", "source.local"),
    ("test_plan.source", {"bundle": {"id": "b-../x"}}, "test_plan.source.bundle.id", "bundle.id"),
    ("test_plan.source.inline.files", [], "", "repeated.min_items"),
    ("test_plan.source.inline.files[0].path", "/abs.py", "", "string.relative_path"),
    ("test_plan.source.inline.files[0].path", "../up.py", "", "string.relative_path"),
    ("test_plan.source.inline.files", [{"path": "a"}, {"path": "a"}], "", "inline.unique"),
    ("test_plan.setup[0].command", [], "", "repeated.min_items"),
    ("test_plan.setup[0].timeout", "25h", "", "string.duration_at_most"),
    ("test_plan.setup", [{"name": "a", "image": "i", "command": ["x"]}] * 2, "", "setup.unique"),
    ("test_plan.teardown", [{"name": "a", "image": "i", "command": ["x"]}] * 2, "", "teardown.unique"),
    ("test_plan.suites", [], "", "repeated.min_items"),
    ("test_plan.suites", [{"name": "a", "image": "i", "type": "PYTEST"}] * 2, "", "suites.unique"),
    (f"{SUITE}.type", None, "", "suite.type"),
    (f"{SUITE}.type", 99, "", "suite.type"),
    (f"{SUITE}", {"name": "a", "image": "i", "type": "CUSTOM"}, "", "suite.command"),
    (f"{SUITE}.install", [[]], f"{SUITE}.install[0]", "install.command"),
    (f"{SUITE}.install", [["pip"], ["a", 3]], f"{SUITE}.install[1]", "install.command"),
    (f"{SUITE}.install", [["a\0"]], f"{SUITE}.install[0]", "install.command"),
    (f"{SUITE}.timeout", "", "", "string.duration"),
    (f"{SUITE}.timeout", "10", "", "string.duration"),
    (f"{SUITE}.timeout", "0s", "", "string.duration"),
    (f"{SUITE}.timeout", "30m1h", "", "string.duration"),
    (f"{SUITE}.reports", ["/etc/*"], f"{SUITE}.reports[0]", "string.glob"),
    (f"{SUITE}.artifacts", ["a/../../b"], f"{SUITE}.artifacts[0]", "string.glob"),
    ("test_plan.strategy.parallel", 0, "", "int32.gte_lte"),
    ("test_plan.strategy.parallel", 65, "", "int32.gte_lte"),
    ("policy.timeout", "24h1s", "", "string.duration_at_most"),
    ("policy.provisioning_timeout", "3h", "", "string.duration_at_most"),
    ("policy.ttl", "forever", "", "string.duration"),
    ("policy.ttl", "73h", "", "string.duration_at_most"),
    ("policy.cleanup", 9, "", "enum.defined_only"),
    ("policy.priority", 101, "", "int32.gte_lte"),
]


def request(document: dict[str, Any]) -> service_pb2.ExecuteRequest:
    return json_format.ParseDict(document, service_pb2.ExecuteRequest())


def violations(message: Message) -> list[tuple[str, str, str]]:
    """Field path, rule id and message of every violation."""
    found = (v.proto for v in protovalidate.collect_violations(message))
    return [(path(v.field), v.rule_id, v.message) for v in found]


def path(field: Any) -> str:
    """A violation's field as the contract writes it."""
    text = ""
    for element in field.elements if field else ():
        text += f".{element.field_name}"
        if element.subscript is not None:
            key = element.subscript.value
            text += f"[{key}]" if element.subscript.field == "index" else f'["{key}"]'
    return text.removeprefix(".")


def steps(where: str) -> list[str | int]:
    """`a.b[0].c\\.d` as its keys and indexes."""
    parts = where.replace("\\.", "\1").replace("[", ".").replace("]", "").split(".")
    return [int(p) if p.isdigit() else p.replace("\1", ".") for p in parts]


def changed(where: str, value: Any) -> dict[str, Any]:
    """FULL with one place changed; None removes it."""
    document = copy.deepcopy(FULL)
    *parents, last = steps(where)
    node: Any = document
    for key in parents:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return document


def test_the_smallest_request_is_taken() -> None:
    assert violations(request(SMALLEST)) == []


def test_the_full_request_is_taken() -> None:
    assert violations(request(FULL)) == []


@pytest.mark.parametrize(("where", "value", "field", "rule"), WRONG, ids=[f"{w[0]}-{w[3]}" for w in WRONG])
def test_a_wrong_field_is_refused_by_its_rule_and_no_other(where: str, value: Any, field: str, rule: str) -> None:
    found = violations(request(changed(where, value)))
    assert [f[1] for f in found] == [rule]
    if field or "\\" not in where:
        *_, last = steps(where)
        in_map = where.startswith(("labels.", "parameters.", "environment.env.", "environment.secrets."))
        assert found[0][0] == (field or (f'{where.rpartition(".")[0]}["{last}"]' if in_map else where))


def test_all_wrong_fields_are_said_at_once() -> None:
    document = changed("name", "Shop")
    document["policy"]["ttl"] = "never"
    document["test_plan"]["suites"][0]["image"] = "a b"
    document["environment"]["env"]["1"] = "x"
    assert {rule for _, rule, _ in violations(request(document))} == {
        "string.identity",
        "string.duration",
        "string.image",
        "string.variable",
    }


@pytest.mark.parametrize("value", ["1s", "90m", "1h30m", "600s", "1h0m1s", "0h5m"])
def test_durations_of_hours_minutes_and_seconds_are_taken(value: str) -> None:
    assert violations(plan_pb2.Policy(timeout=value)) == []


@pytest.mark.parametrize(("value", "good"), [("23h59m60s", True), ("24h", True), ("1440m", True), ("24h1s", False)])
def test_the_longest_duration_is_compared_by_its_length_and_not_its_text(value: str, good: bool) -> None:
    assert (violations(plan_pb2.Policy(timeout=value)) == []) is good


@pytest.mark.parametrize("value", ["1", "0.5", "250m", "1.125", "64"])
def test_processor_quantities_are_taken(value: str) -> None:
    assert violations(environment_pb2.Resources(cpu=value)) == []


@pytest.mark.parametrize("value", ["1Gi", "512Mi", "1.5Gi", "64M", "1073741824"])
def test_byte_quantities_are_taken(value: str) -> None:
    assert violations(environment_pb2.Resources(memory=value)) == []


@pytest.mark.parametrize(
    "value",
    [
        "python:3-slim",
        "registry.example:5000/team/api:1.4",
        "api@sha256:" + "0" * 64,
        "${param.IMAGE}",
        "registry.example/${param.NAME}:${param.TAG}",
    ],
)
def test_image_references_are_taken(value: str) -> None:
    assert violations(environment_pb2.Application(name="api", image=value)) == []


@pytest.mark.parametrize("count", [256, 257])
def test_the_number_of_variables_ends_at_its_limit(count: int) -> None:
    found = violations(environment_pb2.Environment(env={f"V{i}": "" for i in range(count)}))
    assert [rule for _, rule, _ in found] == ([] if count == 256 else ["map.max_pairs"])


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        (service_pb2.StatusRequest(), "string.execution_id"),
        (service_pb2.StatusRequest(execution_id="a", wait="11m"), "string.duration_at_most"),
        (service_pb2.StatusRequest(execution_id="a", after_sequence=-1), "int64.gte"),
        (service_pb2.StreamLogsRequest(execution_id="a/b"), "string.execution_id"),
        (service_pb2.StreamLogsRequest(execution_id="a", cursor="a b"), "string.token"),
        (service_pb2.StreamLogsRequest(execution_id="a", pods=[""]), "string.min_len"),
        (service_pb2.StreamLogsRequest(execution_id="a", steps=["a\n"]), "string.line"),
        (service_pb2.CleanupRequest(execution_id="a' or 1=1"), "string.execution_id"),
        (service_pb2.ListActiveRequest(page_size=-1), "int32.gte_lte"),
        (service_pb2.ListActiveRequest(page_size=501), "int32.gte_lte"),
        (service_pb2.ListExecutionsRequest(verdicts=[execution_pb2.VERDICT_UNSPECIFIED]), "enum.not_in"),
        (service_pb2.ListExecutionsRequest(id_prefix="%"), "id_prefix"),
        (service_pb2.WatchRequest(execution_id="A"), "string.execution_id"),
        (service_pb2.UploadBundleRequest(), "upload.one_of"),
        (service_pb2.UploadBundleRequest(chunk=b"x" * 2097153), "bytes.max_len"),
        (service_pb2.UploadBundleRequest(metadata=service_pb2.BundleMetadata(sha256="AB")), "bundle.sha256"),
        (service_pb2.DownloadArtifactRequest(execution_id="a", path="../x"), "string.relative_path"),
        (service_pb2.DownloadArtifactRequest(execution_id="a", path="%2e%2e/\0"), "string.relative_path"),
        (service_pb2.GetResultsRequest(execution_id="a", page_size=1001), "int32.gte_lte"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_other_requests_are_refused_by_their_rules(message: Message, rule: str) -> None:
    assert [found for _, found, _ in violations(message)] == [rule]


@pytest.mark.parametrize(
    "message",
    [
        service_pb2.ListActiveRequest(),
        service_pb2.ListExecutionsRequest(),
        service_pb2.SweepOrphansRequest(),
        service_pb2.WatchRequest(),
        service_pb2.ValidateRequest(),
        service_pb2.UploadBundleRequest(chunk=b""),
    ],
    ids=lambda message: type(message).__name__,
)
def test_requests_without_required_fields_are_taken_empty(message: Message) -> None:
    assert violations(message) == []


def test_the_problems_of_a_plan_do_not_refuse_the_call_of_validate() -> None:
    assert violations(service_pb2.ValidateRequest(request=request(changed("name", "Bad Name")))) == []


def test_every_rule_of_our_own_says_the_rule_and_the_way_out() -> None:
    without = [rule.id for rule in own_rules() if "; " not in (rule.message or rule.expression)]
    assert not without


def test_messages_of_own_rules_hold_the_separator_once() -> None:
    assert not [rule.id for rule in own_rules() if rule.message.count("; ") > 1]


def test_validating_a_full_request_takes_less_than_two_milliseconds() -> None:
    import time

    message = request(FULL)
    violations(message)
    best = min(_elapsed(time.perf_counter, message) for _ in range(20))
    assert best < 0.002


def _elapsed(clock: Any, message: Message) -> float:
    start = clock()
    protovalidate.collect_violations(message)
    return float(clock() - start)


def own_rules() -> list[validate_pb2.Rule]:
    """Every CEL rule that the contract itself writes: predefined, of messages, of fields and of their items."""
    rules: list[validate_pb2.Rule] = []
    for extension in rules_pb2.DESCRIPTOR.extensions_by_name.values():
        rules += extension.GetOptions().Extensions[validate_pb2.predefined].cel
    for file in (environment_pb2.DESCRIPTOR, plan_pb2.DESCRIPTOR, service_pb2.DESCRIPTOR):
        for message in file.message_types_by_name.values():
            rules += message.GetOptions().Extensions[validate_pb2.message].cel
            for field in message.fields:
                rule: validate_pb2.FieldRules = field.GetOptions().Extensions[validate_pb2.field]
                rules += [*rule.cel, *rule.repeated.items.cel]
    assert len(rules) > 30
    return rules


def test_protobuf_uses_its_native_implementation() -> None:
    from google.protobuf.internal import api_implementation

    assert api_implementation.Type() == "upb"
    assert descriptor_pb2.DESCRIPTOR.name == "google/protobuf/descriptor.proto"

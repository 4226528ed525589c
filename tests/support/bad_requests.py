"""Wrong requests as data: one valid document, small mutations of it, and the problems that each must be answered with.

A row's problems are all that the service says (field path, rule), from the contract's field rules and from the checks
of the whole plan. Used over the transports alone and over the whole service.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

VALID: dict[str, Any] = {
    "name": "shop-regression",
    "labels": {"branch": "feature/x"},
    "parameters": {"TAG": "1.4"},
    "environment": {
        "env": {"LOG_LEVEL": "debug"},
        "secrets": {"TOKEN": {"value": "s3cret-value"}},
        "files": [{"path": "/etc/shop/config.yaml", "content": "a: 1\n"}],
        "applications": [
            {
                "name": "api",
                "image": "registry.example/shop-api:${param.TAG}",
                "replicas": 2,
                "ports": [{"name": "http", "port": 8080}],
                "env": {"MODE": "test"},
                "readiness": {"http": {"path": "/healthz", "port": 8080}, "period": "1s"},
                "resources": {"cpu": "250m", "memory": "256Mi"},
                "volumes": [{"name": "data", "mount_path": "/data", "size": "1Gi"}],
            }
        ],
        "network": {"egress": [{"cidr": "203.0.113.0/24", "ports": [443]}]},
        "quota": {"pods": 20},
    },
    "test_plan": {
        "source": {"inline": {"files": [{"path": "test_api.py", "content": "def test_one(): pass\n"}]}},
        "setup": [{"name": "migrate", "image": "python:3.12-slim", "command": ["true"], "timeout": "60s"}],
        "suites": [
            {
                "name": "unit",
                "type": "PYTEST",
                "image": "python:3.12-slim",
                "install": [["pip", "install", "pytest"]],
                "env": {"BASE_URL": "${api.url}"},
                "timeout": "600s",
            },
            {"name": "smoke", "type": "CUSTOM", "image": "python:3.12-slim", "command": ["true"]},
        ],
        "teardown": [{"name": "dump", "image": "python:3.12-slim", "command": ["true"], "artifacts": ["*.sql"]}],
        "strategy": {"parallel": 2},
    },
    "policy": {"timeout": "20m", "ttl": "1h", "cleanup": "ALWAYS"},
}
"""Accepted as it is; `name` api has an address, so references to it hold."""

Problems = frozenset[tuple[str, str]]
Change = tuple[str | int, ...]
ABSENT = object()
"""As a value: the field is removed."""

APP: Change = ("environment", "applications", 0)
SUITE: Change = ("test_plan", "suites", 0)
HOOK: Change = ("test_plan", "setup", 0)


@dataclass(frozen=True, slots=True)
class BadRequest:
    """Where the valid document is changed to what, and every (field, rule) that is wrong then."""

    name: str
    changes: tuple[tuple[Change, Any], ...]
    problems: Problems

    def document(self) -> dict[str, Any]:
        """The wrong document."""
        document = copy.deepcopy(VALID)
        for where, value in self.changes:
            *parents, last = where
            node: Any = document
            for key in parents:
                node = node[key]
            if value is ABSENT:
                del node[last]
            else:
                node[last] = value
        return document


def path(where: Change) -> str:
    """A change's place as a field path; an entry of a map is written `["key"]`."""
    text = ""
    for number, key in enumerate(where):
        in_map = number > 0 and where[number - 1] in {"env", "labels", "parameters", "secrets"}
        text += f"[{key}]" if isinstance(key, int) else f'["{key}"]' if in_map else f".{key}"
    return text.removeprefix(".")


def one(where: Change, value: Any, rule: str, *, at: str = "", also: tuple[tuple[str, str], ...] = ()) -> BadRequest:
    """One change that breaks `rule` where it is made (or `at` another field), and `also` others by consequence."""
    field = at or path(where)
    shown = "absent" if value is ABSENT else repr(value)[:24]
    return BadRequest(f"{path(where)}={shown}", ((where, value),), frozenset({(field, rule), *also}))


RENAMED = (('test_plan.suites[0].env["BASE_URL"]', "reference.known"),)
"""Without an application of that name the suite's reference to it names nothing."""

ROWS: tuple[BadRequest, ...] = (
    one(("name",), "Shop", "string.identity"),
    one(("name",), "shop\n", "string.identity"),
    one(("name",), "s" * 64, "string.identity"),
    one(("project",), "../x", "string.identity"),
    one(("labels", "app"), "x", "string.label_key"),
    one(("labels", "kubernetes.io/x"), "x", "string.label_key"),
    one(("labels", "branch"), "a\nb", "string.line"),
    one(("labels",), {f"k{i}": "" for i in range(33)}, "map.max_pairs"),
    one(("parameters", "a-b"), "x", "string.variable"),
    one(("parameters", "P"), "x" * 4097, "string.max_len"),
    one(("idempotency_key",), "a b", "idempotency_key"),
    one(("environment", "env", "1A"), "x", "string.variable"),
    one(("environment", "env", "K8S_EXECUTION_STEP"), "x", "string.variable"),
    one(("environment", "env", "A"), "a\0b", "string.process_text"),
    one(("environment", "env", "A"), "${api.color}", "reference.known"),
    one(("environment", "env", "A"), "${api", "reference.syntax"),
    one(("environment", "env", "TOKEN"), "x", "secret.twice", at='environment.secrets["TOKEN"]'),
    one(("environment", "secrets", "X"), {}, "secret.one_of"),
    one(("environment", "secrets", "X"), {"from_env": "TOKEN"}, "secret.from_env"),
    one(("environment", "secrets", "1X"), {"value": "v"}, "string.variable"),
    one(("environment", "files", 0, "path"), "etc/x", "string.absolute_path"),
    one(("environment", "files", 0, "path"), "/etc/../x", "string.absolute_path"),
    one(("environment", "files", 0, "content"), "x" * 262_145, "string.max_bytes"),
    one((*APP, "name"), "", "string.name", also=RENAMED),
    one((*APP, "name"), "Api", "string.name", also=RENAMED),
    one((*APP, "name"), "\u0430pi", "string.name", also=RENAMED),
    one((*APP, "name"), "migrate", "name.unique", at="test_plan.setup[0].name", also=RENAMED),
    one((*APP, "image"), ABSENT, "string.image"),
    one((*APP, "image"), "a b", "string.image"),
    one((*APP, "image"), "x\n  privileged: true", "string.image"),
    one((*APP, "image"), "Shop/API:1", "image.form"),
    one((*APP, "image"), "shop:${param.NONE}", "reference.known"),
    one((*APP, "replicas"), 0, "int32.gte_lte"),
    one((*APP, "replicas"), 51, "int32.gte_lte"),
    one((*APP, "ports", 0, "port"), 0, "int32.gte_lte"),
    one((*APP, "ports", 0, "name"), "8080", "port.name"),
    one((*APP, "ports"), [{"port": 80}, {"port": 80}], "ports.unique"),
    one((*APP, "readiness"), {}, "readiness.one_of"),
    one((*APP, "readiness"), {"tcp": {}}, "int32.gte_lte", at=f"{path(APP)}.readiness.tcp.port"),
    one((*APP, "readiness"), {"exec": {}}, "repeated.min_items", at=f"{path(APP)}.readiness.exec.command"),
    one((*APP, "readiness", "http", "path"), "healthz", "http.path"),
    one((*APP, "readiness", "period"), "1 s", "string.duration"),
    one((*APP, "readiness", "timeout"), "6m", "string.duration_at_most"),
    one((*APP, "resources", "cpu"), "0", "string.cpu"),
    one((*APP, "resources", "memory"), "512m", "string.size"),
    one((*APP, "resources", "memory_limit"), "128Mi", "resources.limit", at=f"{path(APP)}.resources.memory"),
    one((*APP, "volumes", 0, "mount_path"), "data", "string.absolute_path"),
    one((*APP, "volumes", 0, "mount_path"), "/k8s-execution", "mount.reserved"),
    one((*APP, "volumes", 0, "kind"), 7, "enum.defined_only"),
    one((*APP, "security"), {"run_as_user": 0}, "security.run_as_user", at=f"{path(APP)}.security.run_as_user"),
    one((*APP, "after"), ["nothing"], "after.known", at=f"{path(APP)}.after[0]"),
    one((*APP, "after"), ["api"], "after.circle", at=f"{path(APP)}.after"),
    one(("environment", "network", "egress", 0, "cidr"), "203.0.113.7/24", "egress.cidr"),
    one(("environment", "network", "egress", 0, "cidr"), "169.254.169.254/32", "egress.forbidden"),
    one(("environment", "quota", "pods"), 0, "int32.gte_lte"),
    one(("environment", "quota", "pods"), 2, "quota.room"),
    one(("environment", "quota", "memory"), "8GB", "string.size", at="environment.quota.memory"),
    one(("test_plan",), ABSENT, "required"),
    one(("test_plan", "source"), ABSENT, "required"),
    one(("test_plan", "source"), {}, "source.one_of"),
    one(("test_plan", "source"), {"local": {"path": "."}}, "source.local"),
    one(("test_plan", "source"), {"bundle": {"id": "../x"}}, "bundle.id", at="test_plan.source.bundle.id"),
    one(("test_plan", "source"), {"bundle": {"id": "b-none"}}, "bundle.exists", at="test_plan.source.bundle.id"),
    one(("test_plan", "source", "inline", "files", 0, "path"), "../up.py", "string.relative_path"),
    one(("test_plan", "source", "inline", "files"), [], "repeated.min_items"),
    one((*HOOK, "command"), [], "repeated.min_items"),
    one((*HOOK, "timeout"), "25h", "string.duration_at_most"),
    one((*HOOK, "after"), ["unit"], "after.known", at=f"{path(HOOK)}.after[0]"),
    one(("test_plan", "suites"), [], "repeated.min_items"),
    one(("test_plan", "suites", 1, "name"), "unit", "suites.unique", at="test_plan.suites"),
    one(("test_plan", "suites", 1, "command"), ABSENT, "suite.command", at="test_plan.suites[1]"),
    one((*SUITE, "type"), ABSENT, "suite.type"),
    one((*SUITE, "type"), 99, "suite.type"),
    one((*SUITE, "install"), [[]], "install.command", at=f"{path(SUITE)}.install[0]"),
    one((*SUITE, "timeout"), "", "string.duration"),
    one((*SUITE, "timeout"), "10", "string.duration"),
    one((*SUITE, "timeout"), "0s", "string.duration"),
    one((*SUITE, "timeout"), "999999999999h", "string.duration"),
    one((*SUITE, "reports"), ["/etc/*"], "string.glob", at=f"{path(SUITE)}.reports[0]"),
    one((*SUITE, "artifacts"), ["a/../../b"], "string.glob", at=f"{path(SUITE)}.artifacts[0]"),
    one((*SUITE, "after"), ["smoke", "smoke"], "repeated.unique", at=f"{path(SUITE)}.after"),
    one(("test_plan", "strategy", "parallel"), 0, "int32.gte_lte"),
    one(("policy", "timeout"), "25h", "string.duration_at_most", also=(("policy.ttl", "ttl.timeouts"),)),
    one(("policy", "ttl"), "forever", "string.duration"),
    one(("policy", "ttl"), "10m", "ttl.timeouts"),
    one(("policy", "cleanup"), 9, "enum.defined_only"),
    one(("policy", "priority"), 101, "int32.gte_lte"),
    BadRequest(
        "many at once",
        (
            (("name",), "Shop"),
            (("policy", "ttl"), "never"),
            ((*SUITE, "image"), "a b"),
            (("environment", "env", "1"), "x"),
            ((*APP, "env", "X"), "${api.colour}"),
            (("environment", "quota", "pods"), 0),
        ),
        frozenset(
            {
                ("name", "string.identity"),
                ("policy.ttl", "string.duration"),
                (f"{path(SUITE)}.image", "string.image"),
                ('environment.env["1"]', "string.variable"),
                (f'{path(APP)}.env["X"]', "reference.known"),
                ("environment.quota.pods", "int32.gte_lte"),
            }
        ),
    ),
)

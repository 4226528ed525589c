"""The rules of `deploy/` and the requests of an audit log, in one form: (verb, what, where)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
CLUSTER, ENVIRONMENT, DRY_RUN = "cluster", "environment", "dry-run"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource (with group and subresource) in one place; `name` where it is for one object only."""

    where: str
    verb: str
    what: str
    name: str = ""


def documents() -> list[dict[str, Any]]:
    """All objects of deploy/, in the order in which kubectl applies them."""
    return [d for path in sorted(DEPLOY.glob("*.yaml")) for d in yaml.safe_load_all(path.read_text()) if d]


def named(kind: str, name: str = "k8s-execution") -> dict[str, Any]:
    """The object of that kind and name."""
    return next(d for d in documents() if (d["kind"], d["metadata"]["name"]) == (kind, name))


def granted() -> set[Right]:
    """What the roles grant, each verb on each resource apart."""
    roles = {
        CLUSTER: named("ClusterRole"),
        ENVIRONMENT: named("ClusterRole", "k8s-execution-environment"),
        DRY_RUN: named("Role", "k8s-execution-dry-run"),
    }
    return {right for where, role in roles.items() for rule in role["rules"] for right in _of_rule(where, rule)}


def _of_rule(where: str, rule: dict[str, Any]) -> Iterator[Right]:
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                for name in rule.get("resourceNames", [""]):
                    yield Right(where, verb, f"{resource}.{group}" if group else resource, name)


def used(log: Path, user_agent: str, prefix: str, dry_run: str) -> set[Right]:
    """What the client of this name asked for; RoleBindings and namespaces count for the whole cluster."""
    ours = [e for e in _events(log) if e["userAgent"] == user_agent and e["stage"] == "RequestReceived"]
    return {_right(e["verb"], e["objectRef"], prefix, dry_run) for e in ours}


def used_by_account(log: Path, account: str, prefix: str, dry_run: str) -> set[Right]:
    """The same of an account, in a log that is written when requests are answered."""
    ours = [e for e in _events(log) if e["user"].get("username") == account and "objectRef" in e]
    return {_right(e["verb"], e["objectRef"], prefix, dry_run) for e in ours}


def _events(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def _right(verb: str, reference: dict[str, str], prefix: str, dry_run: str) -> Right:
    namespace, resource = reference.get("namespace", ""), reference["resource"]
    if resource in {"namespaces", "rolebindings"} or not namespace:
        where = CLUSTER
    elif namespace == dry_run:
        where = DRY_RUN
    else:
        assert namespace.startswith(prefix), f"a request into the namespace {namespace}"
        where = ENVIRONMENT
    what = resource + (f"/{reference['subresource']}" if "subresource" in reference else "")
    group = reference.get("apiGroup", "")
    return Right(where, verb, f"{what}.{group}" if group else what, reference.get("name", ""))


def allows(grants: set[Right], right: Right) -> bool:
    """Whether one of the grants covers it: the same, for every name or for this one."""
    return any(
        (g.where, g.verb, g.what) == (right.where, right.verb, right.what) and g.name in {"", right.name}
        for g in grants
    )

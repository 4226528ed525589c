"""Rules for limits, identity, labels, parameters and strategy. Pure."""

from __future__ import annotations

from k8s_execution.domain.plan import Policy, Specification
from k8s_execution.domain.quantity import format_duration
from k8s_execution.manifests.rules.findings import (
    IDENTITY,
    LABEL_KEY,
    LINE,
    PROCESS_TEXT,
    VARIABLE,
    Findings,
    entry,
)

_HOUR_MS = 3_600_000
_LONGEST_MS = {
    "timeout": 24 * _HOUR_MS,
    "provisioning_timeout": 2 * _HOUR_MS,
    "queue_timeout": 24 * _HOUR_MS,
    "ttl": 72 * _HOUR_MS,
    "hold_for": 24 * _HOUR_MS,
}


def check(found: Findings, specification: Specification) -> None:
    """All of the plan that is neither environment nor step."""
    if specification.name:
        found.text("name", specification.name, IDENTITY)
    found.text("project", specification.project, IDENTITY)
    found.count("labels", specification.labels, 64)
    for key, value in specification.labels.items():
        if found.text(entry("labels", key), key, LABEL_KEY):
            found.text(entry("labels", key), value, LINE)
    found.count("parameters", specification.parameters, 256)
    for name, value in specification.parameters.items():
        if found.text(entry("parameters", name), name, VARIABLE):
            found.text(entry("parameters", name), value, PROCESS_TEXT)
    plan = specification.test_plan
    found.number("test_plan.strategy.parallel", plan.strategy.parallel, 1, 64)
    found.count("test_plan.setup", plan.setup, 32)
    found.count("test_plan.suites", plan.suites, 64, least=1)
    found.count("test_plan.teardown", plan.teardown, 32)
    found.count("environment.applications", specification.environment.applications, 32)
    _clocks(found, specification.policy)


def _clocks(found: Findings, policy: Policy) -> None:
    found.number("policy.priority", policy.priority, -100, 100)
    for name, longest in _LONGEST_MS.items():
        value = getattr(policy, f"{name}_ms")
        if not 0 < value <= longest:
            message = f"must be more than zero and at most {format_duration(longest)}"
            found.add(f"policy.{name}", format_duration(max(value, 0)), "duration.range", message, "write '30m'")
    for name in ("timeout", "provisioning_timeout"):
        value = getattr(policy, f"{name}_ms")
        if policy.ttl_ms < value:
            message = f"must not be below policy.{name} ({format_duration(value)}): it ends everything"
            hint = f"raise it, or lower policy.{name}"
            found.add("policy.ttl", format_duration(max(policy.ttl_ms, 0)), "ttl.timeouts", message, hint)

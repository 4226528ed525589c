"""Sums and warnings of sound plans."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k8s_execution.domain.plan import (
    CleanupPolicy,
    EgressRule,
    Policy,
    Port,
    Quota,
    Readiness,
    ReadinessKind,
    Resources,
    Specification,
)
from k8s_execution.manifests.check import Checker
from k8s_execution.ports.manifests import QuotaSum
from unit.manifests.samples import MIGRATE, SMALLEST, SPECIFICATION, with_application, with_environment, with_suite

APP = "environment.applications[0]"
CHECK = Checker()


def sums(plan: Specification) -> dict[str, QuotaSum]:
    return {s.resource: s for s in CHECK.review(plan).quota}


def test_the_sums_say_what_is_needed_what_is_allowed_and_of_what_it_is_made() -> None:
    assert sums(SPECIFICATION)["requests.cpu"] == QuotaSum(
        "requests.cpu",
        "760m",
        "1270m",
        True,
        ("api 2 x 250m", "suites, 1 at once, of 1 x 260m", "or hooks, 1 at once, of 2 x 260m"),
    )
    assert sums(SPECIFICATION)["pods"] == QuotaSum(
        "pods", "3", "7", True, ("api 2 x 1", "suites, 1 at once, of 1 x 1", "or hooks, 1 at once, of 2 x 1")
    )


def test_a_large_hook_is_what_counts_where_it_needs_more_than_the_suites() -> None:
    hook = replace(MIGRATE, resources=Resources(memory="1Gi", memory_limit="1Gi"))
    plan = replace(SPECIFICATION, test_plan=replace(SPECIFICATION.test_plan, setup=(hook,)))
    assert sums(plan)["requests.memory"].needed == "1568Mi"


def test_a_quota_without_room_is_still_summed_up() -> None:
    found = sums(with_environment(quota=Quota(cpu="500m", pods=10)))
    assert (found["requests.cpu"].allowed, found["requests.cpu"].sufficient) == ("500m", False)
    assert found["pods"].sufficient


@pytest.mark.parametrize(
    ("plan", "field", "rule"),
    [
        (with_application(image="shop"), f"{APP}.image", "image.moving"),
        (with_application(image="registry.example:5000/shop:latest"), f"{APP}.image", "image.moving"),
        (with_suite(image="python"), "test_plan.suites[0].image", "image.moving"),
        (with_application(readiness=None), APP, "readiness.missing"),
        (with_application(readiness=Readiness(ReadinessKind.TCP, 1)), f"{APP}.readiness.tcp.port", "readiness.port"),
        (with_application(env={"X": "http://$(API_HOST)"}), f'{APP}.env["X"]', "variable.expansion"),
        (with_environment(egress=(EgressRule("0.0.0.0/0"),)), "environment.network.egress[0].cidr", "egress.open"),
        (with_suite(optional=True), "test_plan.suites", "suites.optional"),
        (replace(SPECIFICATION, policy=Policy(cleanup=CleanupPolicy.HOLD, hold_for_ms=3_600_000)),
         "policy.hold_for", "hold.ttl"),
    ],
)  # fmt: skip
def test_what_is_likely_not_meant_is_a_warning(plan: Specification, field: str, rule: str) -> None:
    found = CHECK.review(plan).warnings
    assert [(w.field, w.rule) for w in found] == [(field, rule)]
    assert all(w.message and w.hint for w in found)


@pytest.mark.parametrize("plan", [SPECIFICATION, SMALLEST, with_application(ports=(Port("x", 8080),))])
def test_an_ordinary_plan_has_no_warning(plan: Specification) -> None:
    assert CHECK.review(plan).warnings == ()


def test_a_warning_shows_no_value_of_a_variable() -> None:
    (warning,) = CHECK.review(with_application(env={"X": "hunter2 $(Y)"})).warnings
    assert "hunter2" not in f"{warning.value}{warning.message}{warning.hint}"

"""The arithmetic of quota and limits."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from k8s_execution.domain.plan import Environment, Quota, Resources, Strategy
from k8s_execution.domain.quantity import parse_quantity
from k8s_execution.manifests import sizing
from unit.manifests.samples import API, SMALLEST, SPECIFICATION, SUITE, with_environment


def test_the_least_is_all_replicas_with_the_parallel_suites_or_the_largest_hook() -> None:
    least = sizing.least(SPECIFICATION)
    assert (least.cpu, least.pods) == (2 * Decimal("0.25") + Decimal("0.26"), 3)
    assert least.memory == (2 * 256 + 256 + 32) * 2**20


def test_no_more_suites_count_than_run_at_once() -> None:
    suites = tuple(replace(SUITE, name=f"s{i}") for i in range(10))
    plan = replace(SMALLEST.test_plan, suites=suites, strategy=Strategy(parallel=3))
    assert sizing.least(replace(SMALLEST, test_plan=plan)).pods == 3


def test_the_suites_that_need_most_are_the_ones_that_count() -> None:
    small, large = replace(SUITE, name="s"), replace(SUITE, name="l", resources=Resources(cpu="2", cpu_limit="2"))
    plan = replace(SMALLEST.test_plan, suites=(small, large), strategy=Strategy(parallel=1))
    assert sizing.least(replace(SMALLEST, test_plan=plan)).cpu == Decimal("2.01")


def test_the_default_quota_has_room_above_the_least() -> None:
    for plan in (SPECIFICATION, SMALLEST, replace(SMALLEST, environment=Environment(applications=(API,)))):
        hard, least = sizing.hard(plan), sizing.least(plan)
        assert parse_quantity(hard["requests.cpu"]) > least.cpu
        assert parse_quantity(hard["requests.memory"]) > least.memory
        assert parse_quantity(hard["limits.cpu"]) > least.cpu_limit
        assert int(hard["pods"]) > least.pods


def test_the_callers_quota_bounds_requests_and_pods() -> None:
    hard = sizing.hard(with_environment(quota=Quota(cpu="4", memory="8Gi", pods=20, ephemeral_storage="10Gi")))
    assert (hard["requests.cpu"], hard["requests.memory"], hard["pods"]) == ("4", "8Gi", "20")
    assert hard["requests.ephemeral-storage"] == "10Gi"


def test_no_service_can_be_reached_from_outside() -> None:
    hard = sizing.hard(SPECIFICATION)
    assert (hard["services.nodeports"], hard["services.loadbalancers"]) == ("0", "0")


def test_a_bounded_disk_is_shared_by_all_containers() -> None:
    plan = with_environment(quota=Quota(ephemeral_storage="10Gi"))
    request = parse_quantity(sizing.limits(plan)["defaultRequest"]["ephemeral-storage"])
    assert 0 < request * sizing.comfortable(plan).containers <= parse_quantity("10Gi")

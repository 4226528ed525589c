"""How much of the cluster a plan needs at once: the arithmetic behind quota and limits. Pure.

A pod counts against a quota from its creation until its containers ended, so a step that is being collected still
counts, and so does a pod that is being deleted. A step's pod needs its own container and the collector; the agent's
init container is smaller than both and does not add up (Kubernetes takes the larger of init and main containers).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from k8s_execution.domain.plan import Application, Resources, Specification, Step
from k8s_execution.domain.quantity import format_bytes, format_cpu, parse_quantity

COLLECTOR = Resources(cpu="10m", memory="32Mi", cpu_limit="100m", memory_limit="128Mi")
"""What the agent's own containers need: little processor, and memory for one buffer a stream."""

HEADROOM_PODS = 2
"""Pods beyond the plan's own: one that replaces an evicted pod while that still ends, and one to debug with."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Cores, bytes, pods and containers that are needed at once."""

    cpu: Decimal = Decimal(0)
    memory: Decimal = Decimal(0)
    cpu_limit: Decimal = Decimal(0)
    memory_limit: Decimal = Decimal(0)
    pods: int = 0
    containers: int = 0

    def __add__(self, other: Demand) -> Demand:
        """Both at the same time."""
        return Demand(
            self.cpu + other.cpu,
            self.memory + other.memory,
            self.cpu_limit + other.cpu_limit,
            self.memory_limit + other.memory_limit,
            self.pods + other.pods,
            self.containers + other.containers,
        )

    def __or__(self, other: Demand) -> Demand:
        """Room for either: the larger of each amount."""
        return Demand(
            max(self.cpu, other.cpu),
            max(self.memory, other.memory),
            max(self.cpu_limit, other.cpu_limit),
            max(self.memory_limit, other.memory_limit),
            max(self.pods, other.pods),
            max(self.containers, other.containers),
        )


def of_container(resources: Resources) -> Demand:
    """One container; ValueError if an amount is no quantity."""
    return Demand(
        parse_quantity(resources.cpu),
        parse_quantity(resources.memory),
        parse_quantity(resources.cpu_limit),
        parse_quantity(resources.memory_limit),
        containers=1,
    )


def of_application(application: Application) -> Demand:
    """One replica of an application."""
    return of_container(application.resources) + Demand(pods=1)


def of_step(step: Step) -> Demand:
    """The pod of one try of a step."""
    return of_container(step.resources) + of_container(COLLECTOR) + Demand(pods=1)


def applications(specification: Specification) -> Demand:
    """All replicas of all applications."""
    return _sum(of_application(a) for a in specification.environment.applications for _ in range(a.replicas))


def least(specification: Specification) -> Demand:
    """Below this the plan cannot run as written: all applications, with the largest hook or the parallel suites."""
    plan = specification.test_plan
    hooks = _larger(of_step(s) for s in (*plan.setup, *plan.teardown))
    return applications(specification) + (hooks | _largest(plan.suites, plan.strategy.parallel))


def comfortable(specification: Specification) -> Demand:
    """The plan's own sum plus headroom: all hooks of a kind at once, suites that overlap, a spare pod of each kind."""
    plan = specification.test_plan
    steps = _largest(plan.suites, 2 * plan.strategy.parallel)
    for hooks in (plan.setup, plan.teardown):
        steps |= _sum(map(of_step, hooks))
    spare = _larger(of_step(s) for s in plan.steps) + _larger(
        map(of_application, specification.environment.applications)
    )
    return applications(specification) + steps + spare + Demand(pods=HEADROOM_PODS)


def hard(specification: Specification) -> dict[str, str]:
    """`spec.hard` of the namespace's ResourceQuota: the caller's amounts where given, else the comfortable ones.

    The caller's cpu and memory bound what pods request, which is what the scheduler sets aside; limits stay bounded by
    the plan's own sum. Services that are reached from outside the cluster are never allowed.
    """
    demand, given = comfortable(specification), specification.environment.quota
    amounts = {
        "requests.cpu": given.cpu or format_cpu(demand.cpu),
        "requests.memory": given.memory or format_bytes(demand.memory),
        "limits.cpu": format_cpu(demand.cpu_limit),
        "limits.memory": format_bytes(demand.memory_limit),
        "pods": str(given.pods if given.pods is not None else demand.pods),
        "services.nodeports": "0",
        "services.loadbalancers": "0",
    }
    if given.ephemeral_storage:
        amounts["requests.ephemeral-storage"] = given.ephemeral_storage
    return amounts


def limits(specification: Specification) -> dict[str, dict[str, str]]:
    """`default` and `defaultRequest` of the LimitRange, for containers that others put into our pods.

    Where the caller bounds the ephemeral storage, every container must request some: each gets an equal share.
    """
    plain = Resources()
    request = {"cpu": plain.cpu, "memory": plain.memory}
    limit = {"cpu": plain.cpu_limit, "memory": plain.memory_limit}
    if storage := specification.environment.quota.ephemeral_storage:
        share = format_bytes(Decimal(int(parse_quantity(storage) / max(comfortable(specification).containers, 1))))
        request["ephemeral-storage"] = share
        limit["ephemeral-storage"] = storage
    return {"default": limit, "defaultRequest": request}


def _sum(demands: Iterable[Demand]) -> Demand:
    return sum(demands, Demand())


def _larger(demands: Iterable[Demand]) -> Demand:
    found = Demand()
    for demand in demands:
        found |= demand
    return found


def _largest(steps: Iterable[Step], count: int) -> Demand:
    """The `count` steps that together need most; each amount is taken by itself."""
    demands = [of_step(s) for s in steps]

    def top(amounts: Iterable[Decimal]) -> Decimal:
        return sum(sorted(amounts, reverse=True)[:count], Decimal(0))

    return Demand(
        top(d.cpu for d in demands),
        top(d.memory for d in demands),
        top(d.cpu_limit for d in demands),
        top(d.memory_limit for d in demands),
        min(count, len(demands)),
        sum(d.containers for d in demands[:count]),
    )

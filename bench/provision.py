"""From Execute to a ready environment, against the same requests in bare asyncio and against kubectl, on kwok nodes.

Ways to the same objects (`environments`), in turn: the service (gRPC Execute until the event that says ready), the
oracle with all requests that the service makes by then, the oracle with the creates only (`creates`), `kubectl apply` +
`kubectl wait`. One at a time, with raised controller rates and with Kubernetes' defaults
beside it; then MANY at once (the oracle and kubectl IN_FLIGHT at a time; the service is handed all at once). The rate
is MANY divided by the time until the last one is ready. Every environment must become ready, and none may be left.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench import bare, testbed
from bench.environments import Client, Objects, kubectl_provision, namespaces, plan, remove_bare
from bench.oracle import Oracle

APPLICATIONS, ROUNDS, DEFAULT_ROUNDS = 3, 10, 5
MANY, MANY_ROUNDS, IN_FLIGHT = 100, 3, 32
NODES = 40
OVER_ORACLE, OVER_KUBECTL, RATE_OF_ORACLE, RATE_OF_KUBECTL = 1.15, 0.25, 0.85, 3.5
Way = Callable[[], Awaitable[float]]
Times = dict[str, list[float]]


async def one_at_a_time(ways: dict[str, Way], rounds: int) -> Times:
    """Seconds of each way, in turn; the first round only warms up."""
    found: Times = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            seconds = await way()
            if number:
                found[name].append(seconds)
            await asyncio.sleep(0.3)  # what the control plane still does with the last one
    return found


async def in_flight(way: Way, at_once: int) -> float:
    """Environments a second for MANY of them, `at_once` at a time."""
    turns = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with turns:
            await way()

    began = time.monotonic()
    await asyncio.gather(*(one() for _ in range(MANY)))
    return MANY / (time.monotonic() - began)


async def many_at_once(ways: dict[str, Way], remove: Callable[[], Awaitable[None]]) -> Times:
    """Environments a second of each way, in turn; everything is removed in between."""
    found: Times = {name: [] for name in ways}
    for _ in range(MANY_ROUNDS):
        for name, way in ways.items():
            rate = await in_flight(way, MANY if name == "service" else IN_FLIGHT)
            testbed.say(f"{MANY} at once, {name}: {rate:.2f}/s")
            found[name].append(rate)
            await remove()
    return found


async def measure(bed: testbed.Bed, service: testbed.Service, *, many: bool) -> dict[str, Any]:
    """All figures of one cluster."""
    document = plan(APPLICATIONS)
    objects = Objects.of(document, bed.folder)
    async with bare.connect(bed.layout.kubeconfig) as api, Client.connect(service.address) as client:

        async def remove() -> None:
            await client.remove_all()
            await remove_bare(api)
            if left := await namespaces(api):
                raise SystemExit(f"left behind: {left}")

        async with Oracle(api).watching() as oracle:
            ways: dict[str, Way] = {
                "service": lambda: client.provision(document),
                "oracle": lambda: oracle.everything(objects.make()),
                "creates": lambda: oracle.creates(objects.make()),
                "kubectl": lambda: kubectl_provision(bed, objects.make()),
            }
            used = service.cpu_seconds()
            times = await one_at_a_time(ways, ROUNDS if many else DEFAULT_ROUNDS)
            testbed.say(f"one at a time: { {k: testbed.spread(v) for k, v in times.items()} }")
            per_environment = (service.cpu_seconds() - used) / (len(times["service"]) + 1)
            await remove()
            rates = await many_at_once(ways, remove) if many else {}
    return {
        "objects": len(objects),
        "seconds": {name: testbed.spread(values) for name, values in times.items()},
        "service_cpu_seconds_each": round(per_environment, 3),
        "per_second": {name: testbed.spread(values) for name, values in rates.items()},
        "ratios": ratios(times, rates),
    }


def ratios(times: Times, rates: Times) -> dict[str, float]:
    """The service beside the others: medians of times, and of rates round by round."""
    found = {
        f"seconds of {other}": statistics.median(times["service"]) / statistics.median(times[other])
        for other in ("oracle", "creates", "kubectl")
    }
    for other in ("oracle", "creates", "kubectl") if rates else ():
        pairs = zip(rates["service"], rates[other], strict=True)
        found[f"rate of {other}"] = statistics.median(ours / theirs for ours, theirs in pairs)
    return {name: round(value, 3) for name, value in found.items()}


def run(*, fast: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Conditions and figures of one cluster; many at once only with raised rates."""
    names = ("MAX_CONCURRENT_ENVIRONMENTS", "K8S_EXECUTION_MAX_HELD_ENVIRONMENTS", "K8S_EXECUTION_QUEUE_LIMIT")
    limits = dict.fromkeys(names, "1000")
    with testbed.cluster(nodes=NODES, fast=fast) as bed, testbed.service(bed, **limits) as service:
        before = testbed.conditions(bed)
        figures = asyncio.run(measure(bed, service, many=fast))
        return [before, testbed.conditions(bed)], figures


def main() -> int:
    """Measure and print; 0 if the targets are met."""
    where, raised = run(fast=True)
    where_default, default = run(fast=False)
    found = raised["ratios"]
    targets = [
        testbed.at_most("seconds, service/oracle", found["seconds of oracle"], OVER_ORACLE),
        testbed.at_most("seconds, service/kubectl", found["seconds of kubectl"], OVER_KUBECTL),
        testbed.at_least(f"rate of {MANY} at once, service/oracle", found["rate of oracle"], RATE_OF_ORACLE),
        testbed.at_least(f"rate of {MANY} at once, service/kubectl", found["rate of kubectl"], RATE_OF_KUBECTL),
    ]
    return testbed.report(where + where_default, {"raised_rates": raised, "default_rates": default}, targets)


if __name__ == "__main__":
    sys.exit(main())

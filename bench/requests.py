"""What the service asks of a real API server, counted by the API server itself.

Of every request its audit log tells who sent it; beside it stand the differences of its metric
apiserver_request_total, which counts everybody's. Counted, on the real node: all requests of one execution with one
application and one suite, among them creates, log requests, those of the clean-up, and those of QUIET seconds in the
middle of the suite, when nothing happens; on kwok nodes: those of IDLE seconds with HELD held environments. The
execution must pass, all environments must be held, and nothing may be left.
"""

from __future__ import annotations

import asyncio
import collections
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import bare, testbed
from bench.environments import Client, namespaces, plan
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2, execution_service_pb2

HELD, IDLE, QUIET, NODES, AT_ONCE = 200, 90.0, 15.0, 40, 20
MOST_CREATES, MOST_LOG_REQUESTS, MOST_OF_CLEANUP, MOST_IDLE = 15, 2, 5, 0.1
AGENT = "k8s-execution"
CONTAINERS = 4  # of the application one; of the suite's pod the agent, the step and the collector
PODS = 2
OURS = ("namespaces", "resourcequotas", "limitranges", "networkpolicies", "secrets", "services", "deployments", "jobs")
"""Kinds of an environment that nobody else makes, so that the metric's difference is the service's."""

_SAMPLE = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the audit log; `at` in seconds since the epoch, `what` the resource with its subresource."""

    at: float
    verb: str
    what: str
    code: int


def audited(log: Path) -> Iterator[Request]:
    """The service's requests so far; watches and follows count when they are answered, not again when they end."""
    with log.open() as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the last line, half written
            if not entry.get("userAgent", "").startswith(AGENT):
                continue
            if entry["stage"] == "ResponseComplete" and _streams(entry):
                continue
            about = entry.get("objectRef") or {}
            what = "/".join(part for part in (about.get("resource"), about.get("subresource")) if part)
            at = datetime.fromisoformat(entry["requestReceivedTimestamp"]).timestamp()
            code = int((entry.get("responseStatus") or {}).get("code") or 0)
            yield Request(at, entry["verb"], what or entry["requestURI"], code)


def _streams(entry: dict[str, Any]) -> bool:
    """Whether an earlier line (ResponseStarted) told of the request."""
    about = entry.get("objectRef") or {}
    return entry["verb"] == "watch" or about.get("subresource") in {"log", "exec"}


def totals(metrics: str) -> collections.Counter[str]:
    """apiserver_request_total as `verb resource/subresource`, over all codes, scopes and versions."""
    found: collections.Counter[str] = collections.Counter()
    for labels, value in _SAMPLE.findall(metrics):
        of = dict(_LABEL.findall(labels))
        what = "/".join(part for part in (of.get("resource"), of.get("subresource")) if part)
        found[f"{of.get('verb')} {what}"] += int(float(value))
    return found


async def read_totals(api: bare.Api) -> collections.Counter[str]:
    """The metric now."""
    return totals(await api.text("GET", "/metrics"))


def counted(requests: list[Request]) -> dict[str, int]:
    """Requests by verb and resource, most frequent first."""
    return dict(collections.Counter(f"{r.verb} {r.what}" for r in requests).most_common())


class Phases:
    """When an execution entered which phase, by its own status events."""

    def __init__(self, client: Client) -> None:
        """Nothing known yet."""
        self._client = client
        self.entered: dict[int, float] = {}
        self.verdict = 0

    async def follow(self, execution_id: str) -> None:
        """Until it is DONE."""
        request = execution_service_pb2.WatchRequest(execution_id=execution_id)
        async for answer in self._client.stub.Watch(request):
            at = answer.event.time.seconds + answer.event.time.nanos / 1e9
            self.entered.setdefault(answer.event.execution.phase, at)
            self.verdict = answer.event.execution.verdict


async def one_execution(bed: testbed.Bed, service: testbed.Service) -> tuple[dict[str, Any], list[testbed.Target]]:
    """One application and one suite on the real node."""
    seconds = QUIET + 15
    document = plan(1, suite={"command": ["sh", "-c", f"echo begin; sleep {seconds:.0f}; echo end"]}, cleanup="ALWAYS")
    async with bare.connect(bed.layout.kubeconfig) as api, Client.connect(service.address) as client:
        before, began = await read_totals(api), time.time()
        phases = Phases(client)
        execution_id = await client.execute(document)
        async with asyncio.timeout(300):
            await phases.follow(execution_id)
        if phases.verdict != execution_pb2.PASSED or await namespaces(api):
            raise SystemExit(f"the execution did not pass, or left something: {phases.verdict}")
        difference = await read_totals(api) - before
    requests = [r for r in audited(bed.layout.audit_log) if r.at >= began]
    # The suite began seconds after TESTING did (its pod had to start) and ends seconds before COLLECTING.
    middle = phases.entered[execution_pb2.COLLECTING] - 8
    quiet = [r for r in requests if middle - QUIET <= r.at <= middle and r.verb != "watch"]
    creates = [r for r in requests if r.verb == "create" and "/" not in r.what]
    logs = [r for r in requests if r.what == "pods/log"]
    cleaning = [r for r in requests if r.at >= phases.entered[execution_pb2.CLEANING] and r.verb != "watch"]
    by_metric = {name: difference[f"POST {name}"] for name in OURS}
    figures = {
        "requests": len(requests),
        "by_kind": counted(requests),
        "creates_by_metric_of_kinds_only_the_service_makes": by_metric,
        "creates_of_these_by_audit_log": {n: sum(r.what == n for r in creates) for n in OURS},
        "clean_up": counted(cleaning),
        "quiet": counted(quiet),
        "everybodys_requests_by_metric": sum(difference.values()),
    }
    if figures["creates_of_these_by_audit_log"] != by_metric:
        raise SystemExit(f"audit log and metric disagree: {figures}")
    return figures, [
        testbed.at_most("creates, one application and one suite", len(creates), MOST_CREATES),
        testbed.at_most(
            f"log requests a container ({CONTAINERS} containers)", len(logs) / CONTAINERS, MOST_LOG_REQUESTS
        ),
        testbed.at_most(f"clean-up, {PODS} pods", len(cleaning), MOST_OF_CLEANUP + PODS),
        testbed.at_most(f"requests in {QUIET:.0f} s in which nothing happens", len(quiet), 0),
    ]


async def held_environments(bed: testbed.Bed, service: testbed.Service) -> tuple[dict[str, Any], list[testbed.Target]]:
    """HELD environments that only wait; their suites have ended as kwok's Jobs do, at once and without a result."""
    small = {"cpu": "10m", "memory": "16Mi", "cpu_limit": "1", "memory_limit": "64Mi"}
    document = plan(1, suite={"command": ["true"], "resources": small})
    turns = asyncio.Semaphore(AT_ONCE)
    async with bare.connect(bed.layout.kubeconfig) as api, Client.connect(service.address) as client:

        async def hold() -> None:
            async with turns:
                await client.reach(await client.execute(document), execution_pb2.CLEANING)

        await asyncio.gather(*(hold() for _ in range(HELD)))
        testbed.say(f"{HELD} environments are held; looking for {IDLE:.0f} s")
        await asyncio.sleep(10)  # what their last step still does
        before, began = await read_totals(api), time.time()
        await asyncio.sleep(IDLE)
        difference, ended = await read_totals(api) - before, time.time()
        if len(await namespaces(api)) != HELD:
            raise SystemExit("not all environments are held")
    requests = [r for r in audited(bed.layout.audit_log) if began <= r.at <= ended]
    rate = len(requests) / (ended - began)
    figures = {
        "environments": HELD,
        "seconds": round(ended - began, 1),
        "requests": counted(requests),
        "everybodys_requests_by_metric": sum(difference.values()),
        "service_cpu_seconds": round(service.cpu_seconds(), 2),
    }
    return figures, [testbed.at_most(f"requests a second, {HELD} held environments", rate, MOST_IDLE)]


def main() -> int:
    """Measure and print; 0 if the targets are met."""
    limits = dict.fromkeys(("MAX_CONCURRENT_ENVIRONMENTS", "K8S_EXECUTION_MAX_HELD_ENVIRONMENTS"), "1000")
    with testbed.cluster() as bed, testbed.service(bed) as service:
        where = testbed.conditions(bed)
        one, targets = asyncio.run(one_execution(bed, service))
    with testbed.cluster(nodes=NODES, fast=True) as bed, testbed.service(bed, **limits) as service:
        where_held = testbed.conditions(bed)
        held, more = asyncio.run(held_environments(bed, service))
    return testbed.report([where, where_held], {"one_execution": one, "held": held}, [*targets, *more])


if __name__ == "__main__":
    sys.exit(main())

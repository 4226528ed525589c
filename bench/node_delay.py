"""How long after a kubelet's status patch the service knows: its reflector against the API server's audit log.

    python -m bench.node_delay       (root; brings its own cluster up, takes it down)

A `serve` runs SUITES suites, each in a pod of its own on a real kubelet: one at a time, which the target is for, then
PARALLEL at once, where starting their containers fills a small machine and a delay is also a wait for a core. Beside
it this process runs the service's own reflector of pods (`kube.reflector`, with the real client) and notes when each
event was decoded and parsed. The audit log says when the API server had answered each `PATCH pods/status` of the
kubelet (`stageTimestamp` of ResponseComplete, microseconds, the same machine's clock). The n-th patch of a pod is the
n-th event that changed its status and was not the scheduler's; a pod whose counts differ is left out, and counted.

The delay is event minus answer, so it may be negative: watchers are told as soon as etcd has the write. `from_received`
is event minus the arrival of the patch at the API server, for comparison. Prints JSON; exit code 0 only if the target
is met.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format

from bench.node_cluster import header, node, say, service
from bench.node_steps import quantiles
from cluster.layout import Layout
from k8s_execution.kube import parse
from k8s_execution.kube.client import Client
from k8s_execution.kube.kubeconfig import load_kubeconfig
from k8s_execution.kube.limits import KubeLimits
from k8s_execution.kube.reflector import ReflectedKind, Reflector
from k8s_execution.kube.transport import open_transport
from k8s_execution.runtime.clock import SystemClock
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2, execution_service_pb2_grpc
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as pb

SUITES, PARALLEL, P99_MS = 40, 3, 20.0
DEADLINE = 600.0

Pod = tuple[str, str]
"""Namespace and name."""


class Seen:
    """Status changes by pod: when the service's reflector had each, in ns."""

    def __init__(self) -> None:
        """Nothing seen."""
        self.at: dict[Pod, list[int]] = defaultdict(list)
        self._last: dict[Pod, parse.Raw] = {}

    def parse(self, raw: parse.Raw) -> Any:
        """What the reflector calls for each object: the service's own parser, and the time behind it."""
        fact = parse.pod(raw)
        now = time.time_ns()
        key, last = (fact.namespace, fact.name), self._last.get((fact.namespace, fact.name))
        self._last[key] = raw
        if last is not None and last["status"] != raw["status"] and _node(last) == _node(raw):
            self.at[key].append(now)
        return fact


def _node(raw: parse.Raw) -> Any:
    return raw["spec"].get("nodeName")


async def run_suites(address: str, parallel: int) -> str:
    """One execution with all suites, to its end; its id."""
    small = {"cpu": "50m", "memory": "32Mi"}
    suites = [
        {"name": f"s{n}", "type": "CUSTOM", "image": "busybox:1", "command": ["true"], "resources": small}
        for n in range(SUITES)
    ]
    body = {"test_plan": {"source": {"image": {}}, "suites": suites, "strategy": {"parallel": parallel}}}
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = execution_service_pb2_grpc.ExecutionServiceStub(channel)
        request = json_format.ParseDict(body, pb.ExecuteRequest())
        execution = (await stub.Execute(request)).execution
        deadline = time.monotonic() + DEADLINE
        while execution.phase != execution_pb2.DONE and time.monotonic() < deadline:
            # Seldom, and no Watch: its events of a large execution would hold the loop that is measured.
            await asyncio.sleep(2)
            execution = (await stub.Status(pb.StatusRequest(execution_id=execution.id))).execution
    if execution.verdict != execution_pb2.PASSED:
        raise SystemExit(f"the execution did not pass: {execution.diagnosis}")
    return str(execution.id)


async def observe(layout: Layout, address: str, parallel: int) -> Seen:
    """Run the suites under the eyes of a reflector."""
    seen, limits, clock = Seen(), KubeLimits(), SystemClock()
    config = load_kubeconfig(layout.kubeconfig)
    with ThreadPoolExecutor(1) as executor:
        async with open_transport(config, limits, clock, executor) as transport:
            client = Client(transport, limits, clock)
            kind = ReflectedKind("Pod", seen.parse)
            reflector = Reflector(kind, client, limits, clock, lambda _: None)
            task = asyncio.create_task(reflector.run())
            try:
                await reflector.listed.wait()
                say(f"execution {await run_suites(address, parallel)} has passed")
            finally:
                task.cancel()
                await asyncio.wait([task])
    return seen


def patches(audit_log: Path) -> dict[Pod, list[tuple[int, int]]]:
    """(received, answered) in ns of every status patch that the kubelet made, by pod, in order."""
    found: dict[Pod, list[tuple[int, int]]] = defaultdict(list)
    for line in audit_log.read_text().splitlines():
        entry = json.loads(line)
        what = entry.get("objectRef") or {}
        if (entry["verb"], what.get("resource"), what.get("subresource")) != ("patch", "pods", "status"):
            continue
        if entry["stage"] == "ResponseComplete" and entry["responseStatus"]["code"] == 200:
            times = _ns(entry["requestReceivedTimestamp"]), _ns(entry["stageTimestamp"])
            found[what["namespace"], what["name"]].append(times)
    return {pod: sorted(times, key=lambda t: t[1]) for pod, times in found.items()}


def _ns(stamp: str) -> int:
    return int(datetime.fromisoformat(stamp).timestamp() * 1_000_000) * 1000


def delays(seen: Seen, patched: dict[Pod, list[tuple[int, int]]]) -> dict[str, Any]:
    """Quantiles over all patches of the pods whose counts agree."""
    answered, received, left_out = [], [], 0
    for pod, times in seen.at.items():
        made = patched.get(pod, [])
        if len(made) != len(times):
            left_out += 1
            continue
        for at, (begin, end) in zip(times, made, strict=True):
            answered.append((at - end) / 1e6)
            received.append((at - begin) / 1e6)
    return {
        "pods": len(seen.at),
        "pods_left_out": left_out,
        "delay_ms": quantiles(answered),
        "from_received_ms": quantiles(received),
        "load": [round(x, 2) for x in os.getloadavg()],
    }


def measure(layout: Layout, address: str, parallel: int) -> dict[str, Any]:
    """The delays with so many suites at once."""
    seen = asyncio.run(observe(layout, address, parallel))
    return delays(seen, patches(layout.audit_log))


def main() -> int:
    """Measure and print; the exit code tells whether the target is met."""
    with node() as layout, service(layout) as running:
        figures = header(layout)
        one, several = measure(layout, running.address, 1), measure(layout, running.address, PARALLEL)
        figures |= {"suites": SUITES, "one_at_a_time": one, f"{PARALLEL}_at_once": several, "target_p99_ms": P99_MS}
    print(json.dumps(figures, indent=1))
    return int(one["pods_left_out"] > SUITES // 4 or one["delay_ms"]["p99"] > P99_MS)


if __name__ == "__main__":
    sys.exit(main())

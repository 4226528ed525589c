"""Log path on a real kubelet: throughput against curl and `kubectl logs -f`, latency from container to client.

    python -m bench.node_logs        (root; brings its own cluster up, takes it down)

**Throughput.** A container prints LINES numbered lines of 120 bytes flat out, under the agent, as every step does.
The service (its gRPC client counts), curl on `pods/NAME/log?follow=true&timestamps=true` and `kubectl logs -f
--timestamps` read it. They take turns, in another order each round; a rate is lines a second from a reader's first
bytes to its last. No reader decodes what it reads while the clock runs; every line is checked afterwards. Two ways:

* `live`: the reader is attached before the first line, and the container prints while it is read; a container each.
* `backlog`: all three read the same container's log, after it was printed. The service is stopped (SIGSTOP) from the
  moment the pod exists until then. So it finds itself far behind, and proves what it reads by the step's output file.

**Latency.** A step prints its own clock (the same machine's) at PACES lines a second; what a line's age is when ten
gRPC followers have it decoded, and when `kubectl logs -f` gives it to its reader, in turn, in the same run.

Prints JSON: flags, versions, load, medians, ratios and targets. Exit code 0 only if all targets are met.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import grpc

from bench.node_cluster import Requests, Service, header, node, service
from bench.node_latency import PACES, latency
from bench.node_steps import Bench
from bench.node_throughput import backlog, live, throughput
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2_grpc


async def measure(requests: Requests, running: Service) -> dict[str, Any]:
    """Everything."""
    limits = [("grpc.max_receive_message_length", 64 << 20)]
    async with grpc.aio.insecure_channel(running.address, options=limits) as channel:
        bench = Bench(requests, running, execution_service_pb2_grpc.ExecutionServiceStub(channel), channel)
        ages = [await latency(bench, pace) for pace in PACES]
        rates = {way.__name__: await throughput(bench, way) for way in (live, backlog)}
        return {"latency": ages, "throughput": rates}


def main() -> int:
    """Measure and print; the exit code tells whether all targets are met."""
    with node() as layout, tempfile.TemporaryDirectory() as name, service(layout) as running:
        figures = header(layout)
        figures |= asyncio.run(measure(Requests(layout, Path(name)), running))
        figures["load_after"] = [round(x, 2) for x in os.getloadavg()]
    print(json.dumps(figures, indent=1))
    met = [one["service_ms"]["p99"] <= one["target_p99_ms"] for one in figures["latency"]]
    for rates in figures["throughput"].values():
        met += [rates[peer]["ratio"] >= rates[peer]["target"] for peer in ("of_curl", "of_kubectl")]
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())

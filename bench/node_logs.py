"""Log path on a real kubelet: throughput against `curl -N` and `kubectl logs -f`, and latency from container to client.

    python -m bench.node_logs        (root; brings its own cluster up, takes it down)

**Throughput.** A step prints LINES numbered lines of 120 bytes flat out and stays. The service is stopped (SIGSTOP)
from the moment the pod exists until all is printed, so that all three read the same container's log from its file:
the service (its client counts), curl on `pods/NAME/log?follow=true&timestamps=true`, and `kubectl logs -f
--timestamps`. They take turns, in another order each round; a rate is lines a second from a reader's first bytes to
its last. No reader decodes what it reads while the clock runs; every line is checked afterwards.

**Latency.** A step prints its own clock (the same machine's) at PACES lines a second; what a line's age is when ten
gRPC followers have it decoded, and when `kubectl logs -f` gives it to its reader, in turn, in the same run.

Prints JSON: flags, versions, load, medians, ratios and targets. Exit code 0 only if all targets are met.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format

from bench.node_cluster import Requests, Service, header, node, say, service
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as pb
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2_grpc

LINES, ROUNDS = 300_000, 4
PACES, FOLLOWERS, WINDOW, WINDOWS = (1_000, 10_000), 10, 10.0, 2
AT_LEAST_OF_CURL, AT_LEAST_OF_KUBECTL, P99_MS = 0.8, 1.0, 25.0
LABEL = "k8s-execution.maestro/execution-id"
DEADLINE = 180.0
FLAT_OUT = f"""
import sys, time
for start in range(0, {LINES}, 1000):
    sys.stdout.write("".join(f"{{n:09d}} " + "x" * 109 + chr(10) for n in range(start, start + 1000)))
sys.stdout.flush()
time.sleep(600)
"""
CLOCK = """
import os, sys, time
pace, begin, n = int(sys.argv[1]), time.monotonic(), 0
while True:
    until = int((time.monotonic() - begin) * pace)
    while n < until:
        os.write(1, b"%09d %d\\n" % (n, time.time_ns()))
        n += 1
    time.sleep(0.001)
"""
STREAM_LOGS = f"/{pb.DESCRIPTOR.services_by_name['ExecutionService'].full_name}/StreamLogs"


def plan(*command: str) -> pb.ExecuteRequest:
    """One suite that runs the command."""
    suite: dict[str, Any] = {
        "name": "loud",
        "type": "CUSTOM",
        "image": "python:3-slim",
        "command": list(command),
        "timeout": "10m",
    }
    suite["resources"] = {"cpu": "100m", "memory_limit": "256Mi", "cpu_limit": "2"}
    body = {"test_plan": {"source": {"image": {}}, "suites": [suite]}, "policy": {"timeout": "12m"}}
    return json_format.ParseDict(body, pb.ExecuteRequest())


@dataclass(slots=True)
class Bench:
    """The running parts."""

    requests: Requests
    service: Service
    stub: Any
    channel: grpc.aio.Channel

    @contextlib.asynccontextmanager
    async def execution(self, *command: str) -> AsyncIterator[str]:
        """An execution; cleaned up at the end of the block."""
        made = (await self.stub.Execute(plan(*command))).execution.id
        try:
            yield made
        finally:
            await self.stub.Cleanup(pb.CleanupRequest(execution_id=made, wait=True), timeout=DEADLINE)

    async def pod(self, execution_id: str) -> tuple[str, str]:
        """Namespace and name of the step's pod, as soon as there is one."""
        path = f"/api/v1/pods?labelSelector={LABEL}%3D{execution_id}"
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            for found in (await asyncio.to_thread(self.requests.get, path))["items"]:
                return found["metadata"]["namespace"], found["metadata"]["name"]
            await asyncio.sleep(0.02)
        raise SystemExit("the step got no pod")


def following(execution_id: str, cursor: str = "") -> pb.StreamLogsRequest:
    """A follow of the step's container."""
    return pb.StreamLogsRequest(execution_id=execution_id, follow=True, containers=["step"], cursor=cursor)


# Throughput


def last_line() -> bytes:
    """What the last line contains, and no other."""
    return b"%09d " % (LINES - 1) + b"x" * 109


def lines_of(process_output: bytes) -> None:
    """Every line of a peer's output is there, in order."""
    lines = process_output.split(b"\n")
    if len(lines) < LINES or any(int(lines[n].split(b" ", 2)[1]) != n for n in range(LINES)):
        raise SystemExit("a peer did not get every line in order")


def peer(command: list[str]) -> float:
    """Lines a second that a program writes to a pipe."""
    chunks: list[bytes] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        count, first, last = 0, 0.0, 0.0
        while count < LINES:
            chunk = os.read(process.stdout.fileno(), 1 << 20)
            if not chunk:
                raise SystemExit(f"{command[0]} ended after {count} lines")
            last = time.monotonic()
            first = first or last
            chunks.append(chunk)
            count += chunk.count(b"\n")
        process.kill()
    lines_of(b"".join(chunks))
    return LINES / (last - first)


def checked(messages: list[bytes]) -> None:
    """Every line of the service's answers is there, in order, without a gap."""
    expected = 0
    for message in messages:
        batch = pb.StreamLogsResponse.FromString(message).batch
        if batch.HasField("gap") or batch.first_sequence != expected:
            raise SystemExit(f"a gap at line {expected}: {batch.gap}")
        for line in batch.lines:
            if int(line.text[:9]) != expected:
                raise SystemExit(f"line {expected} is not where it should be: {line.text[:20]}")
            expected += 1
    if expected != LINES:
        raise SystemExit(f"the service gave {expected} of {LINES} lines")


class Reading:
    """The service's client: takes messages as bytes, until the last line is among them."""

    def __init__(self, bench: Bench, execution_id: str) -> None:
        """Begin to follow."""
        call: Any = bench.channel.unary_stream(STREAM_LOGS, pb.StreamLogsRequest.SerializeToString)
        self._call = call(following(execution_id))
        self._messages: list[bytes] = []
        self._task = asyncio.create_task(self._read())

    async def rate(self) -> float:
        """Lines a second, once all have come."""
        first, last = await asyncio.wait_for(self._task, DEADLINE)
        self._call.cancel()
        checked(self._messages)
        return LINES / (last - first)

    async def _read(self) -> tuple[float, float]:
        first, wanted = 0.0, last_line()
        async for message in self._call:
            first = first or time.monotonic()
            self._messages.append(message)
            if wanted in message:
                return first, time.monotonic()
        raise SystemExit("the service's stream ended before the last line")


async def printed(bench: Bench, namespace: str, pod: str) -> None:
    """Until the container's log holds the last line."""
    deadline = time.monotonic() + DEADLINE
    look = bench.requests.kubectl("logs", "--tail=1", "-n", namespace, pod, "-c", "step")
    while time.monotonic() < deadline:
        done = await asyncio.to_thread(subprocess.run, look, capture_output=True, check=False)
        if last_line() in done.stdout:
            return
        await asyncio.sleep(0.3)
    raise SystemExit("the step did not print its last line")


async def one_round(bench: Bench, *, service_first: bool) -> dict[str, float]:
    """Rates of all three on one container's log, and the service's CPU a line."""
    rates: dict[str, float] = {}
    async with bench.execution("python3", "-c", FLAT_OUT) as execution_id:
        reading = Reading(bench, execution_id)
        namespace, pod = await bench.pod(execution_id)
        url = f"/api/v1/namespaces/{namespace}/pods/{pod}/log?container=step&follow=true&timestamps=true"
        follow = bench.requests.kubectl("logs", "-f", "--timestamps", "-n", namespace, pod, "-c", "step")

        async def peers() -> None:
            rates["curl"] = await asyncio.to_thread(peer, bench.requests.curl(url))
            rates["kubectl"] = await asyncio.to_thread(peer, follow)

        with bench.service.paused():
            await printed(bench, namespace, pod)
            if not service_first:
                await peers()
        used = bench.service.cpu_seconds()
        rates["service"] = await reading.rate()
        rates["cpu_us"] = (bench.service.cpu_seconds() - used) / LINES * 1e6
        if service_first:
            await peers()
    say(" ".join(f"{name} {rate:,.1f}" for name, rate in rates.items()))
    return rates


async def throughput(bench: Bench) -> dict[str, Any]:
    """Medians over the rounds; ratios are made within a round."""
    rounds = [await one_round(bench, service_first=number % 2 == 0) for number in range(ROUNDS)]

    def of(name: str) -> float:
        return statistics.median(r["service"] / r[name] for r in rounds)

    return {
        "rounds": ROUNDS,
        "lines": LINES,
        "lines_per_second": {n: round(statistics.median(r[n] for r in rounds)) for n in ("service", "curl", "kubectl")},
        "service_cpu_us_per_line": round(statistics.median(r["cpu_us"] for r in rounds), 2),
        "of_curl": {"ratio": round(of("curl"), 2), "target": AT_LEAST_OF_CURL},
        "of_kubectl": {"ratio": round(of("kubectl"), 2), "target": AT_LEAST_OF_KUBECTL},
        "spread_of_curl": [round(r["service"] / r["curl"], 2) for r in rounds],
    }


# Latency


@dataclass(slots=True)
class Ages:
    """Ages of lines in ms, of lines printed since `since` (ns); `expected` is the number of the next."""

    since: int = 0
    ms: list[float] = field(default_factory=list)
    expected: int = -1
    cursor: str = ""

    def take(self, text: bytes | str, now: int) -> None:
        """One line; SystemExit if it is not the next."""
        number, stamp = map(int, text.split()[-2:])
        if self.expected not in {-1, number}:
            raise SystemExit(f"line {number} came where {self.expected} was due")
        self.expected = number + 1
        if stamp >= self.since:
            self.ms.append((now - stamp) / 1e6)


async def follower(address: str, execution_id: str, ages: Ages) -> None:
    """One follower with a connection of its own."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub: Any = execution_service_pb2_grpc.ExecutionServiceStub(channel)
        async for answer in stub.StreamLogs(following(execution_id, ages.cursor)):
            now = time.time_ns()
            ages.cursor = answer.batch.cursor
            for line in answer.batch.lines:
                ages.take(line.text, now)


def kubectl_reader(command: list[str], ages: Ages, until: float) -> None:
    """`kubectl logs -f` into a pipe."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        rest = b""
        while time.monotonic() < until:
            *lines, rest = (rest + os.read(process.stdout.fileno(), 1 << 20)).split(b"\n")
            now = time.time_ns()
            for line in lines:
                ages.take(line, now)
        process.kill()


async def window_of_followers(bench: Bench, execution_id: str, ages: list[Ages]) -> None:
    """All followers, for one window; what was printed in its first second is catching up."""
    tasks = [asyncio.create_task(follower(bench.service.address, execution_id, a)) for a in ages]
    for a in ages:
        a.since = time.time_ns() + 1_000_000_000
    done, _ = await asyncio.wait(tasks, timeout=WINDOW + 1, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
        raise SystemExit("a follow ended by itself")


async def latency(bench: Bench, pace: int) -> dict[str, Any]:
    """Ages at the followers and at kubectl, in turn, of one container's lines."""
    ours, theirs = [Ages() for _ in range(FOLLOWERS)], Ages()
    async with bench.execution("python3", "-c", CLOCK, str(pace)) as execution_id:
        namespace, pod = await bench.pod(execution_id)
        await first_line(bench, execution_id)
        follow = bench.requests.kubectl("logs", "-f", "--since=1s", "-n", namespace, pod, "-c", "step")
        for _ in range(WINDOWS):
            await window_of_followers(bench, execution_id, ours)
            theirs.since, theirs.expected = time.time_ns() + 1_000_000_000, -1
            await asyncio.to_thread(kubectl_reader, follow, theirs, time.monotonic() + WINDOW + 1)
    service_ms, kubectl_ms = [ms for a in ours for ms in a.ms], theirs.ms
    return {
        "lines_per_second": pace,
        "followers": FOLLOWERS,
        "service_ms": quantiles(service_ms),
        "kubectl_1_follower_ms": quantiles(kubectl_ms),
        "target_p99_ms": P99_MS,
    }


async def first_line(bench: Bench, execution_id: str) -> None:
    """Until the container prints."""
    async with asyncio.timeout(DEADLINE):
        async for answer in bench.stub.StreamLogs(following(execution_id)):
            if answer.batch.lines:
                return


def quantiles(ms: list[float]) -> dict[str, float]:
    """Median, p99 and greatest, and of how many."""
    ms = sorted(ms)
    return {
        "p50": round(ms[len(ms) // 2], 2),
        "p99": round(ms[int(len(ms) * 0.99)], 2),
        "max": round(ms[-1], 2),
        "count": len(ms),
    }


async def measure(requests: Requests, running: Service) -> dict[str, Any]:
    """Everything."""
    limits = [("grpc.max_receive_message_length", 64 << 20)]
    async with grpc.aio.insecure_channel(running.address, options=limits) as channel:
        bench = Bench(requests, running, execution_service_pb2_grpc.ExecutionServiceStub(channel), channel)
        flat_out = await throughput(bench)
        return {"throughput": flat_out, "latency": [await latency(bench, pace) for pace in PACES]}


def main() -> int:
    """Measure and print; the exit code tells whether all targets are met."""
    with node() as layout, tempfile.TemporaryDirectory() as name, service(layout) as running:
        figures = header(layout)
        figures |= asyncio.run(measure(Requests(layout, Path(name)), running))
        figures["load_after"] = [round(x, 2) for x in os.getloadavg()]
    print(json.dumps(figures, indent=1))
    flat_out = figures["throughput"]
    met = all(flat_out[peer]["ratio"] >= flat_out[peer]["target"] for peer in ("of_curl", "of_kubectl"))
    return int(not met or any(one["service_ms"]["p99"] > one["target_p99_ms"] for one in figures["latency"]))


if __name__ == "__main__":
    sys.exit(main())

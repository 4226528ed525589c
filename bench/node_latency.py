"""Ages of lines from a real container: ten gRPC followers, and `kubectl logs -f`; see `node_logs`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any

import grpc

from bench.node_steps import DEADLINE, Bench, following, quantiles
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2_grpc

PACES, FOLLOWERS, WINDOW, WINDOWS = (1_000, 10_000), 10, 10.0, 2
P99_MS = 25.0
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
        used = 0.0
        for _ in range(WINDOWS):
            before = bench.service.cpu_seconds()
            await window_of_followers(bench, execution_id, ours)
            used += bench.service.cpu_seconds() - before
            theirs.since, theirs.expected = time.time_ns() + 1_000_000_000, -1
            await asyncio.to_thread(kubectl_reader, follow, theirs, time.monotonic() + WINDOW + 1)
    service_ms, kubectl_ms = [ms for a in ours for ms in a.ms], theirs.ms
    return {
        "lines_per_second": pace,
        "followers": FOLLOWERS,
        "service_cpu_percent": round(100 * used / (WINDOWS * (WINDOW + 1))),
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

"""Lines a second from a real kubelet: the service, curl and `kubectl logs -f`; see `node_logs`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from bench.logs import step_like
from bench.node_cluster import say
from bench.node_steps import DEADLINE, Bench, following, kubectl
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as pb

LINES, ROUNDS, ATTACHING = 300_000, 4, 4
AT_LEAST_OF_CURL, AT_LEAST_OF_KUBECTL = 0.8, 1.0
FLAT_OUT = f"""
import sys, time
time.sleep(float(sys.argv[1]))
for start in range(0, {LINES}, 1000):
    sys.stdout.write("".join(f"{{n:09d}} " + "x" * 109 + chr(10) for n in range(start, start + 1000)))
sys.stdout.flush()
time.sleep(600)
"""
STREAM_LOGS = f"/{pb.DESCRIPTOR.services_by_name['ExecutionService'].full_name}/StreamLogs"


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
        self._service = bench.service
        self._task = asyncio.create_task(self._read())

    async def rate(self) -> tuple[float, float]:
        """Lines a second, and the service's CPU µs for one, from the first message to the last; once all have come."""
        first, last, used = await asyncio.wait_for(self._task, DEADLINE)
        self._call.cancel()
        checked(self._messages)
        return LINES / (last - first), used / LINES * 1e6

    async def _read(self) -> tuple[float, float, float]:
        first, used, wanted = 0.0, 0.0, last_line()
        async for message in self._call:
            if not first:
                first, used = time.monotonic(), self._service.cpu_seconds()
            self._messages.append(message)
            if wanted in message:
                return first, time.monotonic(), self._service.cpu_seconds() - used
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


Rates = dict[str, float]
"""Lines a second by reader; `cpu_us` is the service's CPU time for one."""


async def backlog(bench: Bench, *, service_first: bool) -> Rates:
    """All three on one container's log, at rest."""
    rates: Rates = {}
    async with bench.execution("python3", "-c", FLAT_OUT, "0") as execution_id:
        reading = Reading(bench, execution_id)
        namespace, pod = await bench.pod(execution_id)
        with bench.service.paused():
            await printed(bench, namespace, pod)
            if not service_first:
                await peers(bench, rates, namespace, pod)
        rates["service"], rates["cpu_us"] = await reading.rate()
        if service_first:
            await peers(bench, rates, namespace, pod)
    return rates


async def live(bench: Bench, *, service_first: bool) -> Rates:
    """Each on a container of its own, while it prints."""
    rates: Rates = {}

    async def through_the_service() -> None:
        async with bench.execution("python3", "-c", FLAT_OUT, str(ATTACHING)) as execution_id:
            reading = Reading(bench, execution_id)
            rates["service"], rates["cpu_us"] = await reading.rate()

    async def through_peers() -> None:
        for only in ("curl", "kubectl"):
            async with plain_pod(bench) as pod:
                await peers(bench, rates, "default", pod, only)

    for part in (through_the_service, through_peers) if service_first else (through_peers, through_the_service):
        await part()
    return rates


@contextlib.asynccontextmanager
async def plain_pod(bench: Bench) -> AsyncIterator[str]:
    """A pod that prints as a step does, from when it runs on; its name."""
    name = f"loud-{time.monotonic_ns()}"
    spec = step_like(["python3", "-c", FLAT_OUT, str(ATTACHING)])
    body = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}).encode()
    await kubectl(bench, "create", "-f", "-", given=body)
    try:
        await kubectl(bench, "wait", "pod", name, "--for=condition=Ready", f"--timeout={DEADLINE:g}s")
        yield name
    finally:
        await kubectl(bench, "delete", "pod", name, "--grace-period=0", "--force")


async def peers(bench: Bench, rates: Rates, namespace: str, pod: str, only: str = "") -> None:
    """What the peers get of a container's log."""
    url = f"/api/v1/namespaces/{namespace}/pods/{pod}/log?container=step&follow=true&timestamps=true"
    commands = {
        "curl": bench.requests.curl(url),
        "kubectl": bench.requests.kubectl("logs", "-f", "--timestamps", "-n", namespace, pod, "-c", "step"),
    }
    for name, command in commands.items():
        if only in {"", name}:
            rates[name] = await asyncio.to_thread(peer, command)


async def throughput(bench: Bench, way: Callable[..., Awaitable[Rates]]) -> dict[str, Any]:
    """Medians over the rounds; ratios are made within a round."""
    rounds = []
    for number in range(ROUNDS):
        rounds.append(await way(bench, service_first=number % 2 == 0))
        say(f"{way.__name__} " + " ".join(f"{name} {rate:,.1f}" for name, rate in rounds[-1].items()))

    def ratios(name: str) -> list[float]:
        return [round(r["service"] / r[name], 2) for r in rounds]

    def against(name: str, target: float) -> dict[str, Any]:
        return {"ratio": round(statistics.median(ratios(name)), 2), "target": target, "rounds": ratios(name)}

    return {
        "lines": LINES,
        "lines_per_second": {n: round(statistics.median(r[n] for r in rounds)) for n in ("service", "curl", "kubectl")},
        "service_cpu_us_per_line": round(statistics.median(r["cpu_us"] for r in rounds), 2),
        "of_curl": against("curl", AT_LEAST_OF_CURL),
        "of_kubectl": against("kubectl", AT_LEAST_OF_KUBECTL),
    }

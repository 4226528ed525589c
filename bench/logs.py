"""Log path against `curl -N` on the same kind of log URL: lines a second from the first line to the last.

Two ways to read a container that prints lines of 120 bytes on a simulated cluster, in turn, ROUNDS times: (a) through
the service (log reader → journal → StreamLogs → a gRPC client that counts), (b) `curl -N` on
.../pods/NAME/log?follow=true&timestamps=true of a pod that prints the same under the same agent. Two paces: flat out,
where the simulated node gives several times what a kubelet can (about 260,000 lines/s on two cores, a flush a line),
and at REAL_PACE lines/s. The node rotates no log here: who is slower than the printer would lose lines on either way.
Prints JSON with medians, ratios, the service's CPU time a line and the machine's load (on a machine that others use,
that time says more than the ratio). Lines are numbered, so a lost or doubled one ends it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import yaml
from google.protobuf import json_format

from bench.startup import cpu_seconds, wait_for
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2, execution_service_pb2_grpc

LINES, ROUNDS, REAL_PACE, TARGET = 1_500_000, 3, 200_000, 0.8
TOOLS = Path(sys.executable).parent
PRINTER = f"""
import sys, time
begin, pace = time.monotonic(), int(sys.argv[1])
for start in range(0, {LINES}, 1000):
    sys.stdout.write("".join(f"{{n:09d}} " + "x" * 109 + chr(10) for n in range(start, start + 1000)))
    sys.stdout.flush()
    if pace:
        time.sleep(max(0.0, begin + (start + 1000) / pace - time.monotonic()))
"""


def command(pace: int) -> list[str]:
    """The printer at a pace in lines a second; 0 is flat out."""
    return ["python", "-c", PRINTER, str(pace)]


def plan(pace: int) -> dict[str, Any]:
    """A CUSTOM suite of the printer."""
    suite = {"name": "loud", "type": "CUSTOM", "image": "python:3-slim", "command": command(pace), "timeout": "5m"}
    return {"test_plan": {"source": {"image": {}}, "suites": [suite]}, "policy": {"timeout": "6m"}}


def step_like(argv: list[str]) -> dict[str, Any]:
    """The spec of a pod that runs a command as a step does: under the agent, without a collector."""
    shared = [{"name": "shared", "mountPath": "/k8s-execution"}]
    step = json.dumps({"command": argv, "merge": True, "in_place": True})
    agent = {"name": "agent", "image": "k8s-execution-agent:0.1.0", "command": ["/k8s-execution-agent", "install"]}
    printer = {
        "name": "step",
        "image": "python:3-slim",
        "command": ["/k8s-execution/bin/agent", "run"],
        "env": [{"name": "K8S_EXECUTION_STEP", "value": step}],
    }
    return {
        "restartPolicy": "Never",
        "volumes": [{"name": "shared", "emptyDir": {}}],
        "initContainers": [{**agent, "volumeMounts": shared}],
        "containers": [{**printer, "volumeMounts": shared}],
    }


async def through_the_service(address: str, pid: int, pace: int) -> tuple[float, float]:
    """Lines a second that a gRPC client gets, and CPU µs a line of the service for the whole run."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.max_receive_message_length", 64 << 20)]) as channel:
        stub: Any = execution_service_pb2_grpc.ExecutionServiceStub(channel)
        request = json_format.ParseDict(plan(pace), execution_service_pb2.ExecuteRequest())
        execution_id = (await stub.Execute(request)).execution.id
        following = execution_service_pb2.StreamLogsRequest(execution_id=execution_id, follow=True, containers=["step"])
        expected, first, last, used = 0, 0.0, 0.0, cpu_seconds(pid)
        async for answer in stub.StreamLogs(following):
            if answer.batch.HasField("gap"):
                raise SystemExit(f"a gap after line {expected}: {answer.batch.gap}")
            lines = answer.batch.lines
            if lines and (int(lines[0].text[:9]), int(lines[-1].text[:9])) != (expected, expected + len(lines) - 1):
                raise SystemExit(f"line {expected} is not where it should be: {lines[0].text[:20]}")
            expected += len(lines)
            last = time.monotonic() if lines else last
            first = first or last
        if expected != LINES:
            status = await stub.Status(execution_service_pb2.StatusRequest(execution_id=execution_id))
            raise SystemExit(f"{expected} of {LINES} lines came: {status.execution}")
        return LINES / (last - first), (cpu_seconds(pid) - used) / LINES * 1e6


def through_curl(kubeconfig: Path, folder: Path, pace: int) -> float:
    """Lines a second that curl gets of an ordinary pod."""
    name = f"loud-{time.monotonic_ns()}"
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": step_like(command(pace))}
    kubectl = [str(TOOLS / "kubectl"), "--kubeconfig", str(kubeconfig)]
    subprocess.run(
        [*kubectl, "create", "-f", "-"], input=json.dumps(pod).encode(), check=True, stdout=subprocess.DEVNULL
    )
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    authority = folder / "ca.crt"
    authority.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    url = f"{cluster['server']}/api/v1/namespaces/default/pods/{name}/log?follow=true&timestamps=true"
    output = folder / "curl.out"
    request = [
        "curl",
        "-N",
        "-sS",
        "--fail",
        "--cacert",
        str(authority),
        "-H",
        f"Authorization: Bearer {user['token']}",
    ]
    request += ["-o", str(output), "-w", "%{time_starttransfer} %{time_total}", url]
    for _ in range(200):
        done = subprocess.run(request, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        time.sleep(0.05)  # the container has not started yet
    begin, end = map(float, done.stdout.split())
    counted = output.read_bytes().count(b"\n")
    if counted != LINES:
        raise SystemExit(f"curl got {counted} of {LINES} lines")
    subprocess.run([*kubectl, "delete", "pod", name, "--grace-period=0", "--force"], check=True, capture_output=True)
    return LINES / (end - begin)


@contextlib.contextmanager
def running(command: list[str], ready: Path) -> Any:
    """A process until the block ends, from its ready file on."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(ready, process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def summary(rounds: list[tuple[tuple[float, float], float]]) -> dict[str, float]:
    """Medians of both ways, and of their ratio round by round."""
    return {
        "service_lines_per_second": round(statistics.median(ours for (ours, _), _ in rounds)),
        "curl_lines_per_second": round(statistics.median(curl for _, curl in rounds)),
        "ratio": round(statistics.median(ours / curl for (ours, _), curl in rounds), 2),
        "service_cpu_us_per_line": round(statistics.median(cpu for (_, cpu), _ in rounds), 2),
    }


def main() -> int:
    """Measure in turn and print; the exit code tells whether the target is met."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kubeconfig, cluster_ready, ready = folder / "kubeconfig", folder / "cluster.ready", folder / "serve.ready"
        agent = subprocess.run([sys.executable, "tools/build_agent.py"], capture_output=True, text=True, check=True)
        simulation = [sys.executable, "-m", "k8s_simulation", "--port", "0", "--kubeconfig", str(kubeconfig)]
        simulation += ["--data", str(folder / "cluster"), "--ready-file", str(cluster_ready)]
        simulation += ["--agent", agent.stdout.split()[-1], "--log-rotation", "1000000000"]
        serve = [str(TOOLS / "k8s-execution"), "serve", "--kubeconfig", str(kubeconfig), "--data", str(folder / "data")]
        serve += ["--grpc-address", "127.0.0.1:0", "--ready-file", str(ready)]
        figures: dict[str, Any] = {"rounds": ROUNDS, "lines": LINES, "target": TARGET, "load_before": os.getloadavg()}
        with running(simulation, cluster_ready), running(serve, ready) as service:
            address = json.loads(ready.read_text())["grpc"]
            for name_of_pace, pace in (("flat_out", 0), ("at_real_pace", REAL_PACE)):

                def one_round(pace: int = pace) -> tuple[tuple[float, float], float]:
                    ours = asyncio.run(through_the_service(address, service.pid, pace))
                    return ours, through_curl(kubeconfig, folder, pace)

                figures[name_of_pace] = summary([one_round() for _ in range(ROUNDS)])
        figures["load_after"] = os.getloadavg()
    print(json.dumps(figures, indent=1))
    return int(figures["flat_out"]["ratio"] < TARGET)


if __name__ == "__main__":
    sys.exit(main())

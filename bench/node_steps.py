"""Steps on the real node, as the benchmarks of the log path use them. It must not measure anything."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import json_format

from bench.node_cluster import Requests, Service
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as pb

LABEL = "k8s-execution.maestro/execution-id"
DEADLINE = 180.0


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


async def kubectl(bench: Bench, *arguments: str, given: bytes = b"") -> None:
    """Run it; CalledProcessError if it fails."""
    command = bench.requests.kubectl(*arguments)
    await asyncio.to_thread(subprocess.run, command, input=given, check=True, capture_output=True)


def quantiles(ms: list[float]) -> dict[str, float]:
    """Median, p99 and greatest, and of how many."""
    ms = sorted(ms)
    return {
        "p50": round(ms[len(ms) // 2], 2),
        "p99": round(ms[int(len(ms) * 0.99)], 2),
        "max": round(ms[-1], 2),
        "count": len(ms),
    }

"""Drives the command line as its user does: a process, its streams and its exit code, against the fake service."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2 as ex
from k8s_execution_client._gen.maestro.k8s.execution.v1 import results_pb2
from unit.client.fake_service import FakeService

DEADLINE = 60.0
PLAN = """\
name: shop
test_plan: {source: {local: {path: .}}, suites: [{name: unit, type: PYTEST, image: "python:3-slim"}]}
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(service: FakeService) -> dict[str, str]:
    """The tests' environment with the fake service as the remote one."""
    return {**os.environ, "K8S_EXECUTION_SERVER": service.target}


@asynccontextmanager
async def started(service: FakeService, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A running command; killed at the end if need be."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "k8s_execution_client.cli.main", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment(service),
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ended(process: asyncio.subprocess.Process) -> Ended:
    """Wait for a command."""
    async with asyncio.timeout(DEADLINE):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def cli(service: FakeService, *arguments: str) -> Ended:
    """Run a command to its end."""
    async with started(service, *arguments) as process:
        return await ended(process)


async def play(service: FakeService, verdict: Any, **fields: Any) -> str:
    """Take the next accepted execution through its life."""
    async with asyncio.timeout(DEADLINE):
        execution_id = await service.accepted.get()
    step = ex.Step(name="unit", kind=ex.Step.SUITE, phase=ex.Step.RUNNING, pod="unit-pod", attempt=1)
    await service.change(execution_id, ex.StatusEvent.PHASE_CHANGED, phase=ex.PROVISIONING)
    await service.change(execution_id, ex.StatusEvent.PHASE_CHANGED, phase=ex.TESTING, steps=[step])
    await service.log(execution_id, "collected 1 item", "one \x1b]52;c;ZXZpbA==\x07 line")
    await service.seal(execution_id)
    kept = service.kept[execution_id]
    kept.results.suites.add(name="unit", verdict=verdict, tests=ex.TestCounts(total=1, passed=1))
    kept.results.cases.add(suite="unit", class_name="test_x", name="test_x", status=results_pb2.TestCase.PASSED)
    kept.files["report.xml"] = b"<x/>"
    await service.change(execution_id, ex.StatusEvent.VERDICT, phase=ex.CLEANING, verdict=verdict, **fields)
    await service.change(execution_id, ex.StatusEvent.PHASE_CHANGED, phase=ex.DONE)
    return execution_id


async def run(service: FakeService, verdict: Any, *arguments: str, **fields: Any) -> Ended:
    """`run` with an execution that ends so."""
    async with started(service, "run", *arguments) as process:
        await play(service, verdict, **fields)
        return await ended(process)

"""`buf curl` knows the service by reflection alone, and reads the same bytes of a log live and after the end."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2

from support import oracle, plans
from support.service import PATIENCE, Service

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

BUF = Path(sys.executable).with_name("buf")
API = "maestro.k8s.execution.v1.ExecutionService"
SCRIPT = "for i in $(seq 60); do echo line $i; sleep 0.03; done"


@pytest.fixture
def service(shared: Service) -> Service:
    """One service for all tests of this file: each leaves it as it was."""
    return shared


async def curl(service: Service, method: str, request: Any) -> Process:
    """`buf curl` of a method with reflection and no schema of its own."""
    command = [str(BUF), "curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", json.dumps(request)]
    return await asyncio.create_subprocess_exec(
        *command, f"http://{service.address}/{API}/{method}", stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )


async def answer(process: Process) -> bytes:
    """Its whole output; the error if it does not end well."""
    async with asyncio.timeout(PATIENCE):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output


async def test_a_log_read_by_reflection_is_the_same_live_and_late(service: Service) -> None:
    """Execute, StreamLogs from a second terminal while it runs, the same after the end: byte for byte equal."""
    plan = plans.plan(plans.shell("s", SCRIPT))
    execution_id = json.loads(await answer(await curl(service, "Execute", plan)))["execution"]["id"]
    request = {"executionId": execution_id, "follow": True}
    live = await curl(service, "StreamLogs", request)
    assert live.stdout is not None
    first = await asyncio.wait_for(live.stdout.readline(), PATIENCE)
    assert (await service.status(execution_id)).verdict == 0, "the first line came only at the end"
    whole = first + await answer(live)
    await oracle.check(service, execution_id, "PASSED")
    assert await answer(await curl(service, "StreamLogs", request)) == whole
    assert await answer(await curl(service, "StreamLogs", {"executionId": execution_id})) == whole
    assert whole.count(b'"text": "line ') + whole.count(b'"text":"line ') == 60


async def test_a_refusal_says_why_to_a_caller_without_our_schema(service: Service) -> None:
    """The code, a sentence, and the typed details that every gRPC client can unpack."""
    process = await curl(service, "Status", {"executionId": "nothing"})
    async with asyncio.timeout(PATIENCE):
        _, errors = await process.communicate()
    assert process.returncode != 0
    error = json.loads(errors)
    assert (error["code"], "ListExecutions" in error["message"]) == ("not_found", True)
    kind, value = (error["details"][0][key] for key in ("type", "value"))
    assert kind == "google.rpc.ErrorInfo"
    info = error_details_pb2.ErrorInfo.FromString(base64.b64decode(value + "=="))
    assert info.reason == "EXECUTION_NOT_FOUND"

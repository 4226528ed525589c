"""A real service process for end-to-end tests: `k8s-execution serve`, started, killed and restarted like a user would.

Talks to it over its gRPC port with the generated stubs, so that the tests do not rest on our own client.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format

from k8s_execution_client._gen.maestro.k8s.execution.v1 import (
    execution_pb2,
    execution_service_pb2,
    execution_service_pb2_grpc,
    logs_pb2,
)
from support.cluster import environment

COMMAND = Path(sys.executable).with_name("k8s-execution")
PATIENCE = 60.0


@dataclass(slots=True)
class Service:
    """One data folder and the service process on it. `start` may follow `kill`: same folder, same executions."""

    data: Path
    kubeconfig: Path
    environment: dict[str, str] = field(default_factory=dict)
    arguments: Sequence[str] = ()
    name: str = ""
    """Tells several processes on one folder apart."""
    process: asyncio.subprocess.Process | None = None
    channel: grpc.aio.Channel | None = None

    @property
    def stub(self) -> execution_service_pb2_grpc.ExecutionServiceAsyncStub:
        """The typed stub over the present process's port."""
        assert self.channel is not None, "the service is not started"
        return execution_service_pb2_grpc.ExecutionServiceStub(self.channel)

    @property
    def log(self) -> Path:
        """Where the process's output goes."""
        return self.data.with_suffix(f".{self.name}log")

    @property
    def ready(self) -> Path:
        """The ready file."""
        return self.data.with_suffix(f".{self.name}ready")

    @property
    def address(self) -> str:
        """Where its gRPC answers, host:port."""
        return str(json.loads(self.ready.read_text())["grpc"])

    async def start(self) -> None:
        """Start and wait for the ready file; AssertionError with the log's tail if it does not come."""
        self.ready.unlink(missing_ok=True)
        elsewhere = "--simulate" in self.arguments or self.environment.get("K8S_IN_CLUSTER") == "true"
        where = [] if elsewhere else ["--kubeconfig", str(self.kubeconfig)]
        command = [str(COMMAND), "serve", *where, "--grpc-address", "127.0.0.1:0", "--data", str(self.data)]
        with self.log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *command,
                "--ready-file",
                str(self.ready),
                *self.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**environment(*command), **self.environment},
            )
        async with asyncio.timeout(PATIENCE):
            while not self.ready.exists():
                assert self.process.returncode is None, f"serve ended at once:\n{self.tail()}"
                await asyncio.sleep(0.02)
        options = [("grpc.max_receive_message_length", 32 << 20)]
        self.channel = grpc.aio.insecure_channel(self.address, options=options)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.channel is not None:
            await self.channel.close()
            self.channel = None
        if self.process is None:
            return 0
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            code = await self.process.wait()
        self.process = None
        return code

    async def kill(self) -> None:
        """SIGKILL: nothing is cleaned up by the process itself."""
        await self.stop(signal.SIGKILL)

    def tail(self) -> str:
        """The last lines of the process's output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:]) if self.log.exists() else ""

    async def execute(self, plan: dict[str, Any]) -> str:
        """Execute a plan given as the contract's document; its execution id."""
        request = json_format.ParseDict(plan, execution_service_pb2.ExecuteRequest())
        return (await self.stub.Execute(request)).execution.id

    async def status(self, execution_id: str) -> execution_pb2.Execution:
        """The execution as it stands."""
        request = execution_service_pb2.StatusRequest(execution_id=execution_id)
        return (await self.stub.Status(request)).execution

    async def until(self, execution_id: str, phase: str, patience: float = PATIENCE) -> execution_pb2.Execution:
        """Wait (by Watch) until the execution is in this phase or past it; what it was then."""
        wanted = execution_pb2.Phase.Value(phase)
        request = execution_service_pb2.WatchRequest(execution_id=execution_id)
        async with asyncio.timeout(patience):
            call = self.stub.Watch(request)
            async for answer in call:
                if answer.event.execution.phase >= wanted:
                    call.cancel()
                    return answer.event.execution
        raise AssertionError(f"the watch of {execution_id} ended before {phase}\n{self.tail()}")

    async def done(self, execution_id: str, patience: float = PATIENCE) -> execution_pb2.Execution:
        """Wait until it is DONE; the final execution."""
        await self.until(execution_id, "DONE", patience)
        return await self.status(execution_id)

    async def logs(
        self, execution_id: str, *, follow: bool = True, cursor: str = ""
    ) -> AsyncIterator[logs_pb2.LogBatch]:
        """The log's batches."""
        request = execution_service_pb2.StreamLogsRequest(execution_id=execution_id, follow=follow, cursor=cursor)
        async for answer in self.stub.StreamLogs(request):
            yield answer.batch

    async def events(self, execution_id: str) -> list[execution_pb2.StatusEvent]:
        """Every status event of an execution that is DONE."""
        request = execution_service_pb2.WatchRequest(execution_id=execution_id)
        return [answer.event async for answer in self.stub.Watch(request)]


@asynccontextmanager
async def running(data: Path, kubeconfig: Path, environment: dict[str, str] | None = None) -> AsyncIterator[Service]:
    """A service on this data folder until the context is left; it must end on SIGTERM, without a defect in its log."""
    made = Service(data, kubeconfig, environment or {})
    await made.start()
    try:
        yield made
    finally:
        code = await made.stop()
    assert code == 0, made.tail()
    assert "defect" not in made.log.read_text(), made.tail()

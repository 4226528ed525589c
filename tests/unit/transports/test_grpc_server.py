"""The server itself: addresses, health, reflection, streams that end early, and the drain."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from k8s_execution.ports.logs import LogBatch, LogLine, LogLines, LogStream
from k8s_execution.transports.grpc_server import AddressUnusable, GrpcServer, ServerLimits
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as pb
from support import build
from unit.transports.conftest import Answered, served, stub_of
from unit.transports.fakes import World

if TYPE_CHECKING:
    from unit.transports.conftest import Stub

NAME = "maestro.k8s.execution.v1.ExecutionService"


@asynccontextmanager
async def patience(seconds: float = 20.0) -> AsyncIterator[None]:
    """A deadline for what must happen soon."""
    async with asyncio.timeout(seconds):
        yield


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until something holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event; it is looked at, with a deadline
            await asyncio.sleep(0.001)


async def read_all(call: Any) -> None:
    """Read a stream to its end."""
    while await call.read() is not grpc.aio.EOF:
        pass


@pytest.fixture
async def running(world: World) -> AsyncIterator[tuple[GrpcServer, grpc.aio.Channel, Stub]]:
    """A server with one execution, a channel, and a stub."""
    world.store.put(build.execution())
    async with served(world.use_cases()) as (server, channel):
        yield server, channel, stub_of(channel)


Running = tuple[GrpcServer, grpc.aio.Channel, "Stub"]


async def test_a_taken_port_is_refused_in_words(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = GrpcServer(world.use_cases(), address)
        with pytest.raises(AddressUnusable, match=rf"cannot serve gRPC at {address}: the port is taken"):
            await server.start()
        await server.drain(0)


@pytest.mark.parametrize("address", ["50051", "localhost", "localhost:grpc", ""])
async def test_an_address_without_a_port_is_told_as_such(world: World, address: str) -> None:
    server = GrpcServer(world.use_cases(), address)
    with pytest.raises(AddressUnusable, match="must be HOST:PORT"):
        await server.start()
    await server.drain(0)


async def test_two_servers_never_share_a_port(world: World) -> None:
    first = GrpcServer(world.use_cases(), "127.0.0.1:0")
    address = await first.start()
    second = GrpcServer(world.use_cases(), address)
    try:
        with pytest.raises(AddressUnusable):
            await second.start()
    finally:
        await second.drain(0)
        await first.drain(0)


async def test_a_unix_socket_serves(world: World, tmp_path: Path) -> None:
    server = GrpcServer(world.use_cases(), f"unix:{tmp_path}/grpc")
    address = await server.start()
    try:
        assert address == f"unix:{tmp_path}/grpc"
        async with grpc.aio.insecure_channel(address) as channel:
            assert (await stub_of(channel).ListActive(pb.ListActiveRequest())).executions == []
    finally:
        await server.drain(0)


async def test_health_is_serving_for_the_server_and_the_service(running: Running) -> None:
    health = health_pb2_grpc.HealthStub(running[1])
    for name in ("", NAME):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await health.Check(health_pb2.HealthCheckRequest(service="other"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_tells_the_service_and_its_file(running: Running) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(running[1])

    async def questions() -> AsyncIterator[Any]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        yield reflection_pb2.ServerReflectionRequest(file_containing_symbol=NAME)

    answers = [answer async for answer in stub.ServerReflectionInfo(questions())]
    assert {s.name for s in answers[0].list_services_response.service} >= {NAME, "grpc.health.v1.Health"}
    assert answers[1].file_descriptor_response.file_descriptor_proto


async def test_a_drain_tells_health_watchers_first_and_ends_their_stream(running: Running) -> None:
    server, channel, _ = running
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=NAME))
    states = health_pb2.HealthCheckResponse
    assert (await watch.read()).status == states.SERVING
    async with patience(5):
        drain = asyncio.create_task(server.drain(60))
        assert (await watch.read()).status == states.NOT_SERVING
        assert await watch.read() is grpc.aio.EOF
        await drain


async def test_a_drain_ends_streams_and_waits_with_a_reason_to_come_back(running: Running, world: World) -> None:
    server, _, stub = running
    logs = stub.StreamLogs(pb.StreamLogsRequest(execution_id=build.ID, follow=True))
    watch = stub.Watch(pb.WatchRequest())
    await watch.read()
    held = stub.Status(pb.StatusRequest(execution_id=build.ID, wait="10m"))
    waiting = asyncio.ensure_future(held)
    await until(lambda: world.journal.open_readers == 1 and len(world.store.listeners) == 2)
    async with patience(5):
        await server.drain(60)
        for ended in (logs.read(), watch.read(), waiting):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ended
            answer = Answered(refused.value)
            assert (answer.code, answer.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STOPPING")
            assert answer.retry.retry_delay.seconds == 1
    assert world.journal.open_readers == 0
    assert world.store.listeners == []


async def test_a_drain_lets_an_accepted_call_end(world: World) -> None:
    """Execute is in the store's hands: it is answered, not interrupted."""
    entered, free = asyncio.Event(), asyncio.Event()
    use_cases = world.use_cases()
    accept = world.store.accept

    async def slow(acceptance: Any) -> Any:
        entered.set()
        await free.wait()
        return await accept(acceptance)

    world.store.accept = slow  # type: ignore[method-assign]  # the fake is an instance of this test
    async with served(use_cases) as (server, channel):
        plan = pb.ExecuteRequest()
        plan.test_plan.source.image.SetInParent()
        plan.test_plan.suites.add(name="unit", type=1, image="python:3-slim")
        call = asyncio.ensure_future(stub_of(channel).Execute(plan))
        async with patience():
            await entered.wait()
            drain = asyncio.create_task(server.drain(60))
            free.set()
            assert (await call).execution.id in world.store.executions
            await drain


async def test_a_client_that_leaves_closes_its_stream_at_once(running: Running, world: World) -> None:
    _, _, stub = running
    logs = stub.StreamLogs(pb.StreamLogsRequest(execution_id=build.ID, follow=True))
    watch = stub.Watch(pb.WatchRequest(execution_id=build.ID))
    await watch.read()
    await until(lambda: world.journal.open_readers == 1 and len(world.store.listeners) == 1)
    logs.cancel()
    watch.cancel()
    await until(lambda: world.journal.open_readers == 0 and not world.store.listeners)


async def test_the_callers_deadline_ends_its_wait(running: Running, world: World) -> None:
    _, _, stub = running
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Status(pb.StatusRequest(execution_id=build.ID, wait="10m"), timeout=0.2)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: not world.store.listeners)


async def test_a_reader_that_stops_reading_costs_itself_only(world: World) -> None:
    """What it leaves unread stays bounded, its stream is ended, and others read on."""
    world.store.put(build.execution())
    stream, lines = LogStream("pod", "step"), LogLines.of([LogLine(build.START * 1000, b"x" * 1000)] * 60)
    world.journal.batches[build.ID] = [LogBatch(i, stream, i * 60, lines) for i in range(1_000)]
    async with served(world.use_cases(), limits=ServerLimits(write_timeout=0.3)) as (_, channel):
        stub = stub_of(channel)
        stuck = stub.StreamLogs(pb.StreamLogsRequest(execution_id=build.ID, follow=True))
        await stuck.read()
        await until(lambda: world.journal.open_readers == 0)
        read = [a async for a in stub.StreamLogs(pb.StreamLogsRequest(execution_id=build.ID))]
        assert len(read) == 1_000
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await read_all(stuck)
        answer = Answered(ended.value)
        assert (answer.code, answer.info.reason) == (grpc.StatusCode.ABORTED, "READER_STUCK")


async def test_a_client_that_leaves_while_it_is_written_to_is_no_error(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.store.put(build.execution())
    stream, lines = LogStream("pod", "step"), LogLines.of([LogLine(build.START * 1000, b"x" * 1000)] * 60)
    world.journal.batches[build.ID] = [LogBatch(i, stream, i * 60, lines) for i in range(1_000)]
    async with served(world.use_cases()) as (_, channel):
        stuck = stub_of(channel).StreamLogs(pb.StreamLogsRequest(execution_id=build.ID, follow=True))
        await stuck.read()
        stuck.cancel()
        await until(lambda: world.journal.open_readers == 0)
    assert [r.getMessage() for r in caplog.records if r.levelname in {"WARNING", "ERROR", "CRITICAL"}] == []


FROZEN = """
import sys
import grpc
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as pb
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2_grpc as services

stub = services.ExecutionServiceStub(grpc.insecure_channel(sys.argv[1]))
watch = stub.Watch(pb.WatchRequest())
next(watch)
print("watching", flush=True)
sys.stdin.read()
"""


async def test_a_frozen_client_is_noticed_by_pings(world: World) -> None:
    """Within keepalive and its timeout; without gRPC's own ping timeout it took a minute."""
    world.store.put(build.execution())
    server = GrpcServer(world.use_cases(), "127.0.0.1:0", limits=ServerLimits(keepalive=1, keepalive_timeout=1))
    address = await server.start()
    pipe = asyncio.subprocess.PIPE
    client = await asyncio.create_subprocess_exec(sys.executable, "-c", FROZEN, address, stdin=pipe, stdout=pipe)
    try:
        assert client.stdout is not None
        async with patience():
            assert await client.stdout.readline() == b"watching\n"
        assert world.store.listeners
        client.send_signal(signal.SIGSTOP)
        await until(lambda: not world.store.listeners)
    finally:
        client.kill()
        await client.communicate()
        await server.drain(0)


async def test_calls_beyond_the_limit_are_refused_at_once(world: World) -> None:
    world.store.put(build.execution())
    async with served(world.use_cases(), limits=ServerLimits(concurrent_calls=1)) as (_, channel):
        stub = stub_of(channel)
        watch = stub.Watch(pb.WatchRequest())
        await watch.read()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ListActive(pb.ListActiveRequest())
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        watch.cancel()


async def test_draining_twice_or_before_the_start_is_harmless(world: World) -> None:
    server = GrpcServer(world.use_cases(), "127.0.0.1:0")
    await server.drain(0)
    other = GrpcServer(world.use_cases(), "127.0.0.1:0")
    await other.start()
    await other.drain(0)
    await other.drain(0)


def test_the_limits_are_told_to_grpc() -> None:
    options = dict(replace(ServerLimits(), keepalive=7).options())
    assert options["grpc.so_reuseport"] == 0
    assert options["grpc.max_receive_message_length"] == 8 << 20
    assert options["grpc.keepalive_time_ms"] == 7_000
    assert options["grpc.http2.ping_timeout_ms"] == 10_000

"""Commands in containers: frames, exit codes, cuts."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.kube import channels
from k8s_execution.kube.client import Client
from k8s_execution.kube.exec import Executor
from k8s_execution.ports.cluster import ExecFailed, Unreachable
from unit.kube.conftest import LIMITS
from unit.kube.fake_api import FakeApi, Fault, status_body

SUCCESS = b"\x03" + json.dumps({"status": "Success"}).encode()


def failure(code: int) -> bytes:
    """The Status of a command that exited with `code`."""
    cause = {"reason": "ExitCode", "message": str(code)}
    return b"\x03" + json.dumps(status_body(0, "NonZeroExitCode", f"exit code {code}", causes=[cause])).encode()


@pytest.fixture
def executor_of(client: Client) -> Executor:
    return Executor(client, LIMITS)


async def run(executor: Executor, *argv: str) -> tuple[bytes, int, bytes]:
    """Standard output, exit code, tail of standard error."""
    async with executor.exec("n", "p", "c", argv) as session:
        output = b"".join([chunk async for chunk in session.stdout()])
        return output, *await session.wait()


def play(api: FakeApi, *frames: bytes) -> None:
    """Let every exec send these frames."""

    async def handler(_: web.Request, socket: web.WebSocketResponse) -> None:
        for frame in frames:
            await socket.send_bytes(frame)

    api.exec = handler


async def test_output_errors_and_exit_code_are_kept_apart(api: FakeApi, executor_of: Executor) -> None:
    """Channels 1, 2 and 3."""
    play(api, b"\x01one ", b"\x02warn", b"\x01\xfftwo", b"\x01", failure(3))
    assert await run(executor_of, "sh", "-c", "x; y") == (b"one \xfftwo", 3, b"warn")
    query = api.seen[-1].query
    assert [v for k, v in query if k == "command"] == ["sh", "-c", "x; y"]
    assert dict(query)["container"] == "c" and dict(query)["stdin"] == "false" and dict(query)["tty"] == "false"
    assert api.seen[-1].headers["Sec-WebSocket-Protocol"].replace(" ", "") == "v5.channel.k8s.io,v4.channel.k8s.io"


async def test_v4_is_good_enough(api: FakeApi, executor_of: Executor) -> None:
    """It reports a status too."""
    api.exec_protocols = ("v4.channel.k8s.io",)
    play(api, SUCCESS)
    assert await run(executor_of, "true") == (b"", 0, b"")


async def test_a_protocol_without_status_is_refused(api: FakeApi, executor_of: Executor) -> None:
    """The oldest ones cannot tell how a command ended."""
    api.exec_protocols = ("channel.k8s.io",)
    with pytest.raises(ExecFailed, match="no exec protocol"):
        await run(executor_of, "true")


@pytest.mark.parametrize("abort", [False, True])
async def test_a_stream_without_its_status_is_a_failure(api: FakeApi, executor_of: Executor, abort: bool) -> None:
    """Closed in order or cut: output so far is not taken for all of it."""

    async def handler(request: web.Request, socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(b"\x01part")
        if abort:
            await asyncio.sleep(0.05)
            assert request.transport is not None
            request.transport.abort()

    api.exec = handler
    with pytest.raises(ExecFailed, match=r"without its status|cut"):
        await run(executor_of, "tar")


async def test_silence_ends_in_a_failure(api: FakeApi, executor_of: Executor, client: Client) -> None:
    """A connection that hangs is given up after the idle timeout."""

    async def handler(_: web.Request, socket: web.WebSocketResponse) -> None:
        await socket.receive()

    api.exec = handler
    short = Executor(client, type(LIMITS)(exec_idle_timeout=0.1))
    with pytest.raises(ExecFailed, match="cut: TimeoutError"):
        await run(short, "sleep")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, 'pods "p" not found'),
        (400, "container not-there is not valid for pod p"),
        (403, 'pods "p" is forbidden: User "x" cannot create resource "pods/exec"'),
        (500, "unable to upgrade connection: container not found"),
    ],
)
async def test_a_refused_start_keeps_the_servers_words(
    api: FakeApi, executor_of: Executor, status: int, message: str
) -> None:
    """The body of a refused handshake is not dropped."""
    api.faults.append(Fault("exec", status=status, body=status_body(status, "R", message)))
    with pytest.raises(Unreachable if status == 500 else ExecFailed) as caught:
        await run(executor_of, "true")
    assert message in str(caught.value)


@pytest.mark.parametrize("status", [429, 503])
async def test_an_api_server_that_says_later_has_not_refused(api: FakeApi, executor_of: Executor, status: int) -> None:
    """It is waited for like any other silence of it."""
    api.faults.append(Fault("exec", status=status, body=status_body(status, "R", "later")))
    with pytest.raises(Unreachable, match="later"):
        await run(executor_of, "true")


async def test_a_container_that_does_not_run_is_told_on_the_status_channel(api: FakeApi, executor_of: Executor) -> None:
    """As v5 servers do, after the upgrade."""
    play(api, b"\x03" + json.dumps(status_body(500, "InternalError", "container not running")).encode())
    with pytest.raises(ExecFailed, match="container not running"):
        await run(executor_of, "true")


async def test_standard_input_arrives_whole_in_small_frames(api: FakeApi, executor_of: Executor) -> None:
    """One MiB, at most 32 KiB a frame, echoed back."""
    data = bytes(range(256)) * 4096
    sizes: list[int] = []

    async def handler(_: web.Request, socket: web.WebSocketResponse) -> None:
        total = 0
        while total < len(data):
            message = await socket.receive_bytes()
            assert message[0] == 0
            sizes.append(len(message) - 1)
            total += len(message) - 1
            await socket.send_bytes(b"\x01" + message[1:])
        await socket.send_bytes(SUCCESS)

    api.exec = handler
    async with executor_of.exec("n", "p", "c", ["cat"], stdin=True) as session, asyncio.TaskGroup() as tasks:
        tasks.create_task(session.send(data))
        echoed = b"".join([chunk async for chunk in session.stdout()])
        assert await session.wait() == (0, b"")
    assert echoed == data
    assert max(sizes) == 32 * 1024


async def test_a_reader_that_stops_holds_up_the_sender(api: FakeApi, executor_of: Executor) -> None:
    """Backpressure reaches `send`; after two idle seconds it is a failure and not a hang."""
    release = asyncio.Event()

    async def handler(_: web.Request, socket: web.WebSocketResponse) -> None:
        await release.wait()

    api.exec = handler
    async with executor_of.exec("n", "p", "c", ["cat"], stdin=True) as session:
        with pytest.raises(ExecFailed, match="standard input was cut"):
            await session.send(bytes(64 * 2**20))
        release.set()


async def test_only_the_tail_of_standard_error_is_kept(api: FakeApi, executor_of: Executor) -> None:
    """Memory is bounded."""
    play(api, *(b"\x02" + bytes([65 + i]) * 10_000 for i in range(5)), failure(1))
    _, code, tail = await run(executor_of, "x")
    assert code == 1
    assert tail == b"DDDDDD".ljust(6_384, b"D") + b"E" * 10_000


async def test_a_command_that_ended_early_still_tells_its_code(api: FakeApi, executor_of: Executor) -> None:
    """The agent refuses while we still send: the refusal is readable."""
    play(api, b"\x02refused", failure(7))
    async with executor_of.exec("n", "p", "c", ["receive"], stdin=True) as session:
        try:
            for _ in range(50):
                await session.send(bytes(32 * 1024))
                await asyncio.sleep(0)
        except ExecFailed:
            pass
        assert await session.wait() == (7, b"refused")


@pytest.mark.parametrize(
    "status",
    [
        b"",
        b"junk",
        b"[]",
        json.dumps({"status": "Failure", "reason": "NonZeroExitCode"}).encode(),
        json.dumps({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [5]}}).encode(),
        json.dumps({"status": "Failure", "reason": "InternalError"}).encode(),
    ],
)
def test_a_status_without_exit_code_is_a_failure(status: bytes) -> None:
    """Never a guessed success."""
    with pytest.raises(ExecFailed):
        channels.exit_code(status)


@given(st.binary(max_size=100_000))
def test_frames_carry_all_bytes(data: bytes) -> None:
    """In order, each below the limit and marked as standard input."""
    frames = channels.stdin_frames(data)
    assert b"".join(f[1:] for f in frames) == data
    assert all(f[0] == 0 and 1 < len(f) <= channels.STDIN_CHUNK + 1 for f in frames)


def test_the_exit_code_is_read_from_the_causes() -> None:
    """As Kubernetes writes it."""
    body: dict[str, Any] = status_body(0, "NonZeroExitCode", "m", causes=[{"reason": "ExitCode", "message": "137"}])
    assert channels.exit_code(json.dumps(body).encode()) == 137

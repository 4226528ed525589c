"""Logs and exec through the API server."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from k8s_simulation.node.logs import Rotation
from unit.simulation_node.harness import TOKEN, Cluster, eventually, shell


class Exec:
    """A small exec client: collects channels, sends stdin, closes it in v5."""

    def __init__(self, cluster: Cluster, pod: str) -> None:
        self.url = f"{cluster.base}/api/v1/namespaces/default/pods/{pod}/exec"

    async def run(self, *argv: str, stdin: bytes | None = None, version: int = 5, tty: bool = False) -> Any:
        """Run to the end: stdout, stderr, status."""
        params = [("command", word) for word in argv] + [("stdout", "true"), ("stderr", "true")]
        params += [("stdin", "true")] if stdin is not None else []
        params += [("tty", "true")] if tty else []
        out = {1: b"", 2: b"", 3: b""}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.ws_connect(
                self.url, params=params, protocols=[f"v{version}.channel.k8s.io"], max_msg_size=0
            ) as socket,
        ):
            assert socket.protocol == f"v{version}.channel.k8s.io"
            if stdin is not None:
                for start in range(0, len(stdin), 30000):
                    await socket.send_bytes(b"\0" + stdin[start : start + 30000])
                if version == 5:
                    await socket.send_bytes(bytes([255, 0]))
            async for message in socket:
                out[message.data[0]] += message.data[1:]
        return out[1], out[2], json.loads(out[3])


@pytest.fixture
async def sleeper(cluster: Cluster) -> Exec:
    """A pod to exec into."""
    mounts = [{"name": "v", "mountPath": "/v"}]
    container = shell("sleep 60", env=[{"name": "X", "value": "y"}], workingDir="/tmp", volumeMounts=mounts)
    await cluster.pod("sleeper", container, volumes=[{"name": "v", "emptyDir": {}}])
    await cluster.ready("sleeper")
    return Exec(cluster, "sleeper")


@pytest.mark.parametrize("version", [4, 5])
async def test_exec_sees_the_containers_environment_directory_and_mounts(sleeper: Exec, version: int) -> None:
    script = "echo $X; pwd; ls -d /v; hostname; echo err >&2"
    out, err, status = await sleeper.run("sh", "-c", script, version=version)
    assert (out, err) == (b"y\n/tmp\n/v\nsleeper\n", b"err\n")
    assert status["status"] == "Success"


async def test_exec_tells_a_non_zero_exit_code(sleeper: Exec) -> None:
    _, _, status = await sleeper.run("sh", "-c", "exit 3")
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_exec_of_a_missing_command_is_an_internal_error_in_containerds_words(sleeper: Exec) -> None:
    _, _, status = await sleeper.run("nosuch")
    assert status["reason"] == "InternalError" and 'exec: "nosuch": executable file not found' in status["message"]


async def test_exec_streams_stdin_until_it_is_closed_in_v5(sleeper: Exec) -> None:
    data = bytes(range(256)) * 20000
    out, _, status = await sleeper.run("cat", stdin=data)
    assert out == data and status["status"] == "Success"


async def test_exec_with_a_terminal(sleeper: Exec) -> None:
    out, _, status = await sleeper.run("sh", "-c", "test -t 0 && echo terminal", tty=True)
    assert out == b"terminal\r\n" and status["status"] == "Success"


async def test_a_client_that_goes_away_ends_the_command(sleeper: Exec) -> None:
    params = [("command", "sh"), ("command", "-c"), ("command", "echo up; exec sleep 4321"), ("stdout", "true")]
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
        session.ws_connect(sleeper.url, params=params, protocols=["v5.channel.k8s.io"]) as socket,
    ):
        while b"up" not in (await socket.receive()).data:
            pass

    async def ended() -> bool:
        out, _, _ = await sleeper.run("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        return b"sleep 4321" not in out

    await eventually(ended)


async def test_a_waiting_container_has_no_log_yet(cluster: Cluster) -> None:
    await cluster.pod("wait", shell("true", image="nosuch:1"))
    await cluster.until("wait", lambda p: "ErrImagePull" in str(p["status"]))
    status, text = await cluster.raw_log("wait")
    assert status == 400
    assert 'container "main" in pod "wait" is waiting to start: ' in json.loads(text)["message"]


async def test_following_a_log_sees_every_line_and_ends_with_the_container(cluster: Cluster) -> None:
    await cluster.pod("count", shell("for i in $(seq 200); do echo $i; sleep 0.002; done"), restartPolicy="Never")
    await cluster.until("count", lambda p: p["status"].get("phase") != "Pending")
    assert await cluster.log("count", follow=True) == "".join(f"{i}\n" for i in range(1, 201))


async def test_following_crosses_rotations_without_a_gap(cluster: Cluster) -> None:
    cluster.node.rotation = Rotation(max_bytes=2_000, interval=0.2)
    loop = "for i in $(seq 300); do echo line $i; sleep 0.005; done"
    await cluster.pod("rotate", shell(loop), restartPolicy="Never")
    await cluster.until("rotate", lambda p: p["status"].get("phase") == "Running")
    assert await cluster.log("rotate", follow=True) == "".join(f"line {i}\n" for i in range(1, 301))
    newest = await cluster.log("rotate")
    assert newest.endswith("line 300\n") and not newest.startswith("line 1\n")


async def test_tail_limit_since_and_timestamps(cluster: Cluster) -> None:
    await cluster.pod("opts", shell("seq 100"), restartPolicy="Never")
    await cluster.phase("opts", "Succeeded")
    assert await cluster.log("opts", tailLines=2) == "99\n100\n"
    assert await cluster.log("opts", limitBytes=3) == "1\n2"
    stamped = await cluster.log("opts", tailLines=1, timestamps=True)
    when, _, line = stamped.partition(" ")
    assert line == "100\n" and len(when) == 30 and when.endswith("Z")
    later = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    assert await cluster.log("opts", sinceTime=later) == ""
    assert await cluster.log("opts", sinceSeconds=60) == await cluster.log("opts")


async def test_the_log_of_the_previous_run(cluster: Cluster) -> None:
    mounts = [{"name": "v", "mountPath": "/v"}]
    script = "test -e /v/x && { echo second; sleep 60; }; touch /v/x; echo first; exit 1"
    await cluster.pod("prev", shell(script, volumeMounts=mounts), volumes=[{"name": "v", "emptyDir": {}}])
    await cluster.until("prev", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1)
    await cluster.ready("prev")
    assert await cluster.log("prev", previous=True) == "first\n"


async def test_binary_output_and_an_unfinished_line_pass_unchanged(cluster: Cluster) -> None:
    await cluster.pod("bin", shell(r"printf 'a\377\0b\nend'"), restartPolicy="Never")
    await cluster.phase("bin", "Succeeded")
    url = f"{cluster.base}/api/v1/namespaces/default/pods/bin/log"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
        session.get(url) as reply,
    ):
        assert await reply.read() == b"a\xff\0b\nend"


async def test_the_kubelet_server_wants_its_token(cluster: Cluster) -> None:
    await cluster.pod("any", shell("true"), restartPolicy="Never")
    await cluster.phase("any", "Succeeded")
    node = await cluster.client.get("/api/v1/nodes/test-node")
    port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    async with aiohttp.ClientSession() as session:
        async with session.get(f"https://127.0.0.1:{port}/containerLogs/a/b/c", ssl=False) as reply:
            assert reply.status == 401
        headers = {"Authorization": "Bearer kubelet-token"}
        async with session.get(f"https://127.0.0.1:{port}/containerLogs/a/b/c", ssl=False, headers=headers) as reply:
            assert reply.status == 404
        path = "containerLogs/default/any/main?previous=true"
        async with session.get(f"https://127.0.0.1:{port}/{path}", ssl=False, headers=headers) as reply:
            assert reply.status == 400
            assert await reply.text() == 'previous terminated container "main" in pod "any" not found\n'

"""Logs and commands on their way through the API server, with a kubelet that only the test knows."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
from aiohttp import WSMsgType, web

from k8s_simulation import faults
from k8s_simulation.api.certificates import make_authority
from k8s_simulation.controlplane import ControlPlane
from support.kubeapi import Kube
from support.kubeobjects import container, pod


class FakeKubelet:
    """A node's HTTPS endpoint: answers logs from `log`, echoes the frames of exec, and notes what it was asked."""

    def __init__(self) -> None:
        """Nothing asked yet."""
        self.log: list[bytes] = [b"one\n", b"two\n"]
        self.refusal: tuple[int, str] | None = None
        self.asked: list[str] = []
        self.tokens: set[str] = set()
        self.port = 0
        self.hold = False
        self.left = asyncio.Event()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Any path."""
        self.asked.append(request.path_qs)
        self.tokens.add(request.headers.get("Authorization", ""))
        if self.refusal is not None:
            return web.Response(status=self.refusal[0], text=self.refusal[1])
        if request.path.startswith("/exec/"):
            return await self._exec(request)
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in self.log:
            await response.write(chunk)
        try:
            if self.hold:
                await asyncio.Event().wait()
        finally:
            self.left.set()
        return response

    async def _exec(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io", "v4.channel.k8s.io"))
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.BINARY and message.data == b"\xff\x00":
                await socket.send_bytes(b'\x03{"status":"Success"}')
                break
            if message.type is WSMsgType.BINARY:
                await socket.send_bytes(b"\x01" + message.data[1:])
        await socket.close()
        return socket


def context() -> ssl.SSLContext:
    return make_authority("node").server_context(["127.0.0.1"])


@pytest.fixture
async def kubelet(plane: ControlPlane, kube: Kube, namespace: str) -> AsyncIterator[FakeKubelet]:
    """The kubelet of a node that has the pod `p` with the containers main and side."""
    fake = FakeKubelet()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.serve)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context())
    await site.start()
    fake.port = runner.addresses[0][1]
    status = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
              "daemonEndpoints": {"kubeletEndpoint": {"Port": fake.port}},
              "allocatable": {"cpu": "1", "pods": "9"}}  # fmt: skip
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"}, "status": status}
    await kube.request("POST", "/api/v1/nodes", node)
    made = pod(namespace, "true")
    made["spec"]["containers"].append(container("true", name="side"))
    await kube.created(made)
    await kube.until("pods", namespace, "p", lambda o: o["spec"].get("nodeName"))
    yield fake
    await runner.cleanup()


async def test_a_log_comes_through_with_its_options_and_the_kubelets_token(
    plane: ControlPlane, kubelet: FakeKubelet, kube: Kube
) -> None:
    reply = await kube.log("n", "p", container="side", follow="True", tailLines=5, pretty="x")
    assert reply.body == "one\ntwo\n"
    assert kubelet.asked == ["/containerLogs/n/p/side?follow=true&tailLines=5"]
    assert kubelet.tokens == {f"Bearer {plane.kubelet_token}"}


async def test_of_several_containers_one_must_be_named(kubelet: FakeKubelet, kube: Kube) -> None:
    reply = await kube.log("n", "p")
    assert (reply.status, reply.message) == (
        400, "a container name must be specified for pod p, choose one of: [main side]"
    )  # fmt: skip


async def test_a_refusal_of_the_kubelet_becomes_a_status(kubelet: FakeKubelet, kube: Kube) -> None:
    kubelet.refusal = (400, 'container "main" in pod "p" is waiting to start: ContainerCreating')
    reply = await kube.log("n", "p", container="main")
    assert (reply.status, reply.reason, reply.message) == (400, "BadRequest", kubelet.refusal[1])


async def test_a_log_can_be_cut_by_a_fault(plane: ControlPlane, kubelet: FakeKubelet, kube: Kube) -> None:
    plane.faults.add([faults.CutLogs(after_bytes=6, times=1)])
    assert (await kube.log("n", "p", container="main")).body == "one\ntw"
    assert (await kube.log("n", "p", container="main")).body == "one\ntwo\n"


@pytest.mark.parametrize("protocol", ["v5", "v4"])
async def test_exec_frames_pass_both_ways_and_the_end_too(kubelet: FakeKubelet, kube: Kube, protocol: str) -> None:
    address = f"{kube.url}/api/v1/namespaces/n/pods/p/exec"
    query = [("command", "a"), ("command", "b c"), ("container", "main"), ("stdin", "true")]
    async with kube.session.ws_connect(address, params=query, protocols=[f"{protocol}.channel.k8s.io"]) as socket:
        await socket.send_bytes(b"\x00" + bytes(range(256)))
        assert await socket.receive_bytes() == b"\x01" + bytes(range(256))
        await socket.send_bytes(b"\xff\x00")
        assert await socket.receive_bytes() == b'\x03{"status":"Success"}'
        assert (await socket.receive()).type is WSMsgType.CLOSE
    assert kubelet.asked == ["/exec/n/p/main?command=a&command=b+c&input=true"]


async def test_a_reader_that_leaves_ends_the_follow_at_the_node(kubelet: FakeKubelet, kube: Kube) -> None:
    kubelet.hold = True
    address = f"{kube.url}/api/v1/namespaces/n/pods/p/log"
    async with kube.session.get(address, params={"container": "main", "follow": "true"}) as answer:
        assert await answer.content.readline() == b"one\n"
    async with asyncio.timeout(5):
        await kubelet.left.wait()


async def test_exec_without_a_web_socket_says_what_is_spoken(kubelet: FakeKubelet, kube: Kube) -> None:
    address = f"{kube.url}/api/v1/namespaces/n/pods/p/exec"
    said = {}
    for upgrade in ({}, {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}):
        async with kube.session.post(address, params={"container": "main", "command": "x"}, headers=upgrade) as answer:
            assert answer.status == 400
            said[bool(upgrade)] = (await answer.json())["message"]
    assert said[False] == "Upgrade request required"
    assert said[True] == "Upgrade request required: this server speaks WebSocket for exec, not SPDY"


async def test_a_node_that_does_not_answer_is_an_internal_error(kubelet: FakeKubelet, kube: Kube) -> None:
    status = {"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}}
    await kube.request("PATCH", "/api/v1/nodes/node/status", status, content_type="application/merge-patch+json")
    reply = await kube.log("n", "p", container="main")
    assert reply.status == 500
    assert "error dialing backend" in reply.message

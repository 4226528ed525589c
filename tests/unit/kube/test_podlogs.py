"""Reading logs: bytes, options, and what refusals mean."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from k8s_execution.kube.client import Client
from k8s_execution.kube.podlogs import PodLogs
from k8s_execution.ports.cluster import LogGone, LogNotReady, LogRequest, Unreachable
from unit.kube.conftest import LIMITS
from unit.kube.fake_api import FakeApi, Fault, status_body

REQUEST = LogRequest(namespace="n", pod="p", container="c", follow=True)


@pytest.fixture
def logs(client: Client) -> PodLogs:
    return PodLogs(client, LIMITS)


async def read(logs: PodLogs, request: LogRequest = REQUEST) -> bytes:
    """The whole log."""
    return b"".join([chunk async for chunk in logs.read(request)])


async def test_bytes_come_as_they_are(api: FakeApi, logs: PodLogs) -> None:
    """Invalid UTF-8, long lines, NUL: nothing is decoded or split."""
    data = b"2026-11-24T09:00:00.1Z \xff\x00\r\n" + b"x" * 5_000_000

    async def write(_: web.Request, response: web.StreamResponse) -> None:
        await response.write(data)

    api.logs = write
    assert await read(logs) == data


async def test_options_are_kubernetes_own(api: FakeApi, logs: PodLogs) -> None:
    """Timestamps always; sinceTime rounded down to a second."""
    await read(logs, LogRequest("n", "p", "c", follow=False, previous=True, since=1795510800_999_999))
    assert api.seen[-1].path == "/api/v1/namespaces/n/pods/p/log"
    assert dict(api.seen[-1].query) == {
        "container": "c",
        "timestamps": "true",
        "previous": "true",
        "sinceTime": "2026-11-24T09:00:00Z",
    }
    await read(logs)
    assert dict(api.seen[-1].query) == {"container": "c", "timestamps": "true", "follow": "true"}


@pytest.mark.parametrize(
    ("status", "message", "meaning"),
    [
        (400, 'container "c" in pod "p" is waiting to start: ContainerCreating', LogNotReady),
        (400, 'container "c" in pod "p" is waiting to start: PodInitializing', LogNotReady),
        (400, "pod p does not have a host assigned", LogNotReady),
        (400, 'previous terminated container "c" in pod "p" not found', LogGone),
        (400, "container c is not valid for pod p", LogGone),
        (400, "unable to retrieve container logs for containerd://abc", LogGone),
        (404, 'pods "p" not found', LogGone),
        (404, "the server could not find the requested resource", LogGone),
        (500, "Internal error occurred: container not found", LogGone),
        (500, "proxy error from 127.0.0.1:6443", Unreachable),
        (502, "tls: internal error", Unreachable),
        (503, "overloaded", Unreachable),
        (429, "too many requests", Unreachable),
        (401, "Unauthorized", Unreachable),
        (403, "pods is forbidden: not found in policy", Unreachable),
        (400, "something new", Unreachable),
        (0, "", Unreachable),
    ],
)
async def test_refusals(api: FakeApi, logs: PodLogs, status: int, message: str, meaning: type[Exception]) -> None:
    """Not ready, gone, or to be tried again."""
    api.faults.append(Fault("log", status=status, body=status_body(status, "R", message), times=2))
    with pytest.raises(meaning):
        await read(logs)


NINE = "2026-11-24T09:00:00Z"
NO_LOG = "unable to retrieve container logs for containerd://abc"


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(
    ("pod", "previous", "meaning"),
    [
        ({}, False, Unreachable),
        ({"deletionTimestamp": NINE}, False, LogGone),
        (None, False, LogGone),
        ({}, True, LogGone),
    ],
)
async def test_a_runtime_that_is_away_is_no_proof_that_a_log_is_gone(
    api: FakeApi, logs: PodLogs, status: int, pod: dict[str, str] | None, previous: bool, meaning: type[Exception]
) -> None:
    """A kubelet says the same of a removed container, and says it in the log's place; the pod tells which it is."""

    async def write(_: web.Request, response: web.StreamResponse) -> None:
        await response.write(NO_LOG.encode())

    if pod is not None:
        api.put("pods", {"metadata": {"name": "p", "namespace": "n", "uid": "u", **pod}})
    api.logs = write
    if status != 200:
        api.faults.append(Fault("/log", status=status, body=status_body(status, "BadRequest", NO_LOG)))
    with pytest.raises(meaning):
        await read(logs, LogRequest("n", "p", "c", follow=not previous, previous=previous))


@pytest.mark.parametrize(
    ("pod", "meaning"), [({}, Unreachable), ({"deletionTimestamp": NINE}, LogGone), (None, LogGone)]
)
@pytest.mark.parametrize("previous", [False, True])
async def test_a_pod_that_its_kubelet_does_not_know_yet_is_not_gone(
    api: FakeApi, logs: PodLogs, pod: dict[str, str] | None, meaning: type[Exception], previous: bool
) -> None:
    """A kubelet that was started again answers 404 until it has its pods from the API server."""
    if pod is not None:
        api.put("pods", {"metadata": {"name": "p", "namespace": "n", "uid": "u", **pod}})
    body = status_body(404, "NotFound", "the server could not find the requested resource ( pods/log p)")
    api.faults.append(Fault("/log", status=404, body=body))
    with pytest.raises(meaning):
        await read(logs, LogRequest("n", "p", "c", follow=not previous, previous=previous))


async def test_a_cut_is_told_apart_from_an_end(api: FakeApi, logs: PodLogs) -> None:
    """What came is delivered, then Unreachable."""

    async def write(request: web.Request, response: web.StreamResponse) -> None:
        await response.write(b"first\n")
        await asyncio.sleep(0.05)
        assert request.transport is not None
        request.transport.abort()

    api.logs = write
    got = b""
    stream = logs.read(REQUEST)
    with pytest.raises(Unreachable):  # noqa: PT012 - what came before the cut is the point
        async for chunk in stream:
            got += chunk
    assert got == b"first\n"


async def test_a_reader_that_leaves_closes_the_connection(api: FakeApi, logs: PodLogs) -> None:
    """The server's handler ends; no connection stays."""
    ended = asyncio.Event()

    async def write(_: web.Request, response: web.StreamResponse) -> None:
        try:
            while True:
                await response.write(b"line\n")
                await asyncio.sleep(0.001)
        finally:
            ended.set()

    api.logs = write
    stream = logs.read(REQUEST)
    await anext(stream)
    await stream.aclose()
    await asyncio.wait_for(ended.wait(), 5)

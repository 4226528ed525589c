"""Requests: retries by class, credentials, limits, silence of logs."""

from __future__ import annotations

import asyncio
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from k8s_execution.kube.answers import PassingFault, StatusError
from k8s_execution.kube.client import Client
from k8s_execution.kube.kubeconfig import KubeConfig
from k8s_execution.kube.transport import open_transport
from k8s_execution.ports.cluster import Refused, Unreachable
from unit.kube.conftest import LIMITS, FalseClock, ProcessClock, until
from unit.kube.fake_api import FakeApi, Fault, status_body

PATH = "/api/v1/namespaces/kube-system"
CONFIG_MAPS = "/api/v1/namespaces/n/configmaps"
BODY = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": {"k": "s3cret"}}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 0])
async def test_a_read_survives_passing_faults(api: FakeApi, client: Client, status: int) -> None:
    """Three failures, then the answer."""
    api.faults.append(Fault("GET", status=status, times=3))
    assert (await client.get(PATH))["metadata"]["uid"] == "cluster-uid"
    assert api.count("GET") == 4


async def test_a_read_gives_up_after_a_stated_number_of_tries(api: FakeApi, client: Client) -> None:
    """Unreachable, with the server's words."""
    api.faults.append(Fault("GET", status=503, body=status_body(503, "ServiceUnavailable", "apiserver down"), times=99))
    with pytest.raises(Unreachable, match="apiserver down"):
        await client.get(PATH)
    assert api.count("GET") == LIMITS.attempts


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
async def test_refusals_are_not_repeated(api: FakeApi, client: Client, status: int) -> None:
    """One request, one Refused."""
    api.faults.append(Fault("GET", status=status, body=status_body(status, "R", "no"), times=99))
    with pytest.raises(Refused) as caught:
        await client.get(PATH)
    assert (caught.value.status, caught.value.reason, caught.value.message) == (status, "R", "no")
    assert api.count("GET") == 1


async def test_retry_after_is_honoured_up_to_a_cap(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """The server's wish is waited for, but not for ever."""
    clock = FalseClock()
    limits = replace(LIMITS, retry_after_cap=30.0)
    async with open_transport(api.config(), limits, clock, executor) as transport:
        client = Client(transport, limits, clock)
        api.faults += [
            Fault("GET", status=429, headers={"Retry-After": "7"}),
            Fault("GET", status=503, headers={"Retry-After": "3600"}),
        ]
        await client.get(PATH)
    assert clock.slept == [7.0, 30.0]


async def test_pauses_grow_and_are_capped(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """Each pause lies in the upper half of its doubled bound."""
    clock = FalseClock()
    limits = replace(LIMITS, retry=type(LIMITS.retry)(base=1, cap=4), attempts=6)
    async with open_transport(api.config(), limits, clock, executor) as transport:
        api.faults.append(Fault("GET", status=500, times=5))
        await Client(transport, limits, clock).get(PATH)
    for pause, bound in zip(clock.slept, [1, 2, 4, 4, 4], strict=True):
        assert bound / 2 <= pause <= bound


async def test_a_post_is_repeated_only_where_it_had_no_effect(api: FakeApi, client: Client) -> None:
    """429 is, a 500 or a dropped reply is for the caller to find out."""
    api.faults.append(Fault("POST", status=429, times=2))
    await client.post(CONFIG_MAPS, BODY)
    assert api.count("POST") == 3
    for status in (500, 0):
        api.faults.append(Fault("POST", status=status))
        with pytest.raises(PassingFault) as caught:
            await client.post(CONFIG_MAPS, BODY)
        assert caught.value.perhaps_executed
    assert api.count("POST") == 5


async def test_a_refused_connection_had_no_effect(executor: ThreadPoolExecutor) -> None:
    """Nobody listens: Unreachable, and it is known that nothing happened."""
    async with FakeApi() as gone:
        config = gone.config()
    async with open_transport(config, LIMITS, ProcessClock(), executor) as transport:
        with pytest.raises(PassingFault) as caught:
            await Client(transport, LIMITS, ProcessClock()).post(CONFIG_MAPS, BODY)
    assert not caught.value.perhaps_executed


async def test_a_server_that_does_not_answer_is_left_after_the_timeout(
    api: FakeApi, executor: ThreadPoolExecutor
) -> None:
    """No request waits for ever: a log that never comes stands for any silent answer."""
    limits = replace(LIMITS, request_timeout=0.1, attempts=1)
    async with open_transport(api.config(), limits, ProcessClock(), executor) as transport:
        client = Client(transport, limits, ProcessClock())
        async with asyncio.timeout(60):
            with pytest.raises(Unreachable):
                await client.get("/api/v1/pods", [("watch", "true"), ("resourceVersion", "999")])


async def test_a_rotated_token_is_read_again_after_401(
    api: FakeApi, executor: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """The old token is refused, the file holds a new one: the caller sees nothing of it."""
    token = tmp_path / "token"
    token.write_text("old\n")
    api.tokens = {"old"}
    async with open_transport(api.config(token_file=str(token)), LIMITS, ProcessClock(), executor) as transport:
        client = Client(transport, LIMITS, ProcessClock())
        await client.get(PATH)
        token.write_text("new\n")
        api.tokens = {"new"}
        assert (await client.get(PATH))["metadata"]["uid"] == "cluster-uid"
        assert api.count("GET") == 3
        api.tokens = {"newer"}
        with pytest.raises(Unreachable, match="401"):
            await client.get(PATH)


async def test_a_token_file_is_read_again_by_time(api: FakeApi, executor: ThreadPoolExecutor, tmp_path: Path) -> None:
    """Once a minute, without a refusal first."""
    clock = FalseClock()
    token = tmp_path / "token"
    token.write_text("old")
    async with open_transport(api.config(token_file=str(token)), LIMITS, clock, executor) as transport:
        client = Client(transport, LIMITS, clock)
        await client.get(PATH)
        token.write_text("new")
        await client.get(PATH)
        clock.now += 61
        await client.get(PATH)
        token.unlink()
        clock.now += 61
        await client.get(PATH)
    assert [s.headers["Authorization"] for s in api.seen] == ["Bearer old", "Bearer old", "Bearer new", "Bearer new"]


async def test_a_missing_token_file_is_unreachable(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """Without any token nothing is sent."""
    async with open_transport(api.config(token_file="/nowhere"), LIMITS, ProcessClock(), executor) as transport:
        with pytest.raises(Unreachable, match="token file /nowhere"):
            await Client(transport, LIMITS, ProcessClock()).get(PATH)
    assert api.seen == []


async def test_who_we_are_is_said_and_no_proxy_of_the_environment_is_used(
    api: FakeApi, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """User-Agent is ours; HTTP_PROXY, which would apply to loopback too, gets nothing."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with open_transport(api.config(token="t"), LIMITS, ProcessClock(), executor) as transport:
        await Client(transport, LIMITS, ProcessClock()).get(PATH)
    assert api.seen[0].headers["User-Agent"] == "k8s-execution"
    assert api.seen[0].headers["Authorization"] == "Bearer t"


async def test_the_proxy_of_the_kubeconfig_is_used(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """An absolute request line reaches the proxy: here the fake server plays it."""
    config = replace(api.config(proxy_url=api.url), server="http://cluster.invalid")
    async with open_transport(config, LIMITS, ProcessClock(), executor) as transport:
        await Client(transport, LIMITS, ProcessClock()).get(PATH)
    assert api.seen[0].headers["Host"] == "cluster.invalid"


async def test_no_body_reaches_a_log(api: FakeApi, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Not at DEBUG, not on failure, neither ours nor a library's."""
    caplog.set_level(logging.DEBUG)
    await client.post(CONFIG_MAPS, BODY)
    await client.get(CONFIG_MAPS)
    api.faults.append(Fault("POST", status=422, body=status_body(422, "Invalid", "bad")))
    with pytest.raises(StatusError):
        await client.post(CONFIG_MAPS, BODY)
    assert "s3cret" not in caplog.text


async def test_errors_of_the_network_do_not_quote_the_query(executor: ThreadPoolExecutor) -> None:
    """It may hold a command, and messages reach logs."""
    limits = replace(LIMITS, connect_timeout=0.05, request_timeout=0.1, attempts=1)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    backlog = [socket.create_connection(listener.getsockname()) for _ in range(1)]
    config = KubeConfig(server=f"http://127.0.0.1:{listener.getsockname()[1]}")
    try:
        async with open_transport(config, limits, ProcessClock(), executor) as transport:
            with pytest.raises(Unreachable) as caught:
                await Client(transport, limits, ProcessClock()).get("/api/v1/pods", [("command", "s3cret")])
    finally:
        for each in (*backlog, listener):
            each.close()
    assert "s3cret" not in str(caught.value)


async def test_pages_follow_the_continue_token_and_adapt(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """All objects once; big objects make small pages."""
    for number in range(180):
        api.put("configmaps", {"metadata": {"name": f"c{number:03}", "namespace": "n"}, "data": {"x": "y" * 2000}})
    limits = replace(LIMITS, page_bytes=40_000)
    async with open_transport(api.config(), limits, ProcessClock(), executor) as transport:
        client = Client(transport, limits, ProcessClock())
        sizes = [len(page["items"]) async for page in client.pages(CONFIG_MAPS)]
    assert sum(sizes) == 180
    assert sizes[0] == 25 and set(sizes[1:-1]) <= set(range(10, 20))


async def test_the_next_page_is_on_its_way_while_one_is_worked_on(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """A caller that leaves early leaves no request behind."""
    for number in range(60):
        api.put("configmaps", {"metadata": {"name": f"c{number:03}", "namespace": "n"}})
    async with open_transport(api.config(), LIMITS, ProcessClock(), executor) as transport:
        client = Client(transport, LIMITS, ProcessClock())
        async with aclosing(client.pages(CONFIG_MAPS)) as pages:
            first = await anext(pages)
            await until(lambda: len(api.seen) == 2)
        assert len(first["items"]) == 25
    assert len(api.seen) == 2
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("page of")]

"""The cache equals the cluster, whatever the connection does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from k8s_execution.domain.facts import PodFact
from k8s_execution.kube import parse
from k8s_execution.kube.client import Client
from k8s_execution.kube.limits import KubeLimits
from k8s_execution.kube.reflector import ReflectedKind, Reflector
from k8s_execution.kube.transport import open_transport
from unit.kube.conftest import LIMITS, ProcessClock, until
from unit.kube.fake_api import FakeApi, Fault, status_body


def pod(name: str, phase: str = "Pending", execution: str = "e1") -> dict[str, Any]:
    """A pod that carries our label."""
    labels = {"k8s-execution.maestro/execution-id": execution}
    return {"metadata": {"namespace": "n", "name": name, "labels": labels}, "status": {"phase": phase}}


class Running:
    """A reflector of pods that runs while the test does."""

    def __init__(self, api: FakeApi, client: Client, limits: KubeLimits) -> None:
        self.api = api
        self.heard: list[str] = []
        kind = ReflectedKind("Pod", parse.pod)
        self.reflector: Reflector[PodFact] = Reflector(kind, client, limits, ProcessClock(), self.heard.append)

    def phases(self) -> dict[str, str]:
        """What the cache says."""
        return {fact.name: fact.phase for fact in self.reflector.cache.all()}

    def truth(self) -> dict[str, str]:
        """What the server says."""
        return {n: o["status"]["phase"] for (p, _, n), o in self.api.objects.items() if p == "pods"}

    async def settled(self) -> None:
        """Wait until both agree and a watch is open."""
        await until(lambda: self.phases() == self.truth() and self.api.watches)


async def reflecting(
    api: FakeApi, executor: ThreadPoolExecutor, test: Callable[[Running], Awaitable[None]], **limits: Any
) -> None:
    """Run `test` beside a running reflector, then stop it."""
    own = replace(LIMITS, **limits)
    async with open_transport(api.config(), own, ProcessClock(), executor) as transport:
        running = Running(api, Client(transport, own, ProcessClock()), own)
        task = asyncio.create_task(running.reflector.run())
        try:
            await asyncio.wait(
                {task, listed := asyncio.create_task(running.reflector.listed.wait())},
                timeout=5,
                return_when="FIRST_COMPLETED",
            )
            listed.cancel()
            await running.settled()
            await test(running)
        finally:
            task.cancel()
            await asyncio.wait({task})
        assert task.cancelled(), task.exception()


async def test_list_then_watch(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """What is there, what comes, what changes, what goes."""
    api.put("pods", pod("a"))

    async def test(running: Running) -> None:
        assert running.heard == ["e1"]
        api.put("pods", pod("b"))
        api.put("pods", pod("a", "Running"))
        await running.settled()
        api.remove("pods", "n", "b")
        await running.settled()
        assert running.heard == ["e1"] * 4
        assert running.reflector.synced

    await reflecting(api, executor, test)
    watch = next(s for s in api.seen if ("watch", "true") in s.query)
    query = dict(watch.query)
    assert watch.path == "/api/v1/pods"
    assert query["labelSelector"] == "k8s-execution.maestro/execution-id"
    assert query["allowWatchBookmarks"] == "true"
    assert 240 <= int(query["timeoutSeconds"]) <= 300


async def test_a_status_without_news_wakes_nobody(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """A change that no fact holds is not passed on."""
    api.put("pods", pod("a"))

    async def test(running: Running) -> None:
        changed = pod("a")
        changed["metadata"]["uid"] = api.objects["pods", "n", "a"]["metadata"]["uid"]
        changed["metadata"]["annotations"] = {"x": "y"}
        api.put("pods", changed)
        api.put("pods", pod("b"))
        await running.settled()
        assert running.heard == ["e1", "e1"]

    await reflecting(api, executor, test)


@pytest.mark.parametrize("way", ["cut", "end", "silence"])
async def test_a_broken_watch_resumes_where_it_was(api: FakeApi, executor: ThreadPoolExecutor, way: str) -> None:
    """Cut, ended or silent: changes meanwhile arrive, and nothing is listed again."""
    api.put("pods", pod("a"))

    async def test(running: Running) -> None:
        if way == "cut":
            api.cut_watches()
        if way == "end":
            api.end_watches()
        await until(lambda: api.count("watch") >= 2)
        api.put("pods", pod("a", "Running"))
        api.put("pods", pod("b"))
        await running.settled()
        assert running.reflector.relists == 1

    await reflecting(api, executor, test, watch_inactivity=0.1 if way == "silence" else 70)


async def test_bookmarks_move_the_position_and_count_as_life(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """After a bookmark the next watch starts from it, even if history before it is gone."""

    async def test(running: Running) -> None:
        api.compact()
        api.bookmark("pods")
        api.end_watches()
        await until(lambda: api.count("watch") >= 2)
        await running.settled()
        assert running.reflector.relists == 1

    await reflecting(api, executor, test)
    assert dict(api.seen[-1].query)["resourceVersion"] == str(api.version)


async def test_410_by_status_lists_again_and_finds_what_vanished(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """A deletion that no watch told of is synthesised."""
    api.put("pods", pod("a", execution="gone"))
    api.put("pods", pod("b"))

    async def test(running: Running) -> None:
        running.heard.clear()
        api.vanish("pods", "n", "a")
        api.compact()
        api.cut_watches()
        await running.settled()
        assert running.heard == ["gone"]
        assert running.reflector.relists == 2

    await reflecting(api, executor, test)


async def test_410_by_event_lists_again(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """The same as an ERROR event in the stream."""
    api.put("pods", pod("a"))

    async def test(running: Running) -> None:
        api.vanish("pods", "n", "a")
        error = {"type": "ERROR", "object": status_body(410, "Expired", "too old resource version")}
        api.send("pods", json.dumps(error).encode() + b"\n")
        await running.settled()
        assert running.reflector.relists == 2

    await reflecting(api, executor, test)


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n",
        b"[]\n",
        b'{"type": "ADDED"}\n',
        b'{"type": 5, "object": {}}\n',
        b'{"type": "ADDED", "object": []}\n',
        b'{"type": "ERROR", "object": {}}\n',
        b'{"type": "ERROR", "object": {"code": 500}}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"x" * 3000 + b"\n",
    ],
)
async def test_junk_leads_to_a_list_and_not_to_an_end(api: FakeApi, executor: ThreadPoolExecutor, line: bytes) -> None:
    """An unreadable line may have been any change."""
    api.put("pods", pod("a"))

    async def test(running: Running) -> None:
        api.vanish("pods", "n", "a")
        api.send("pods", line)
        await until(lambda: running.reflector.relists == 2)
        await running.settled()

    await reflecting(api, executor, test, max_event_bytes=2000)


@pytest.mark.parametrize("line", [b"\n", b'{"type": "NEWS", "object": {}}\n', b'{"type": "BOOKMARK", "object": {}}\n'])
async def test_what_is_merely_strange_is_passed_over(api: FakeApi, executor: ThreadPoolExecutor, line: bytes) -> None:
    """Empty lines, types of the future, bookmarks without a version."""

    async def test(running: Running) -> None:
        api.send("pods", line)
        api.put("pods", pod("a"))
        await running.settled()
        assert running.reflector.relists == 1

    await reflecting(api, executor, test)


async def test_too_many_requests_in_the_stream_do_not_list_again(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """An overloaded server is not asked for more."""

    async def test(running: Running) -> None:
        error = {"type": "ERROR", "object": status_body(429, "TooManyRequests", "later")}
        api.send("pods", json.dumps(error).encode() + b"\n")
        await until(lambda: api.count("watch") >= 2)
        assert running.reflector.relists == 1

    await reflecting(api, executor, test)


async def test_events_split_over_chunks_are_joined(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """A line may come in any number of pieces."""

    async def test(running: Running) -> None:
        body = pod("a")
        body["metadata"] |= {"uid": "u", "resourceVersion": str(api.version)}
        line = json.dumps({"type": "ADDED", "object": body}).encode() + b"\n"
        for byte in range(0, len(line), 7):
            api.send("pods", line[byte : byte + 7])
        await until(lambda: running.phases() == {"a": "Pending"})

    await reflecting(api, executor, test)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_a_server_that_fails_is_asked_again_with_pauses(
    api: FakeApi, executor: ThreadPoolExecutor, status: int
) -> None:
    """Every fault passes; after the stated number of them the version is not insisted on."""
    api.put("pods", pod("a"))

    async def test(running: Running) -> None:
        api.faults.append(Fault("watch=true", status=status, times=7))
        api.vanish("pods", "n", "a")
        api.cut_watches()
        await until(lambda: api.faults[0].times == 0)
        await running.settled()
        assert running.reflector.relists >= 2

    await reflecting(api, executor, test)


async def test_a_dead_connection_costs_no_list(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """Nobody answered, so the version is as good as before."""

    async def test(running: Running) -> None:
        api.faults.append(Fault("watch=true", status=0, times=9))
        api.put("pods", pod("a"))
        api.cut_watches()
        await until(lambda: api.faults[0].times == 0)
        await running.settled()
        assert running.reflector.relists == 1

    await reflecting(api, executor, test)


async def test_a_server_that_closes_at_once_is_not_hammered(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """Watches that end immediately are spaced by growing pauses."""

    async def test(running: Running) -> None:
        api.faults.append(Fault("watch=true", status=200, times=10_000))
        api.end_watches()
        before = api.count("watch")
        await asyncio.wait({asyncio.create_task(until(lambda: api.count("watch") > before + 8))})
        assert api.count("watch") < before + 20

    await reflecting(api, executor, test, watch_retry=type(LIMITS.watch_retry)(base=0.01, cap=0.3))


async def test_410_after_an_outage_does_not_wait_as_long_as_the_outage(
    api: FakeApi, executor: ThreadPoolExecutor
) -> None:
    """The server answers again: pauses that grew meanwhile, here to minutes, do not delay the list."""

    async def test(running: Running) -> None:
        running.reflector._position.attempt = 30
        error = {"type": "ERROR", "object": status_body(410, "Expired", "too old resource version")}
        api.send("pods", json.dumps(error).encode() + b"\n")
        await until(lambda: running.reflector.relists == 2)

    await reflecting(api, executor, test, watch_retry=type(LIMITS.watch_retry)(base=0.01, cap=1000))


async def test_a_cache_without_connection_says_so_in_time(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """Tolerated for a while, then not synced, then synced again."""

    async def test(running: Running) -> None:
        assert running.reflector.synced
        api.faults.append(Fault("GET", status=0, times=100_000))
        api.cut_watches()
        await until(lambda: not running.reflector.synced)
        api.faults.clear()
        await until(lambda: running.reflector.synced)

    await reflecting(api, executor, test, down_tolerance=0.2, attempts=1)


async def test_never_listed_is_not_synced(api: FakeApi, client: Client) -> None:
    """Before the first list absence proves nothing."""
    reflector = Reflector(ReflectedKind("Pod", parse.pod), client, LIMITS, ProcessClock(), lambda _: None)
    assert not reflector.synced


async def test_a_list_that_expires_in_the_middle_is_begun_again(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """410 on a continue token."""
    for number in range(120):
        api.put("pods", pod(f"p{number}"))
    api.faults.append(Fault("continue=", status=410, body=status_body(410, "Expired", "continue token expired")))

    async def test(running: Running) -> None:
        assert len(running.phases()) == 120
        assert running.reflector.relists == 2

    await reflecting(api, executor, test)


async def test_every_dropped_event_is_made_good(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """Lose each event of a life in turn; after the relist the end is the same."""
    steps: list[Callable[[], object]] = [
        lambda: api.put("pods", pod("a")),
        lambda: api.put("pods", pod("a", "Running")),
        lambda: api.put("pods", pod("b")),
        lambda: api.remove("pods", "n", "b"),
        lambda: api.put("pods", pod("a", "Succeeded")),
    ]

    async def test(running: Running) -> None:
        for lost in range(len(steps)):
            for number, step in enumerate(steps):
                if number == lost:
                    watches, api.watches = api.watches, []
                    step()
                    api.watches = watches
                else:
                    step()
            api.compact()
            api.cut_watches()
            await running.settled()
            assert running.phases() == {"a": "Succeeded"}

    await reflecting(api, executor, test)

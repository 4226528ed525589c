"""List and watch of 5,000 pods: the service's reflector against kubernetes_asyncio's own list and watch.

Both keep a cache of the same pods (kwok's) of one real API server, as an informer does: list, then watch from the
list's version. Each runs ROUNDS times, in turn, in a fresh process. Measured of the list: wall time and CPU
seconds of the process, from the first request to the full cache; of the watch: CPU seconds for CHANGES changes that
the benchmark makes meanwhile (their pace is the API server's, so wall time says nothing), and resident memory. A
cache that does not hold every pod, or misses a change, ends the benchmark.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import bare, testbed
from bench.environments import by_kind, plan, rendered

PODS, CHANGES, ROUNDS, NODES, AT_ONCE = 5_000, 2_000, 3, 40, 48
NAMESPACE, LABEL = "watched", "k8s-execution.maestro/execution-id"
LIST_TARGET, WATCH_TARGET = 10.0, 10.0


def pod(template: dict[str, Any], index: int) -> dict[str, Any]:
    """One of the watched pods: that of a step, as the service makes it; three in an environment."""
    execution_id = f"{index // 3:026}"
    labels = {**template["metadata"]["labels"], LABEL: execution_id}
    spec = {**template["spec"], "nodeName": f"fake-{index % NODES:04}", "serviceAccountName": "default"}
    spec["containers"] = [
        {**c, "envFrom": [], "env": [e for e in c.get("env", []) if "valueFrom" not in e]} for c in spec["containers"]
    ]
    metadata = {"name": f"pod-{index:05}", "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


async def in_turns(work: Callable[[int], Awaitable[object]], count: int) -> None:
    """Run `work` for 0..count-1, AT_ONCE at a time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def make_pods(api: bare.Api, template: dict[str, Any]) -> None:
    """All pods, until every one runs."""
    await api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    await in_turns(lambda n: api.create(pod(template, n)), PODS)
    path = bare.path_of("Pod", NAMESPACE) + "?limit=1&fieldSelector=status.phase!=Running"
    async with asyncio.timeout(900):
        while (await api.json("GET", path))["items"]:  # noqa: ASYNC110 - a poll of the API server
            await asyncio.sleep(0.5)


async def change_pods(api: bare.Api, mark: str) -> None:
    """CHANGES patches of different pods."""
    body = {"metadata": {"annotations": {"bench/mark": mark}}}

    async def change(number: int) -> None:
        path = bare.path_of("Pod", NAMESPACE, f"pod-{number:05}")
        await api.text("PATCH", path, body, Content_Type="application/merge-patch+json")

    await in_turns(change, CHANGES)


class Follower:
    """What a measured process tells: when its cache is full, when it has seen all changes."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self.began = time.monotonic()
        self.used = self._cpu()
        self.memory = self._memory()
        self.full = False
        self.changes = 0
        self.seen_all = asyncio.Event()

    @staticmethod
    def _cpu() -> float:
        return time.process_time()

    @staticmethod
    def _memory() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def listed(self, count: int) -> None:
        """The cache is full."""
        wall, used = time.monotonic() - self.began, self._cpu() - self.used
        self.full = True
        self._tell(wall=wall, cpu=used, pods=count, megabytes=self._memory() - self.memory)
        self.used = self._cpu()

    def changed(self) -> None:
        """An object came; after the list it is a change."""
        self.changes += self.full
        if self.changes == CHANGES and not self.seen_all.is_set():
            self._tell(cpu=self._cpu() - self.used, peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
            self.seen_all.set()

    def _tell(self, **figures: float) -> None:
        print(json.dumps(figures), flush=True)


async def ours(kubeconfig: Path) -> None:
    """The service's reflector."""
    from k8s_execution.kube import parse
    from k8s_execution.kube.client import Client
    from k8s_execution.kube.kubeconfig import load_kubeconfig
    from k8s_execution.kube.limits import KubeLimits
    from k8s_execution.kube.reflector import ReflectedKind, Reflector
    from k8s_execution.kube.transport import open_transport
    from k8s_execution.runtime import garbage
    from k8s_execution.runtime.clock import SystemClock

    clock, limits, config = SystemClock(), KubeLimits(), load_kubeconfig(kubeconfig, None)
    garbage.own()  # as `serve` does
    garbage.settle()
    with ThreadPoolExecutor(1) as executor:
        async with open_transport(config, limits, clock, executor) as transport:
            follower = Follower()

            def counted(raw: parse.Raw) -> Any:
                follower.changed()
                return parse.pod(raw)

            kind = ReflectedKind("Pod", counted)
            reflector = Reflector(kind, Client(transport, limits, clock), limits, clock, lambda _: None)
            running = asyncio.create_task(reflector.run())
            await reflector.listed.wait()
            follower.listed(len(reflector.cache))
            await follower.seen_all.wait()
            running.cancel()
            await asyncio.wait({running})


async def theirs(kubeconfig: Path) -> None:
    """kubernetes_asyncio: list, and watch from its version, into a dictionary."""
    from kubernetes_asyncio import client, config, watch

    await config.load_kube_config(str(kubeconfig))
    async with client.ApiClient() as api_client:
        api = client.CoreV1Api(api_client)
        follower = Follower()
        found = await api.list_pod_for_all_namespaces(label_selector=LABEL)
        cache = {(p.metadata.namespace, p.metadata.name): p for p in found.items}
        follower.listed(len(cache))
        version = found.metadata.resource_version
        async with watch.Watch() as events:
            # Without timeout_seconds it opens a watch again that the server ended (it ends those of slow readers).
            stream = events.stream(api.list_pod_for_all_namespaces, label_selector=LABEL, resource_version=version)
            async for event in stream:
                cache[event["object"].metadata.namespace, event["object"].metadata.name] = event["object"]
                follower.changed()


async def one_round(api: bare.Api, kubeconfig: Path, who: str, mark: str) -> tuple[dict[str, float], dict[str, float]]:
    """What a fresh process says of its list and of its watch."""
    command = [sys.executable, "-m", "bench.watch", who, str(kubeconfig)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(900):
            listed: dict[str, float] = json.loads(await process.stdout.readline())
            if listed["pods"] != PODS:
                raise SystemExit(f"{who} saw {listed['pods']} of {PODS} pods")
            await asyncio.sleep(0.5)  # until its watch is open; a change before it would come all the same
            await change_pods(api, mark)
            watched: dict[str, float] = json.loads(await process.stdout.readline())
        return listed, watched
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def bytes_only(api: bare.Api) -> float:
    """Seconds of the same list as one answer of which nothing is decoded: what the API server takes by itself."""
    began = time.monotonic()
    await api.drain(f"{bare.path_of('Pod')}?labelSelector={LABEL}")
    return time.monotonic() - began


async def measure(bed: testbed.Bed, floor: list[float]) -> dict[str, list[tuple[dict[str, float], dict[str, float]]]]:
    """All rounds, in turn; `floor` gets the seconds of `bytes_only`."""
    found: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = {"ours": [], "theirs": []}
    template = by_kind(rendered(plan(1), bed.folder), "Job")[0]["spec"]["template"]
    async with bare.connect(bed.layout.kubeconfig) as api:
        testbed.say(f"making {PODS} pods")
        await make_pods(api, template)
        size = len(await api.text("GET", bare.path_of("Pod", NAMESPACE, "pod-00000")))
        testbed.say(f"a pod has {size} bytes")
        for number in range(ROUNDS):
            floor.append(await bytes_only(api))
            for who, rounds in found.items():
                rounds.append(await one_round(api, bed.layout.kubeconfig, who, f"{who}-{number}"))
                testbed.say(f"round {number + 1}, {who}: {rounds[-1]}")
    return found


def ratio(found: dict[str, list[tuple[dict[str, float], dict[str, float]]]], part: int, figure: str) -> float:
    """The median of theirs/ours, round by round."""
    pairs = zip(found["theirs"], found["ours"], strict=True)
    return statistics.median(theirs[part][figure] / ours[part][figure] for theirs, ours in pairs)


def main() -> int:
    """Measure and print; 0 if the targets are met."""
    if len(sys.argv) == 3:
        asyncio.run({"ours": ours, "theirs": theirs}[sys.argv[1]](Path(sys.argv[2])))
        return 0
    with testbed.cluster(nodes=NODES, fast=True) as bed:
        before = testbed.conditions(bed)
        floor: list[float] = []
        found = asyncio.run(measure(bed, floor))
        after = testbed.conditions(bed)
    figures = {
        f"{who}_{name}": testbed.spread([r[part][figure] for r in rounds])
        for who, rounds in found.items()
        for name, part, figure in (
            ("list_seconds", 0, "wall"), ("list_cpu_seconds", 0, "cpu"), ("list_megabytes", 0, "megabytes"),
            ("watch_cpu_seconds", 1, "cpu"), ("peak_megabytes", 1, "peak"),
        )
    }  # fmt: skip
    figures["bytes_only_seconds"] = testbed.spread(floor)
    targets = [
        testbed.at_least("list of 5,000 pods, wall time, theirs/ours", ratio(found, 0, "wall"), LIST_TARGET),
        testbed.at_least("list of 5,000 pods, CPU, theirs/ours", ratio(found, 0, "cpu"), LIST_TARGET),
        testbed.at_least(f"watch of {CHANGES} changes, CPU, theirs/ours", ratio(found, 1, "cpu"), WATCH_TARGET),
    ]
    return testbed.report([before, after], figures, targets)


if __name__ == "__main__":
    sys.exit(main())

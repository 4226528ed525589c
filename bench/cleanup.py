"""How soon an environment's pods are gone: Cleanup against `kubectl delete namespace`, on the real node.

The pods ignore SIGTERM, as many a shell script that is process 1 does. In turn: a held environment of the service, from
the Cleanup call; the same Deployments in a namespace that kubectl deletes; and the same again with Kubernetes' default
grace of 30 s instead of the short one that the service writes into every pod. A pod is gone when a watch tells so:
only then its share of the node is free. The namespace takes 5 s at least, whoever asks. Nothing may be left.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench import bare, testbed
from bench.environments import Client, Json, Objects, by_kind, namespace_of, namespaces, plan
from bench.oracle import Oracle
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2, execution_service_pb2

APPLICATIONS, ROUNDS = 2, 3
OVER_KUBECTL, OVER_DEFAULT_GRACE = 2.5, 5.0
GONE_SECONDS = 180.0
DEAF = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]
Times = dict[str, list[float]]
Asking = Callable[[], Awaitable[object]]


class Watched:
    """Sees pods and namespaces go."""

    def __init__(self, api: bare.Api) -> None:
        """Start `follow` as a task."""
        self._api = api
        self._there: dict[str, set[tuple[str, str]]] = {"Pod": set(), "Namespace": set()}
        self._changed = asyncio.Condition()

    async def follow(self, kind: str) -> None:
        """Keep what is there of a kind."""
        async for event, found in self._api.watch(bare.path_of(kind), "resourceVersion=0"):
            name = found["metadata"]["name"]
            key = (found["metadata"].get("namespace", name), name)
            if event == "DELETED":
                self._there[kind].discard(key)
            elif event in {"ADDED", "MODIFIED"}:
                self._there[kind].add(key)
            async with self._changed:
                self._changed.notify_all()

    async def gone(self, kind: str, namespace: str) -> float:
        """When the last of a namespace is gone (monotonic)."""
        async with asyncio.timeout(GONE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: not any(n == namespace for n, _ in self._there[kind]))
        return time.monotonic()

    def count(self, namespace: str) -> int:
        """How many pods a namespace has."""
        return sum(n == namespace for n, _ in self._there["Pod"])


async def timed(watched: Watched, namespace: str, ask: Asking) -> tuple[float, float]:
    """Seconds from the request until all pods are gone, and until the namespace is."""
    if watched.count(namespace) < APPLICATIONS:
        raise SystemExit(f"{namespace} has {watched.count(namespace)} pods only")
    began = time.monotonic()
    asking = asyncio.ensure_future(ask())
    pods = await watched.gone("Pod", namespace)
    whole = await watched.gone("Namespace", namespace)
    await asking
    return pods - began, whole - began


async def by_service(client: Client, watched: Watched, document: Json) -> tuple[float, float]:
    """A held environment, cleaned up."""
    execution_id = await client.execute(document)
    await client.reach(execution_id, execution_pb2.CLEANING)
    await asyncio.sleep(3)  # until the suite's pod has ended too
    request = execution_service_pb2.CleanupRequest(execution_id=execution_id)
    found = await timed(watched, f"quality-fabric-{execution_id}", lambda: client.stub.Cleanup(request))
    await client.reach(execution_id, execution_pb2.DONE)
    return found


async def by_kubectl(bed: testbed.Bed, oracle: Oracle, watched: Watched, objects: list[Json]) -> tuple[float, float]:
    """The same objects, deleted with their namespace."""
    await oracle.creates(objects)
    await asyncio.sleep(3)
    name = namespace_of(objects)
    return await timed(
        watched, name, lambda: asyncio.to_thread(bed.kubectl, "delete", "namespace", name, "--wait=false")
    )


def with_default_grace(objects: list[Json]) -> list[Json]:
    """The pods get what Kubernetes gives where a spec says nothing."""
    for deployment in by_kind(objects, "Deployment"):
        del deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    return objects


async def measure(bed: testbed.Bed, service: testbed.Service) -> tuple[Times, Times]:
    """Times until pods, and until namespaces are gone."""
    document = plan(APPLICATIONS, command=DEAF, suite={"command": ["true"]})
    objects = Objects.of(document, bed.folder)
    pods: Times = {}
    whole: Times = {}
    async with bare.connect(bed.layout.kubeconfig) as api, Client.connect(service.address) as client:
        watched = Watched(api)
        following = [asyncio.create_task(watched.follow(kind)) for kind in ("Pod", "Namespace")]
        async with Oracle(api).watching() as oracle:
            ways: dict[str, Callable[[], Awaitable[tuple[float, float]]]] = {
                "service": lambda: by_service(client, watched, document),
                "kubectl": lambda: by_kubectl(bed, oracle, watched, objects.make()),
                "default_grace": lambda: by_kubectl(bed, oracle, watched, with_default_grace(objects.make())),
            }
            for name, way in list(ways.items()) * ROUNDS:
                seconds = await way()
                testbed.say(f"{name}: pods {seconds[0]:.2f} s, namespace {seconds[1]:.2f} s")
                pods.setdefault(name, []).append(seconds[0])
                whole.setdefault(name, []).append(seconds[1])
        for task in following:
            task.cancel()
        await asyncio.wait(following)
        if left := await namespaces(api):
            raise SystemExit(f"left behind: {left}")
    return pods, whole


def main() -> int:
    """Measure and print; 0 if the targets are met."""
    with testbed.cluster() as bed, testbed.service(bed) as service:
        before = testbed.conditions(bed)
        pods, whole = asyncio.run(measure(bed, service))
        after = testbed.conditions(bed)
    ours = statistics.median(pods["service"])
    figures: dict[str, Any] = {
        "pods_gone_seconds": {name: testbed.spread(values, 2) for name, values in pods.items()},
        "namespace_gone_seconds": {name: testbed.spread(values, 2) for name, values in whole.items()},
    }
    targets = [
        testbed.at_least("pods gone, kubectl/service", statistics.median(pods["kubectl"]) / ours, OVER_KUBECTL),
        testbed.at_least(
            "pods gone, kubectl with default grace/service",
            statistics.median(pods["default_grace"]) / ours,
            OVER_DEFAULT_GRACE,
        ),
    ]
    return testbed.report([before, after], figures, targets)


if __name__ == "__main__":
    sys.exit(main())

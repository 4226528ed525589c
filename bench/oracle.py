"""The oracle of the benchmarks: what the same environments cost in bare asyncio.

`creates` are the creates of an environment and nothing else. `everything` are all requests that the service makes until
the suite is to run: the log of each application is followed too, and the suite's Job is created once the environment is
ready. What is ready is heard by the four watches that the service has. Nothing is recorded, checked or survived.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from bench import bare
from bench.environments import READY_SECONDS, Json, by_kind, is_available, namespace_of

_OURS = "resourceVersion=0&labelSelector=bench.k8s-execution.invalid/execution-id"
"""What the benchmarks make themselves; the service's own objects cost these watches nothing."""


class Oracle:
    """Makes environments with bare requests."""

    def __init__(self, api: bare.Api) -> None:
        """Start with `watching`."""
        self._api = api
        self._ready: set[tuple[str, str]] = set()
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._followed: set[str] = set()
        self._following_in: set[str] = set()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Oracle]:
        """The watches, until the block ends."""
        for work in (self._deployments(), self._pods(), self._watch("Namespace"), self._watch("Job")):
            self._begin(work)
        try:
            yield self
        finally:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def creates(self, objects: list[Json]) -> float:
        """Seconds from the first request until all Deployments are available; no request but the creates."""
        began = time.monotonic()
        late = by_kind(objects, "Service", "Deployment")
        for wave in (by_kind(objects, "Namespace"), _foundation(objects), late):
            await asyncio.gather(*(self._api.create(body) for body in wave))
        wanted = {(namespace_of(objects), d["metadata"]["name"]) for d in by_kind(objects, "Deployment")}
        async with asyncio.timeout(READY_SECONDS), self._changed:
            await self._changed.wait_for(lambda: wanted <= self._ready)
        return time.monotonic() - began

    async def everything(self, objects: list[Json]) -> float:
        """The same with all requests of the service; its suite's Job comes after the time was taken."""
        self._following_in.add(namespace_of(objects))
        seconds = await self.creates(objects)
        for job in by_kind(objects, "Job"):
            await self._api.create(job)
        return seconds

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deployments(self) -> None:
        async for kind, found in self._api.watch(bare.path_of("Deployment"), _OURS):
            if kind in {"ADDED", "MODIFIED"} and is_available(found):
                self._ready.add((found["metadata"]["namespace"], found["metadata"]["name"]))
                async with self._changed:
                    self._changed.notify_all()

    async def _watch(self, kind: str) -> None:
        async for _ in self._api.watch(bare.path_of(kind), _OURS):
            pass

    async def _pods(self) -> None:
        async for kind, pod in self._api.watch(bare.path_of("Pod"), _OURS):
            metadata, running = pod["metadata"], pod.get("status", {}).get("phase") == "Running"
            wanted = metadata["namespace"] in self._following_in and metadata["uid"] not in self._followed
            if kind == "MODIFIED" and running and wanted:
                self._followed.add(metadata["uid"])
                self._begin(self._log(metadata["namespace"], metadata["name"], pod["spec"]["containers"][0]["name"]))

    async def _log(self, namespace: str, pod: str, container: str) -> None:
        """Follow until the environment goes."""
        path = f"{bare.path_of('Pod', namespace, pod)}/log?follow=true&timestamps=true&container={container}"
        with contextlib.suppress(bare.RequestRefused):
            await self._api.drain(path)


def _foundation(objects: list[Json]) -> list[Json]:
    return [o for o in objects if o["kind"] not in {"Namespace", "Service", "Deployment", "Job"}]

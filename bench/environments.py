"""The environments that the benchmarks make, in three ways: by the service, by the bare client, by kubectl.

All three make the same objects: the service's own, as `k8s-execution render` prints them; the two others under names
and labels that the service does not know. An environment is ready when all Deployments have their replicas ready: the
service says so by leaving PROVISIONING. Its suite asks for more than any node has, so that its pod, which no other
contender makes, runs nowhere. Held environments (cleanup HOLD) stay until they are removed.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import yaml
from google.protobuf import json_format

from bench import bare, testbed
from bench.startup import COMMAND
from k8s_execution_client._gen.maestro.k8s.execution.v1 import (
    execution_pb2,
    execution_service_pb2,
    execution_service_pb2_grpc,
)

Json = dict[str, Any]
READY_SECONDS, GONE_SECONDS = 180.0, 300.0
_EXPECTED = ("", "UNSCHEDULABLE", "POD_LOST", "CANCELLED_BY_USER")
_NUMBERS = itertools.count(1)
_RENDERED_ID = "0" * 26
_RENDERED_NAMESPACE = f"quality-fabric-{_RENDERED_ID}"


def plan(applications: int, *, command: list[str] | None = None, suite: Json | None = None, **policy: str) -> Json:
    """A plan with Deployments and Services, a Secret, a ConfigMap, and one suite that never starts (or the given)."""
    small = {"cpu": "10m", "memory": "16Mi", "cpu_limit": "1", "memory_limit": "64Mi"}
    application = {"image": "busybox:1", "command": command or ["sleep", "3600"], "resources": small}
    never: Json = {"resources": {**small, "cpu": "1000", "cpu_limit": "1000"}, "command": ["true"]}
    return {
        "name": "bench",
        "environment": {
            "secrets": {"TOKEN": {"value": "of no worth"}},
            "files": [{"path": "/etc/bench/config.yaml", "content": "answer: 42\n"}],
            "applications": [
                {**application, "name": f"app-{n}", "ports": [{"name": "http", "port": 8080}]}
                for n in range(applications)
            ],
        },
        "test_plan": {
            "source": {"image": {}},
            "suites": [{"name": "suite", "type": "CUSTOM", "image": "busybox:1", **(suite or never)}],
        },
        "policy": {"cleanup": "HOLD", "hold_for": "50m", "timeout": "50m", **policy},
    }


class Objects:
    """The objects of a plan, under a new name each time."""

    def __init__(self, text: str, kinds: tuple[str, ...]) -> None:
        """`text` is a JSON list of objects; `kinds` those that belong to a ready environment."""
        self._text = text
        self._kinds = kinds

    @staticmethod
    def of(document: Json, folder: Path) -> Objects:
        """What the service would create."""
        found = rendered(document, folder)
        text = json.dumps(found).replace("k8s-execution.maestro/", "bench.k8s-execution.invalid/")
        return Objects(text, tuple(o["kind"] for o in found if o["kind"] != "Job"))

    def __len__(self) -> int:
        """How many objects a ready environment has, its namespace included."""
        return len(self._kinds)

    def make(self) -> list[Json]:
        """The objects of one more environment, and the Job of its suite, which comes when it is ready."""
        number = next(_NUMBERS)
        text = self._text.replace(_RENDERED_NAMESPACE, f"bench-{number}").replace(_RENDERED_ID, f"{number:026}")
        found: list[Json] = json.loads(text)
        return found


def rendered(document: Json, folder: Path) -> list[Json]:
    """What the service would create of a plan."""
    path = folder / "plan.json"
    path.write_text(json.dumps(document))
    done = subprocess.run([str(COMMAND), "render", str(path)], check=True, capture_output=True, text=True)
    return list(yaml.safe_load_all(done.stdout))


def by_kind(objects: list[Json], *kinds: str) -> list[Json]:
    """Those of some kinds."""
    return [o for o in objects if o["kind"] in kinds]


def namespace_of(objects: list[Json]) -> str:
    """The environment's name."""
    return str(by_kind(objects, "Namespace")[0]["metadata"]["name"])


def is_available(deployment: Json) -> bool:
    """Whether all replicas are ready and the status speaks of the present spec."""
    status = deployment.get("status", {})
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return bool(seen and status.get("readyReplicas", 0) >= deployment["spec"]["replicas"])


async def kubectl_provision(bed: testbed.Bed, objects: list[Json]) -> float:
    """Seconds of `kubectl apply` and `kubectl wait` of the same objects."""
    path = bed.folder / f"{namespace_of(objects)}.json"
    items = [o for o in objects if o["kind"] != "Job"]
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    wait = ("wait", "--for=condition=Available", "deployment", "--all", f"--timeout={READY_SECONDS:.0f}s")
    began = time.monotonic()
    for words in (("apply", "-f", str(path)), (*wait, "-n", namespace_of(objects))):
        process = await asyncio.create_subprocess_exec(
            *bed.kubectl_command(*words), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
        if process.returncode:
            raise SystemExit(f"kubectl {words[0]}: {errors.decode()}")
    return time.monotonic() - began


class Client:
    """A gRPC client of the service with one Watch of all executions."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Start with `connect`."""
        self.stub: Any = execution_service_pb2_grpc.ExecutionServiceStub(channel)
        self.phases: dict[str, int] = {}
        self._changed = asyncio.Condition()

    @staticmethod
    @asynccontextmanager
    async def connect(address: str) -> AsyncIterator[Client]:
        """Connected and watching, until the block ends."""
        async with grpc.aio.insecure_channel(address) as channel:
            client = Client(channel)
            task = asyncio.create_task(client._follow())
            try:
                yield client
            finally:
                task.cancel()
                await asyncio.wait({task})

    async def _follow(self) -> None:
        async for answer in self.stub.Watch(execution_service_pb2.WatchRequest()):
            execution = answer.event.execution
            self.phases[answer.event.execution_id] = execution.phase
            if execution.phase > execution_pb2.TESTING and execution.diagnosis.code not in _EXPECTED:
                testbed.say(f"{execution.id}: {execution.diagnosis.code} {execution.diagnosis.message}")
            async with self._changed:
                self._changed.notify_all()

    async def execute(self, document: Json) -> str:
        """Accepted; its id."""
        request = json_format.ParseDict(document, execution_service_pb2.ExecuteRequest())
        return str((await self.stub.Execute(request)).execution.id)

    async def reach(self, execution_id: str, *phases: int) -> None:
        """Until the execution is in one of these phases."""
        async with asyncio.timeout(READY_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.phases.get(execution_id) in phases)

    async def provision(self, document: Json) -> float:
        """Seconds from Execute until the event that it left PROVISIONING for its tests came."""
        began = time.monotonic()
        execution_id = await self.execute(document)
        await self.reach(execution_id, execution_pb2.SETUP, execution_pb2.TESTING)
        return time.monotonic() - began

    async def remove_all(self) -> None:
        """Clean every environment up, and wait until all are DONE."""
        open_ones = [key for key, phase in self.phases.items() if phase != execution_pb2.DONE]
        for key in open_ones:
            await self.stub.Cleanup(execution_service_pb2.CleanupRequest(execution_id=key))
        async with asyncio.timeout(GONE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: all(self.phases[key] == execution_pb2.DONE for key in open_ones))


async def namespaces(api: bare.Api) -> list[str]:
    """The environments that are there, whoever made them."""
    found = await api.json("GET", bare.path_of("Namespace"))
    names = [item["metadata"]["name"] for item in found["items"]]
    return [name for name in names if name.startswith(("bench-", "quality-fabric-"))]


async def remove_bare(api: bare.Api) -> None:
    """Delete the environments that are not the service's, and wait until none is left."""
    async with asyncio.timeout(GONE_SECONDS):
        while left := [n for n in await namespaces(api) if n.startswith("bench-")]:
            await asyncio.gather(*(_delete(api, name) for name in left))
            await asyncio.sleep(1)


async def _delete(api: bare.Api, namespace: str) -> None:
    """Ask for it; fine if it is gone or going."""
    try:
        await api.text("DELETE", bare.path_of("Namespace", name=namespace))
    except bare.RequestRefused as refused:
        if refused.status not in {404, 409}:
            raise

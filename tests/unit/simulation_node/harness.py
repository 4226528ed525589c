"""A node against an API server in one process and event loop, with helpers that wait on conditions.

The API server is the simulated one without controllers: a test binds pods to the node itself. Everything else is real:
HTTP, namespaces where the machine has them, processes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from k8s_simulation.api.registry import Registry
from k8s_simulation.api.server import ApiServer, Tokens
from k8s_simulation.api.storage import Storage
from k8s_simulation.faults import FaultBook
from k8s_simulation.node import __main__ as program
from k8s_simulation.node import isolated
from k8s_simulation.node.access import Access
from k8s_simulation.node.agent import Agent, machine_capacity
from k8s_simulation.node.callers import SharedToken
from k8s_simulation.node.events import EventRecorder
from k8s_simulation.node.images import Catalogue
from k8s_simulation.node.kube import ApiError, KubeClient
from k8s_simulation.node.memory import MemoryWatch
from k8s_simulation.node.network import HostNetwork, PodNetwork
from k8s_simulation.node.node import Node, Times
from k8s_simulation.node.relay import Relay
from k8s_simulation.node.sandbox import Sandbox
from k8s_simulation.node.server import KubeletServer
from k8s_simulation.node.services import ServiceTable
from k8s_simulation.node.unisolated import Unisolated

Object = dict[str, Any]
QUICK = Times(back_off=0.2, back_off_limit=1.0, back_off_word=0.05, retry=0.1)
NODE = "test-node"
TOKEN = "client-token"


@dataclass
class Cluster:
    """The API and the node, and what tests do with them."""

    client: KubeClient
    node: Node
    base: str
    faults: FaultBook
    agent_task: asyncio.Task[None]
    namespaces: set[str] = field(default_factory=set)

    async def namespace(self, name: str) -> None:
        """Make a namespace with its default service account."""
        await self.client.create("/api/v1/namespaces", {"metadata": {"name": name}})
        account = {"metadata": {"name": "default", "namespace": name}}
        await self.client.create(f"/api/v1/namespaces/{name}/serviceaccounts", account)

    async def pod(self, name: str, *containers: Object, namespace: str = "default", **spec: Any) -> Object:
        """Create a pod bound to the node."""
        metadata = {"name": name, "labels": spec.pop("labels", {})}
        full = {"nodeName": NODE, "containers": list(containers), "terminationGracePeriodSeconds": 1, **spec}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": full}
        return await self.client.create(f"/api/v1/namespaces/{namespace}/pods", body)

    async def get(self, name: str, namespace: str = "default") -> Object:
        """The pod as the API has it."""
        return await self.client.get(f"/api/v1/namespaces/{namespace}/pods/{name}")

    async def until(
        self, name: str, condition: Callable[[Object], Any], namespace: str = "default", seconds: float = 60.0
    ) -> Object:
        """Wait until the pod fulfils a condition; the pod."""
        deadline = time.monotonic() + seconds
        while True:
            pod = await self.get(name, namespace)
            try:
                if condition(pod):
                    return pod
            except (KeyError, IndexError):
                pass  # the status does not yet have what the condition looks at
            if time.monotonic() > deadline:
                raise AssertionError(f"not in {seconds} s; the status is {pod.get('status')}")
            await asyncio.sleep(0.01)

    async def phase(self, name: str, phase: str, namespace: str = "default", seconds: float = 60.0) -> Object:
        """Wait for a phase."""
        return await self.until(name, lambda p: p["status"].get("phase") == phase, namespace, seconds)

    async def ready(self, name: str, namespace: str = "default") -> Object:
        """Wait for the Ready condition."""
        return await self.until(name, lambda p: condition(p, "Ready") == "True", namespace)

    async def gone(self, name: str, namespace: str = "default", seconds: float = 60.0) -> None:
        """Wait until the API has no such pod."""

        async def absent() -> bool:
            try:
                await self.get(name, namespace)
            except ApiError as error:
                return error.status == 404
            return False

        await eventually(absent, seconds)

    async def delete(self, name: str, namespace: str = "default", **options: Any) -> None:
        """Ask for a pod's deletion."""
        await self.client._request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}", body=options)

    async def logged(self, name: str, text: str) -> None:
        """Wait until the pod's log has a text."""

        async def has() -> bool:
            return text in await self.log(name)

        await eventually(has)

    async def log(self, name: str, namespace: str = "default", **query: Any) -> str:
        """The pod's log through the API server."""
        status, text = await self.raw_log(name, namespace, **query)
        assert status == 200, text
        return text

    async def raw_log(self, name: str, namespace: str = "default", **query: Any) -> tuple[int, str]:
        """Status and body of a log request."""
        url = f"{self.base}/api/v1/namespaces/{namespace}/pods/{name}/log"
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
            params = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in query.items()}
            async with session.get(url, params=params) as response:
                return response.status, await response.text()

    async def events(self, name: str, namespace: str = "default") -> list[Object]:
        """The events about a pod, oldest first."""
        listed = await self.client.get(f"/api/v1/namespaces/{namespace}/events")
        found = [e for e in listed["items"] if e["involvedObject"]["name"] == name]
        return sorted(found, key=lambda e: (e["firstTimestamp"], e["metadata"]["name"]))

    async def until_event(self, name: str, reason: str, namespace: str = "default") -> Object:
        """Wait for an event with a reason."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for event in await self.events(name, namespace):
                if event["reason"] == reason:
                    return event
            await asyncio.sleep(0.02)
        raise AssertionError(
            f"no event {reason}; there are {[e['reason'] for e in await self.events(name, namespace)]}"
        )


async def eventually(check: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait until `check` (plain or async) is true."""
    async with asyncio.timeout(seconds):
        while True:
            found = check()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.01)


def condition(pod: Object, kind: str) -> str:
    """The status of a condition, or an empty text."""
    return next((c["status"] for c in pod["status"].get("conditions") or [] if c["type"] == kind), "")


def state(pod: Object, container: str = "", key: str = "state") -> Object:
    """The state of a container (the first by default): {"waiting": …}, {"running": …} or {"terminated": …}."""
    status = pod["status"]
    every = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    if not container:
        every = status.get("containerStatuses") or []
    found: Object = next((c[key] for c in every if not container or c["name"] == container), {})
    return found


def shell(script: str, name: str = "main", image: str = "busybox", **more: Any) -> Object:
    """A container that runs a shell script."""
    return {"name": name, "image": image, "command": ["sh", "-c", script], **more}


async def isolated_sandbox(stack: AsyncExitStack) -> tuple[Sandbox, PodNetwork]:
    """The namespaces sandbox, or a skip that says what the machine lacks."""
    network = PodNetwork()
    if reason := await isolated.unavailable(network):
        pytest.skip(f"pods cannot be isolated here: {reason} (install bubblewrap and iproute2, allow user namespaces)")
    stack.push_async_callback(network.close)
    return isolated.Isolated(network), network


@asynccontextmanager
async def running(folder: Path, *, isolation: bool = True, **catalogue: Any) -> AsyncIterator[Cluster]:
    """An API server and a node on it."""
    async with AsyncExitStack() as stack:
        faults = FaultBook()
        registry = Registry(Storage(), time.time)
        server = ApiServer(registry, Tokens((TOKEN,), "kubelet-token"), faults)
        await server.start("127.0.0.1", 0, None)
        stack.push_async_callback(server.stop)
        base = f"http://127.0.0.1:{server.port}"
        sandbox: Sandbox
        network: PodNetwork | HostNetwork
        if isolation:
            sandbox, network = await isolated_sandbox(stack)
        else:
            plain = Unisolated()
            plain.start()
            stack.callback(plain.close)
            sandbox, network = plain, HostNetwork()
        client = await stack.enter_async_context(KubeClient(Access(base, token=TOKEN)))
        cluster = await _assemble(stack, folder, client, sandbox, network, catalogue)
        yield Cluster(client, cluster[0], base, faults, cluster[1])


async def _assemble(
    stack: AsyncExitStack,
    folder: Path,
    client: KubeClient,
    sandbox: Sandbox,
    network: PodNetwork | HostNetwork,
    options: dict[str, Any],
) -> tuple[Node, asyncio.Task[None]]:
    cache = options.get("cache") or folder / "cache"
    catalogue = Catalogue(options.get("images") or {}, options.get("agent"), cache)
    table = ServiceTable()
    capacity = machine_capacity(110)
    index_url = await program.start_pod_services(stack, network, table, Relay(catalogue.host_python, cache))
    node = Node(
        name=NODE,
        address="127.0.0.1",
        data=folder / "data",
        client=client,
        events=EventRecorder(client, NODE),
        catalogue=catalogue,
        sandbox=sandbox,
        network=network,
        services=table,
        memory=MemoryWatch(),
        allocatable=capacity,
        index_url=index_url,
        times=QUICK,
    )
    node.pods_folder.mkdir(parents=True)
    for name in ("default", "kube-node-lease"):
        await client.create("/api/v1/namespaces", {"metadata": {"name": name}})
        await client.create(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})
    kubelet = KubeletServer(node, SharedToken("kubelet-token"))
    await kubelet.start()
    stack.push_async_callback(kubelet.close)
    agent = Agent(node, kubelet.port, capacity)
    kubelet.serve(agent)
    task = asyncio.create_task(agent.run())

    async def registered() -> bool:
        return bool((await client.get("/api/v1/nodes"))["items"])

    await eventually(registered)

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(end)
    return node, task

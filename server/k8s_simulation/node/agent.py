"""The node's main loop: registers, renews its lease, watches its pods, Services and EndpointSlices, and runs workers.

A worker contains its own faults; a watch, proxy or sampler that ends unexpectedly ends the process, since a node that
only looks alive is worse than none. Must not know how pods run.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from k8s_simulation.faults import BadFault, parse
from k8s_simulation.node.kube import MERGE, ApiError, ApiUnreachable
from k8s_simulation.node.network import HostNetwork
from k8s_simulation.node.node import Node
from k8s_simulation.node.pods import PodWorker
from k8s_simulation.node.runtime import micro_timestamp, timestamp
from k8s_simulation.node.services import ServiceProxy

Object = dict[str, Any]
VERSION = "v1.34.0-simulated"
ISOLATION = "simulation/isolation"
"""The annotation by which a node of this program is known: `namespaces` or `none`."""
_LEASE_SECONDS = 40
_RENEW = 10.0
_FAULTS = "/simulation/faults"

log = logging.getLogger(__name__)


def machine_capacity(pods: int, cpu: str = "", memory: str = "") -> dict[str, str]:
    """What the node offers to the scheduler: the machine's CPUs and memory unless given."""
    if not memory:
        kib = int(Path("/proc/meminfo").read_text().split()[1])
        memory = f"{kib}Ki"
    return {
        "cpu": cpu or str(os.cpu_count() or 1),
        "memory": memory,
        "pods": str(pods),
        "ephemeral-storage": f"{os.statvfs('/').f_blocks * os.statvfs('/').f_frsize // 1024}Ki",
    }


class CannotJoin(Exception):
    """The cluster refuses this node, or has one of its name that is none of ours; the message says which."""


class Agent:
    """Runs the node until cancelled. Raises CannotJoin. `port` is where the kubelet server listens."""

    def __init__(self, node: Node, port: int, capacity: Mapping[str, str]) -> None:
        self._node, self._port, self._capacity = node, port, dict(capacity)
        self._workers: dict[str, PodWorker] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of a pod; of several with one name the newest."""
        found = [w for w in self._workers.values() if w.pod.name == name and w.pod.namespace == namespace]
        return found[-1] if found else None

    async def run(self) -> None:
        """Register and work until cancelled; all pods are ended before it returns."""
        node = self._node
        await self._register()
        selector = {"fieldSelector": f"spec.nodeName={node.name}"}
        table = node.services
        slices = "/apis/discovery.k8s.io/v1/endpointslices"
        async with asyncio.TaskGroup() as workers:
            self._tasks = workers
            try:
                async with asyncio.TaskGroup() as loops:
                    follow = node.client.follow
                    loops.create_task(follow("/api/v1/pods", selector, self._listed, self._changed))
                    loops.create_task(
                        follow(
                            "/api/v1/services",
                            {},
                            lambda items: table.replace(table.services, items),
                            lambda event, item: table.change(table.services, event, item),
                        )
                    )
                    loops.create_task(
                        follow(
                            slices,
                            {},
                            lambda items: table.replace(table.slices, items),
                            lambda event, item: table.change(table.slices, event, item),
                        )
                    )
                    loops.create_task(ServiceProxy(table, node.network, self._write_names).run())
                    loops.create_task(node.events.run())
                    loops.create_task(node.memory.run())
                    loops.create_task(self._keep_alive())
                    loops.create_task(self._follow_faults())
            finally:
                # What still runs is killed; the API server sees the node go, not the pods fail.
                for worker in self._workers.values():
                    worker.stop(0.0)

    # -- pods ---------------------------------------------------------------------------------------------------------

    def _listed(self, pods: list[Object]) -> None:
        present = {pod["metadata"]["uid"] for pod in pods}
        for uid, worker in list(self._workers.items()):
            if uid not in present:
                self._gone(worker)
        for pod in pods:
            self._changed("MODIFIED", pod)

    def _changed(self, event: str, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if event == "DELETED":
            if worker is not None:
                self._gone(worker)
            return
        assert self._tasks is not None
        if worker is None:
            worker = self._workers[uid] = PodWorker(self._node, pod, self._tasks)
            self._tasks.create_task(self._run_worker(worker))
            worker.update(pod)
        else:
            worker.update(pod)
            if worker.ended:
                self._tasks.create_task(worker.confirm_late_deletion())

    def _gone(self, worker: PodWorker) -> None:
        """The object is gone: kill what still runs, then forget it."""
        worker.object_gone = True
        if worker.ended:
            self._forget(worker)
        else:
            worker.stop(0.0)

    def _forget(self, worker: PodWorker) -> None:
        assert self._tasks is not None
        if self._workers.pop(worker.pod.uid, None) is not None:
            self._tasks.create_task(worker.remove())

    async def _run_worker(self, worker: PodWorker) -> None:
        try:
            await worker.run()
        except Exception:  # supervised border: a fault in one pod must not end the node; it is logged, the pod failed
            log.exception("pod %s/%s", worker.pod.namespace, worker.pod.name)
            await worker.fail("NodeFault", "The simulated node failed to run the pod; its log says why")
        if worker.object_gone:
            self._forget(worker)

    # -- the node object ----------------------------------------------------------------------------------------------

    async def _register(self) -> None:
        """Create the Node, or take over the one of our name; retried until the API answers. Raises CannotJoin."""
        while True:
            try:
                await self._register_once()
            except (ApiError, ApiUnreachable) as error:
                if isinstance(error, ApiError) and error.status in {401, 403}:
                    raise CannotJoin(f"the cluster refuses this node: {error}") from error
                log.warning("registration: %s", error)
                await asyncio.sleep(0.2)
            else:
                return

    async def _register_once(self) -> None:
        body = self._node_object()
        try:
            await self._node.client.create("/api/v1/nodes", {k: v for k, v in body.items() if k != "status"})
        except ApiError as error:
            if error.status != 409:
                raise
            present = await self._node.client.get(f"/api/v1/nodes/{self._node.name}")
            if ISOLATION not in (present["metadata"].get("annotations") or {}):
                raise CannotJoin(f"the cluster has a node {self._node.name} that is no process node") from error
        await self._node.client.patch(f"/api/v1/nodes/{self._node.name}/status", {"status": body["status"]}, MERGE)
        await self._renew()

    def _node_object(self) -> Object:
        node, now = self._node, timestamp(time.time())
        isolation = "namespaces" if node.sandbox.isolated else "none"
        conditions = [
            _condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory", now),
            _condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure", now),
            _condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available", now),
            _condition("Ready", "True", "KubeletReady", "kubelet is posting ready status", now),
        ]
        labels = {
            "kubernetes.io/hostname": node.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": _architecture(),
            **node.labels,
        }
        taints = [{"key": t.key, "value": t.value, "effect": t.effect} for t in node.taints]
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": node.name, "labels": labels, "annotations": {ISOLATION: isolation}},
            "spec": {"taints": taints} if taints else {},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": node.address},
                    {"type": "Hostname", "address": node.name},
                ],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": self._port}},
                "capacity": self._capacity,
                "allocatable": self._capacity,
                "conditions": conditions,
                "nodeInfo": {
                    "architecture": _architecture(),
                    "operatingSystem": "linux",
                    "osImage": f"simulated, isolation: {isolation}",
                    "kernelVersion": platform.release(),
                    "kubeletVersion": VERSION,
                    "kubeProxyVersion": VERSION,
                    "containerRuntimeVersion": "simulated://1.0",
                    "machineID": "",
                    "systemUUID": "",
                    "bootID": "",
                },
            },
        }

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_RENEW)
            try:
                await self._renew()
            except (ApiError, ApiUnreachable) as error:
                log.warning("lease: %s", error)

    async def _renew(self) -> None:
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        spec = {
            "holderIdentity": self._node.name,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": micro_timestamp(time.time()),
        }
        try:
            await self._node.client.patch(f"{leases}/{self._node.name}", {"spec": spec})
        except ApiError as error:
            if error.status != 404:
                raise
            metadata = {"name": self._node.name, "namespace": "kube-node-lease"}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
            await self._node.client.create(leases, body)

    # -- faults and names ---------------------------------------------------------------------------------------------

    async def _follow_faults(self) -> None:
        """Take the scripted faults that concern the node from the API, if it is a simulated one: a long poll."""
        params: dict[str, str] = {}
        while True:
            try:
                found = await self._node.client.get(_FAULTS, params)
                self._node.faults.update(parse(found))
                self._evict()
                params = {"version": str(found.get("version", 0)), "wait": "20"}
            except ApiError as error:
                if error.status in {403, 404}:
                    log.debug("no scripted faults: %s", error)
                    return  # a real API server
                await asyncio.sleep(1.0)
            except BadFault as error:
                log.warning("the scripted faults cannot be read: %s", error)
                await asyncio.sleep(1.0)
            except ApiUnreachable:
                await asyncio.sleep(1.0)  # the watches say loudly enough that the API is away

    def _evict(self) -> None:
        for worker in self._workers.values():
            if message := self._node.faults.eviction(worker.pod.namespace, worker.pod.name):
                worker.evict(message)

    def _write_names(self) -> None:
        """Without a pod network: the names that programs may look up, for the hook in Python images."""
        network = self._node.network
        if not isinstance(network, HostNetwork):
            return
        names = {}
        for namespace, name in self._node.services.services:
            for form in (
                name,
                f"{name}.{namespace}",
                f"{name}.{namespace}.svc",
                f"{name}.{namespace}.svc.cluster.local",
            ):
                names[form] = network.gateway
        partial = self._node.names_file.with_suffix(".new")
        partial.write_text(json.dumps(names))
        partial.replace(self._node.names_file)


def _condition(kind: str, status: str, reason: str, message: str, now: str) -> Object:
    times = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    return {"type": kind, "status": status, "reason": reason, "message": message, **times}


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

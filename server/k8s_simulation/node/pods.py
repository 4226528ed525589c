"""The life of one pod on the node: network, volumes, init containers in order, containers together, the end.

One worker a pod uid. The order of things is kubelet's (pkg/kubelet/kubelet.go SyncPod, kuberuntime_manager.go). The
worker alone writes the pod's status; statuses are whole values made from its facts, so a lost PATCH heals with the
next. It must not know how a container's process is made.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from typing import Any

from k8s_simulation.node.containers import Runner
from k8s_simulation.node.creation import PodRun
from k8s_simulation.node.kube import STRATEGIC, ApiError, ApiUnreachable
from k8s_simulation.node.names import resolv_conf
from k8s_simulation.node.network import NetworkFault, PodNetwork
from k8s_simulation.node.node import Node
from k8s_simulation.node.objects import References
from k8s_simulation.node.runtime import Kind, PodFacts, Record, Running, Terminated, Waiting
from k8s_simulation.node.sandbox import Place
from k8s_simulation.node.status import phase, pod_status
from k8s_simulation.node.volumes import VolumeProblem, make_volumes

Object = dict[str, Any]
_DEADLINE = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")

log = logging.getLogger(__name__)


class PodWorker:
    """Runs one pod. `run` returns when everything of it has ended and the API knows; logs stay until `remove`."""

    def __init__(self, node: Node, pod: Object, tasks: asyncio.TaskGroup) -> None:
        self.node = node
        folder = node.pods_folder / pod["metadata"]["uid"]
        self.pod = PodRun(pod, References(node.client, pod, node.allocatable), folder, tasks)
        self.facts = PodFacts(pod["spec"].get("restartPolicy", "Always"), host_ip=node.address, start_time=time.time())
        self.runners = [Runner(node, self.pod, spec, record, self._mark) for spec, record in self._containers()]
        self.ended = False
        self.object_gone = False  # the API no longer has the pod
        self._dirty = asyncio.Event()
        self._reported: Object = pod.get("status") or {}
        self._report_lock = asyncio.Lock()
        self._stop = asyncio.Event()
        self._grace = 0.0
        self._namespace = -1

    def _containers(self) -> list[tuple[Object, Record]]:
        found = []
        inits = self.pod.spec.get("initContainers") or []
        word = "PodInitializing" if inits else "ContainerCreating"
        for spec in [*inits, *self.pod.spec["containers"]]:
            kind = Kind.MAIN
            if any(spec is init for init in inits):
                kind = Kind.SIDECAR if spec.get("restartPolicy") == "Always" else Kind.INIT
            record = Record(spec["name"], kind, spec["image"], Waiting(word))
            self.facts.records.append(record)
            found.append((spec, record))
        return found

    def runner(self, container: str) -> Runner | None:
        """The runner of a container by name."""
        return next((r for r in self.runners if r.record.name == container), None)

    # -- what the agent tells it ------------------------------------------------------------------------------------

    def update(self, pod: Object) -> None:
        """A newer version of the pod: perhaps its deletion has been asked for, perhaps with a shorter grace."""
        self.pod.object = self.pod.references.pod = pod
        if pod["metadata"].get("deletionTimestamp"):
            grace = pod["metadata"].get("deletionGracePeriodSeconds")
            self.stop(float(30 if grace is None else grace))

    def stop(self, grace: float) -> None:
        """End all containers within `grace` seconds."""
        self._grace = grace
        self.facts.terminating = True
        self._stop.set()

    def evict(self, message: str) -> None:
        """Fail the pod as under node pressure."""
        if not self.ended and self.facts.verdict is None:
            self.facts.verdict = ("Evicted", message)
            self.node.events.warning(self.pod.object, "Evicted", message)
            self._grace = 0.0
            self._stop.set()

    # -- the life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Everything, from the first status to the last."""
        reporter = asyncio.create_task(self._report_changes())
        try:
            if await self._not_runnable():
                return
            await self._live_until_stopped()
        finally:
            reporter.cancel()
            await asyncio.gather(reporter, return_exceptions=True)
            self.ended = True
            await self._release_network()
        await self._report()
        await self._confirm_deletion()

    async def _not_runnable(self) -> bool:
        """A pod that ended, or that an earlier process of this node was running, is not started again."""
        status = self.pod.object.get("status") or {}
        if status.get("phase") in {"Succeeded", "Failed"}:
            await self._confirm_deletion()
            return True
        if any((c.get("state") or {}).get("running") for c in status.get("containerStatuses") or []):
            self.facts.verdict = ("NodeRestart", "The simulated node was restarted while the pod ran")
            self._account_for_rest()
            await self._report()
            await self._confirm_deletion()
            return True
        return False

    async def _live_until_stopped(self) -> None:
        """The containers' life and the reasons to cut it short."""
        life = asyncio.create_task(self._live())
        stop = asyncio.create_task(self._stop.wait())
        deadline = self.pod.spec.get("activeDeadlineSeconds")
        try:
            await asyncio.wait({life, stop}, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
            if not life.done():
                if not self._stop.is_set():
                    self.facts.verdict = _DEADLINE
                    self.node.events.warning(self.pod.object, *_DEADLINE)
                    self._grace = float(self.pod.spec.get("terminationGracePeriodSeconds", 30))
                await self._stop_containers()
        finally:
            for task in (stop, life):
                task.cancel()
            _, outcome = await asyncio.gather(stop, life, return_exceptions=True)
            await self._kill_rest()
            self._account_for_rest()
        if isinstance(outcome, Exception):
            raise outcome

    async def _live(self) -> None:
        self._mark()
        await self._join_network()
        await self._mount_volumes()
        async with asyncio.TaskGroup() as sidecars:
            if await self._initialize(sidecars):
                await self._run_mains()
            await self._stop_sidecars()

    async def _initialize(self, sidecars: asyncio.TaskGroup) -> bool:
        """Init containers one after another, sidecars started between them; whether all succeeded."""
        for runner in self._of(Kind.INIT, Kind.SIDECAR):
            if runner.record.kind is Kind.SIDECAR:
                sidecars.create_task(runner.run())
                await runner.started.wait()
                continue
            await runner.run()
            if not runner.record.succeeded:
                return False
        return True

    async def _run_mains(self) -> None:
        async with asyncio.TaskGroup() as mains:
            for runner in self._of(Kind.MAIN):
                mains.create_task(runner.run())

    def _of(self, *kinds: Kind) -> list[Runner]:
        return [r for r in self.runners if r.record.kind in kinds]

    async def _stop_sidecars(self) -> None:
        """In reverse order, after the main containers (KEP-753)."""
        for runner in reversed(self._of(Kind.SIDECAR)):
            await runner.stop(float(self.pod.spec.get("terminationGracePeriodSeconds", 30)))

    async def _stop_containers(self) -> None:
        """Main and init containers together, then sidecars, all within the grace; it may be shortened meanwhile."""
        began = asyncio.get_running_loop().time()

        def left() -> float:
            return max(0.0, self._grace - (asyncio.get_running_loop().time() - began))

        stopping = asyncio.create_task(self._stop_in_order(left))
        try:
            while not stopping.done():
                await asyncio.wait({stopping}, timeout=min(left(), 1.0) + 0.05)
                if left() == 0.0 and not stopping.done():
                    await self._kill_rest()
        finally:
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)

    async def _stop_in_order(self, left: Any) -> None:
        await asyncio.gather(*(runner.stop(left()) for runner in self._of(Kind.INIT, Kind.MAIN)))
        for runner in reversed(self._of(Kind.SIDECAR)):
            await runner.stop(left())

    async def _kill_rest(self) -> None:
        await asyncio.gather(*(runner.stop(0.0) for runner in self.runners))

    def _account_for_rest(self) -> None:
        """Containers that never started, or wait to start again, get an end too when the pod has one."""
        if self.facts.verdict is None and not self.facts.terminating:
            return
        for record in self.facts.records:
            if isinstance(record.state, Waiting) and record.last is not None:
                record.state = record.last
            elif isinstance(record.state, (Waiting, Running)):
                text = "The container could not be located when the pod was terminated"
                record.state = Terminated(137, "ContainerStatusUnknown", 0.0, time.time(), text)

    # -- network and volumes ------------------------------------------------------------------------------------------

    async def _join_network(self) -> None:
        network, address = self.node.network, self.node.address
        hostname = str(self.pod.spec.get("hostname") or self.pod.name)[:63].rstrip("-.")
        while isinstance(network, PodNetwork):
            try:
                address, self._namespace = await network.add_pod()
                break
            except NetworkFault as fault:
                self.node.events.warning(
                    self.pod.object, "FailedCreatePodSandBox", f"Failed to create pod sandbox: {fault}"
                )
                await asyncio.sleep(self.node.times.retry)
        self.pod.place = Place(address, hostname, self._namespace)
        self.facts.pod_ip, self.facts.network_ready = address, True
        status = {**(self.pod.object.get("status") or {}), "podIP": address, "hostIP": self.node.address}
        self.pod.object = self.pod.references.pod = {**self.pod.object, "status": status}
        await asyncio.to_thread(self._write_etc, address, hostname)

    def _write_etc(self, address: str, hostname: str) -> None:
        """The files a kubelet manages in every container (pkg/kubelet/kubelet_pods.go managedHostsFileContent)."""
        etc = self.pod.folder / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        subdomain = self.pod.spec.get("subdomain")
        full = f"{hostname}.{subdomain}.{self.pod.namespace}.svc.cluster.local\t" if subdomain else ""
        lines = [
            "# Kubernetes-managed hosts file.",
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
        ]
        lines.append(f"{address}\t{full}{hostname}")
        aliases = self.pod.spec.get("hostAliases") or []
        lines += ["\t".join([alias["ip"], *alias.get("hostnames", [])]) for alias in aliases]
        (etc / "hosts").write_text("\n".join(lines) + "\n")
        (etc / "hostname").write_text(hostname + "\n")
        (etc / "resolv.conf").write_text(resolv_conf(self.pod.namespace, self.node.network.gateway))

    async def _mount_volumes(self) -> None:
        while True:
            try:
                folder, claims = self.pod.folder / "volumes", self.node.data / "claims"
                self.pod.volumes = await make_volumes(self.pod.references, folder, claims)
            except (VolumeProblem, ApiError, ApiUnreachable) as problem:
                self.node.events.warning(self.pod.object, "FailedMount", str(problem))
            else:
                return
            await asyncio.sleep(self.node.times.retry)
            self.pod.references.forget()

    async def _release_network(self) -> None:
        if self._namespace >= 0 and isinstance(self.node.network, PodNetwork):
            os.close(self._namespace)
            self._namespace = -1
            try:
                await self.node.network.remove_pod(self.pod.place.address)
            except NetworkFault as fault:
                log.debug("link of %s: %s", self.pod.name, fault)  # gone with its namespace already

    async def remove(self) -> None:
        """The pod is gone from the API: forget its files."""
        self.node.events.forget(self.pod.uid)
        await asyncio.to_thread(shutil.rmtree, self.pod.folder, True)

    # -- reporting ----------------------------------------------------------------------------------------------------

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self.pod.namespace}/pods/{self.pod.name}"

    def _mark(self) -> None:
        self._dirty.set()

    async def _report_changes(self) -> None:
        while True:
            await self._dirty.wait()
            await self._report()

    async def _report(self) -> None:
        """PATCH the status until the API has it or the pod is gone."""
        pause = 0.1
        async with self._report_lock:
            while not await self._reported_now():
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)

    async def _reported_now(self) -> bool:
        """Try once; True when there is nothing left to tell."""
        self._dirty.clear()
        status = pod_status(self.facts, self.pod.object, self._reported, time.time())
        if status == self._reported or self.object_gone:
            return True
        try:
            body = {"metadata": {"uid": self.pod.uid}, "status": status}
            await self.node.client.patch(f"{self._path}/status", body, STRATEGIC)
        except ApiUnreachable as error:
            log.warning("status of %s: %s", self.pod.name, error)
            return False
        except ApiError as error:
            if error.status in {404, 409}:
                return True  # gone, or replaced by another pod of its name
            log.warning("status of %s: %s", self.pod.name, error)
            return error.status == 422  # trying again would not make it valid; the next change may
        self._reported = status
        return True

    @property
    def phase(self) -> str:
        """The pod's phase as the node sees it."""
        return phase(self.facts)

    async def _confirm_deletion(self) -> None:
        """Tell the API that nothing of a pod runs whose deletion was asked for, so that it removes the object."""
        while self.pod.object["metadata"].get("deletionTimestamp"):
            try:
                await self.node.client.delete(self._path, self.pod.uid)
            except ApiError as error:
                if error.status in {404, 409}:
                    return
                log.warning("deletion of %s: %s", self.pod.name, error)
            except ApiUnreachable as error:
                log.warning("deletion of %s: %s", self.pod.name, error)
            else:
                return
            await asyncio.sleep(1.0)

    async def confirm_late_deletion(self) -> None:
        """The same for a pod that ended before its deletion was asked for."""
        await self._confirm_deletion()

    async def fail(self, reason: str, message: str) -> None:
        """Give the pod up because of a fault of the node."""
        self.facts.verdict = (reason, message)
        self._account_for_rest()
        await self._report()
        await self._confirm_deletion()

"""The whole adapter put together: `Cluster` fulfils `ports.cluster.ClusterPort`.

It must not hold logic of its own beyond joining the parts. Reflectors run in the caller's TaskGroup, so that the end
of one ends the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from concurrent.futures import Executor as ThreadExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

from k8s_execution.domain import execution
from k8s_execution.domain.facts import DeploymentFact, EventFact, JobFact, NamespaceFact, Observed, PodFact
from k8s_execution.kube import parse
from k8s_execution.kube.client import Client
from k8s_execution.kube.create import Writer
from k8s_execution.kube.drain import Drain
from k8s_execution.kube.exec import Executor
from k8s_execution.kube.kubeconfig import KubeConfig
from k8s_execution.kube.limits import KubeLimits
from k8s_execution.kube.listing import list_all
from k8s_execution.kube.podlogs import PodLogs
from k8s_execution.kube.reach import at_start
from k8s_execution.kube.reflector import ReflectedKind, Reflector
from k8s_execution.kube.resources import resource
from k8s_execution.kube.transport import open_transport
from k8s_execution.ports.clock import Clock
from k8s_execution.ports.cluster import Body, Created, ExecStream, LogRequest, ObjectRef, Propagation, Unreachable

_DUMPED = ("Pod", "Job", "Deployment")
_SIMULATED_SUFFIX = "-simulated"


class Listeners:
    """Who wants to know which execution changed."""

    def __init__(self) -> None:
        """Start with nobody."""
        self._listeners: list[Callable[[str], None]] = []

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener` from now on; the returned function ends it, and may be called twice."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def notify(self, execution_id: str) -> None:
        """Tell everybody."""
        for listener in tuple(self._listeners):
            listener(execution_id)


class Reflectors:
    """The four kinds that are kept."""

    def __init__(self, client: Client, limits: KubeLimits, clock: Clock, notify: Callable[[str], None]) -> None:
        """Prepare; the caller runs each of `each`."""
        self.namespaces: Reflector[NamespaceFact] = Reflector(
            ReflectedKind("Namespace", parse.namespace), client, limits, clock, notify
        )
        self.pods: Reflector[PodFact] = Reflector(ReflectedKind("Pod", parse.pod), client, limits, clock, notify)
        self.jobs: Reflector[JobFact] = Reflector(ReflectedKind("Job", parse.job), client, limits, clock, notify)
        self.deployments: Reflector[DeploymentFact] = Reflector(
            ReflectedKind("Deployment", parse.deployment), client, limits, clock, notify
        )

    @property
    def each(self) -> tuple[Reflector[Any], ...]:
        """All of them."""
        return (self.namespaces, self.pods, self.jobs, self.deployments)


class Cluster:
    """One cluster; made by `open_cluster`."""

    def __init__(
        self, client: Client, limits: KubeLimits, clock: Clock, identity: execution.Cluster, listeners: Listeners
    ) -> None:
        """Join the parts."""
        self._client = client
        self._limits = limits
        self._identity = identity
        self._listeners = listeners
        self._writer = Writer(client, limits, clock)
        self._drain = Drain(client, self._writer)
        self._executor = Executor(client, limits)
        self._logs = PodLogs(client, limits)
        self.reflectors = Reflectors(client, limits, clock, listeners.notify)

    @property
    def identity(self) -> execution.Cluster:
        """Kind, version and identity of the cluster; read once at start."""
        return self._identity

    @property
    def synced(self) -> bool:
        """Whether every reflector may be believed."""
        return all(r.synced for r in self.reflectors.each)

    async def wait_synced(self) -> None:
        """Wait until every kind was listed once; Unreachable, with the cause, where that takes too long."""
        for reflector in self.reflectors.each:
            try:
                await asyncio.wait_for(reflector.listed.wait(), self._limits.sync_timeout)
            except TimeoutError as error:
                cause = reflector.trouble or "no answer"
                raise Unreachable(f"objects of kind {reflector.kind.kind} cannot be listed: {cause}") from error

    async def create(self, body: Body, execution_id: str) -> Created:
        """See `ports.cluster.ClusterWriter.create`."""
        return await self._writer.create(body, execution_id)

    async def dry_run(self, body: Body) -> None:
        """See `ports.cluster.ClusterWriter.dry_run`."""
        await self._writer.dry_run(body)

    async def delete(
        self, ref: ObjectRef, *, grace_seconds: int | None = None, propagation: Propagation | None = None
    ) -> bool:
        """See `ports.cluster.ClusterWriter.delete`."""
        return await self._writer.delete(ref, grace_seconds=grace_seconds, propagation=propagation)

    async def end_pods(self, namespace: str, grace_seconds: int) -> None:
        """See `ports.cluster.ClusterWriter.end_pods`."""
        await self._drain.end_pods(namespace, grace_seconds)

    async def drain(self, namespace: str, grace_seconds: int) -> None:
        """See `ports.cluster.ClusterWriter.drain`."""
        await self._drain.drain(namespace, grace_seconds)

    def observe(self, execution_id: str) -> Observed:
        """The present facts of one execution."""
        of = self.reflectors
        namespaces = of.namespaces.cache.of(execution_id)
        return Observed(
            synced=self.synced,
            namespace=namespaces[0] if namespaces else None,
            pods=of.pods.cache.of(execution_id),
            jobs=of.jobs.cache.of(execution_id),
            deployments=of.deployments.cache.of(execution_id),
        )

    def namespaces(self) -> Sequence[NamespaceFact]:
        """Every namespace that carries an execution label of any installation."""
        return self.reflectors.namespaces.cache.all()

    async def events(self, namespace: str, involved_uid: str = "") -> Sequence[EventFact]:
        """Events of one object (by uid), or of the whole namespace; oldest first."""
        query = [("fieldSelector", f"involvedObject.uid={involved_uid}")] if involved_uid else []
        facts = [parse.event(raw) for raw in await list_all(self._client, "Event", namespace, query)]
        return sorted(facts, key=lambda fact: fact.last_at)  # stable: within a second as the server lists them

    async def dump(self, namespace: str) -> Sequence[Body]:
        """All pods, jobs and deployments of the namespace as they are; items of a list get their kind back."""
        bodies: list[Body] = []
        for kind in _DUMPED:
            head = {"apiVersion": resource(kind).api_version, "kind": kind}
            bodies.extend({**head, **raw} for raw in await list_all(self._client, kind, namespace))
        return bodies

    async def pods_left(self, namespace: str) -> Sequence[ObjectRef]:
        """The pods that still exist, read from the API server, not from the cache."""
        facts = [parse.pod(raw) for raw in await list_all(self._client, "Pod", namespace)]
        return [ObjectRef("Pod", fact.namespace, fact.name, fact.uid) for fact in facts]

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener(execution_id)` when a fact of it changed; the returned function ends it."""
        return self._listeners.subscribe(listener)

    def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, stdin: bool = False
    ) -> AbstractAsyncContextManager[ExecStream]:
        """See `ports.cluster.Exec.exec`."""
        return self._executor.exec(namespace, pod, container, argv, stdin=stdin)

    def read(self, request: LogRequest) -> AsyncIterable[bytes]:
        """See `ports.cluster.ContainerLogs.read`."""
        return self._logs.read(request)


@asynccontextmanager
async def open_cluster(
    config: KubeConfig,
    tasks: asyncio.TaskGroup,
    *,
    clock: Clock,
    executor: ThreadExecutor,
    limits: KubeLimits | None = None,
    private: bool = False,
) -> AsyncIterator[Cluster]:
    """Connect, read the cluster's identity, and keep its facts in tasks of `tasks` until the context is left.

    `async with asyncio.TaskGroup() as tasks, open_cluster(config, tasks, ...) as cluster:`: leaving the context
    cancels the reflectors, so the group can end; a reflector that ends by itself is a defect and ends the group.
    `private` says that the caller started the cluster itself, so that it ends with the caller.
    Raises KubeConfigError, Refused (no right to read kube-system) or Unreachable.
    """
    limits = limits or KubeLimits()
    async with open_transport(config, limits, clock, executor) as transport:
        client = Client(transport, limits, clock)
        try:
            identity = replace(await read_identity(client), private=private)
        except Unreachable as fault:
            raise at_start(config, fault) from fault
        cluster = Cluster(client, limits, clock, identity, Listeners())
        running = [
            tasks.create_task(reflector.run(), name=f"reflector {reflector.kind.kind}")
            for reflector in cluster.reflectors.each
        ]
        try:
            yield cluster
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)


async def read_identity(client: Client) -> execution.Cluster:
    """What cluster this is: kube-system's uid names it, /version tells whether it is simulated."""
    system = await client.get(resource("Namespace").item("", "kube-system"))
    version = str((await client.get("/version")).get("gitVersion") or "")
    metadata = system.get("metadata")
    uid = str(metadata.get("uid") or "") if isinstance(metadata, dict) else ""
    simulated = version.endswith(_SIMULATED_SUFFIX)
    kind = execution.ClusterKind.SIMULATED if simulated else execution.ClusterKind.KUBERNETES
    return execution.Cluster(kind=kind, version=version, uid=uid)

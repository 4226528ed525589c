"""The composition root: makes every adapter, joins them, owns their tasks, and ends them in a fixed order.

The only module that knows concrete classes of several adapters. `serve` is a process of its own; `embedded` runs the
same service in the caller's event loop, on a Unix socket in a private folder. It must not hold rules.

Drain order: health says NOT_SERVING and streams end → no new work is taken, operations end → follows end → the
cluster's tasks end → the store gives up ownership → the simulated cluster ends last.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from k8s_execution.domain.plan import Policy
from k8s_execution.engine.known import KnownRecords
from k8s_execution.engine.maskers import Maskers
from k8s_execution.engine.operations import Operations
from k8s_execution.engine.ownership import Owner
from k8s_execution.engine.reconcile import Reconciler
from k8s_execution.engine.sweep import Sweeper
from k8s_execution.engine.tools import Tools
from k8s_execution.engine.workqueue import WorkQueue
from k8s_execution.evidence.archive import LocalArchive
from k8s_execution.evidence.keeper import ObjectKeeper
from k8s_execution.evidence.output import OutputFile
from k8s_execution.evidence.pods import PodCollector
from k8s_execution.logs.collector import LogManager
from k8s_execution.logs.cursor import SignedCursors
from k8s_execution.logs.hub import Hub
from k8s_execution.logs.reader import JournalReader
from k8s_execution.logs.segments import JournalStore
from k8s_execution.manifests.check import Checker
from k8s_execution.manifests.render import Manifests
from k8s_execution.manifests.templates import load, templates_folder
from k8s_execution.ports.cluster import ClusterPort
from k8s_execution.ports.manifests import InstallationSettings
from k8s_execution.runtime import garbage, process, scratch
from k8s_execution.runtime.agent_program import agent_program
from k8s_execution.runtime.clock import SystemClock
from k8s_execution.runtime.sealing import KeySealer, installation_key
from k8s_execution.runtime.threads import Threads
from k8s_execution.settings import Settings
from k8s_execution.store.sqlite import SqlStore
from k8s_execution.transports.grpc_server import GrpcServer
from k8s_execution.usecases import Limits, Parts, UseCases

log = logging.getLogger(__name__)

THREADS = 4
DRAIN_SECONDS = 5.0
TIDY_SECONDS = 3600.0
BUNDLES_KEPT_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Ready:
    """Where a running service answers; written to the ready file as JSON."""

    grpc: str
    http: str | None
    kubeconfig: str | None
    pid: int


OnReady = Callable[[Ready], None]


@dataclass(frozen=True, slots=True)
class Core:
    """The adapters that need no cluster."""

    store: SqlStore
    archive: LocalArchive
    sealer: KeySealer
    journals: JournalStore
    manifests: Manifests
    executor: ThreadPoolExecutor
    clock: SystemClock
    installation: str


async def serve(settings: Settings, *, ready: OnReady | None = None) -> None:
    """Run the service until SIGTERM or SIGINT; a broken part ends it with that part's exception."""
    stop = asyncio.Event()
    garbage.own()

    def answers(where: Ready) -> None:
        garbage.settle()
        process.share_fairly()
        if settings.ready_file is not None:
            write_ready_file(settings.ready_file, where)
        if ready is not None:
            ready(where)

    with process.ended_by_signals(stop):
        await run(settings, answers, stop)


@asynccontextmanager
async def embedded(settings: Settings) -> AsyncIterator[Ready]:
    """The service in this event loop, on a Unix socket that only this user may reach; gives where it answers."""
    with scratch.scratch() as folder:
        stop = asyncio.Event()
        answers: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        chosen = replace(settings, grpc_address=f"unix:{folder}/grpc")
        task = asyncio.create_task(run(chosen, answers.set_result, stop), name="embedded service")
        try:
            waited: set[asyncio.Future[Any]] = {task, answers}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            yield answers.result() if answers.done() else await _failed(task)
        finally:
            stop.set()
            await task


async def run(settings: Settings, ready: OnReady, stop: asyncio.Event) -> None:
    """Start everything, say where it answers, and end in the drain order when `stop` is set."""
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        kubeconfig = await _kubeconfig(settings, stack)
        core = await _core(settings, stack)
        if settings.history_only or (kubeconfig is None and not settings.in_cluster):
            await _answer(settings, core, None, None, lambda g: ready(_ready(g, None)), stop)
            return
        await _with_cluster(settings, core, kubeconfig, ready, stop)


async def _with_cluster(
    settings: Settings, core: Core, kubeconfig: Path | None, ready: OnReady, stop: asyncio.Event
) -> None:
    """The whole service: on the cluster of the kubeconfig, or on the one that this process's own pod is in."""
    from k8s_execution.kube.cluster import open_cluster
    from k8s_execution.kube.incluster import in_cluster
    from k8s_execution.kube.kubeconfig import load_kubeconfig

    if kubeconfig is not None:
        config = load_kubeconfig(kubeconfig, settings.context)
    else:
        config = in_cluster(settings.api_host, settings.api_port, settings.account_folder)
    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as stack:
        stack.callback(_ended, "reflectors")
        cluster = await stack.enter_async_context(
            open_cluster(config, tasks, clock=core.clock, executor=core.executor, private=settings.simulate)
        )
        stack.callback(_ended, "follows of logs")
        logs = await stack.enter_async_context(
            LogManager(cluster, core.journals, cap=settings.log_limit_bytes, fill=OutputFile(cluster).read)
        )
        await cluster.wait_synced()
        sweeper = Sweeper(core.store, cluster, core.clock, core.installation)
        workers = _start_engine(settings, core, cluster, logs, sweeper, tasks)
        try:
            await _answer(settings, core, cluster, sweeper, lambda g: ready(_ready(g, kubeconfig)), stop)
        finally:
            await workers()
            _ended("loops and operations")


def _start_engine(
    settings: Settings, core: Core, cluster: ClusterPort, logs: LogManager, sweeper: Sweeper, tasks: asyncio.TaskGroup
) -> Callable[[], Awaitable[None]]:
    """Start the loops; the returned function ends them, then the operations, and returns when all have ended."""
    queue = WorkQueue(core.clock)
    records = KnownRecords(core.store, core.clock)
    operations = Operations(tasks, core.clock, queue.add, records.forget)
    maskers = Maskers(core.store, core.sealer)
    collector = PodCollector(cluster, core.archive, core.executor, maskers.of)
    keeper, threads, most = ObjectKeeper(core.archive), Threads(core.executor), settings.max_held_environments
    tools = Tools(core.store, cluster, core.manifests, collector, keeper, logs, maskers, threads, most)
    owner = Owner(core.store, core.clock, cluster.identity.uid, queue.add)
    loops = [
        tasks.create_task(Reconciler(tools, queue, operations, records).run(), name="reconcile"),
        tasks.create_task(owner.adopt_for_ever(), name="adoption"),
        tasks.create_task(owner.admit_for_ever(settings.max_environments), name="admission"),
        tasks.create_task(sweeper.sweep_for_ever(), name="sweep"),
        tasks.create_task(_tidy_for_ever(core), name="tidy"),
        tasks.create_task(core.store.supervise(), name="store supervision"),
    ]

    async def end() -> None:
        for task in loops:
            task.cancel()
        await asyncio.wait(loops)
        await operations.close()

    return end


async def _answer(
    settings: Settings,
    core: Core,
    cluster: ClusterPort | None,
    sweeper: Sweeper | None,
    ready: Callable[[str], None],
    stop: asyncio.Event,
) -> None:
    """Serve gRPC until `stop` is set, then drain."""
    cursors = SignedCursors(core.sealer)
    reader = JournalReader(core.journals)
    parts = Parts(
        store=core.store,
        archive=core.archive,
        logs=reader,
        cursors=cursors,
        sealer=core.sealer,
        checker=Checker(),
        manifests=core.manifests,
        threads=Threads(core.executor),
        cluster=cluster,
        sweeper=sweeper,
        dry_run=cluster,
    )
    limits = Limits(
        namespace_prefix=settings.namespace_prefix,
        queue=settings.queue_limit,
        most_held=settings.max_held_environments,
        dry_run_namespace=settings.dry_run_namespace,
    )
    use_cases = UseCases(parts, limits)
    defaults = Policy(timeout_ms=settings.timeout_minutes * 60_000, ttl_ms=settings.ttl_minutes * 60_000)
    server = GrpcServer(use_cases, settings.grpc_address, executor=core.executor, defaults=defaults)
    address = await server.start()
    try:
        ready(address)
        await stop.wait()
    finally:
        await server.drain(DRAIN_SECONDS)
        _ended("calls and streams")


async def _core(settings: Settings, stack: AsyncExitStack) -> Core:
    executor = ThreadPoolExecutor(THREADS, thread_name_prefix="k8s-execution")
    stack.callback(executor.shutdown)
    stack.callback(_ended, "the store, and with it what we own")
    store = await stack.enter_async_context(SqlStore.open(settings.data, executor))
    sealer = KeySealer(installation_key(settings.data, settings.installation_key))
    installation = settings.installation or sealer.sign("installation", b"").hex()
    manifest_settings = InstallationSettings(
        installation=installation,
        agent_image=settings.agent_image,
        dns_cidrs=settings.dns_cidrs,
        dns_ports=settings.dns_ports,
        extra_egress=settings.egress,
        extra_env=settings.package_index,
        environment_role=settings.environment_role,
        service_account=settings.service_account,
    )
    folders = [templates_folder(None), *([settings.templates] if settings.templates else [])]
    return Core(
        store=store,
        archive=LocalArchive(settings.data / "archive", executor, bundle_limit=settings.bundle_limit_bytes),
        sealer=sealer,
        journals=JournalStore(settings.data / "logs", executor, Hub()),
        manifests=Manifests(manifest_settings, load(folders)),
        executor=executor,
        clock=SystemClock(),
        installation=installation,
    )


def _ended(part: str) -> None:
    """A step of the drain order is done; said, so that a slow end shows where it is."""
    log.info("ended: %s", part)


async def _tidy_for_ever(core: Core) -> None:
    """Remove what killed processes left, and uploaded bundles that no execution asked for in a long time."""
    while True:
        await Threads(core.executor).run(scratch.sweep)
        try:
            await core.archive.delete_bundles_unused_since(time.time() - BUNDLES_KEPT_SECONDS)
        except OSError as error:
            log.warning("old bundles cannot be removed: %s", error)
        await core.clock.sleep(TIDY_SECONDS)


async def _kubeconfig(settings: Settings, stack: AsyncExitStack) -> Path | None:
    """The kubeconfig to use: of a simulated cluster started here, the given one, or none (history, or in a pod)."""
    if settings.history_only:
        return None
    if not settings.simulate:
        return settings.kubeconfig
    from k8s_simulation.cluster import ClusterOptions, SimulatedCluster

    folder = stack.enter_context(scratch.scratch())
    stack.callback(_ended, "the simulated cluster")
    options = ClusterOptions(
        folder,
        images=settings.images,
        agent=await agent_program(settings.agent),
        faults=settings.faults,
        allow_unisolated=settings.allow_unisolated,
    )
    return (await stack.enter_async_context(SimulatedCluster(options))).kubeconfig


def _ready(address: str, kubeconfig: Path | None) -> Ready:
    return Ready(address, None, str(kubeconfig) if kubeconfig else None, os.getpid())


def write_ready_file(path: Path, ready: Ready) -> None:
    """Write the ready file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(asdict(ready)) + "\n")
    temporary.replace(path)


async def _failed(task: asyncio.Task[None]) -> Ready:
    """The service ended before it answered: raise why."""
    await task
    raise RuntimeError("the service ended before it answered")

"""`serve` and `simulate`: the service, or only a simulated cluster, in the foreground until SIGTERM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from k8s_execution_client.cli.border import ServiceBroken, UsageFault, perform, say
from k8s_execution_client.cli.connection import Where, check_data, reason_of, settings_of
from k8s_execution_client.cli.options import Images, Unisolated

if TYPE_CHECKING:
    from k8s_execution.app import Ready
    from k8s_execution.settings import Settings
    from k8s_execution_client.cli.follow import Interrupts
    from k8s_simulation.cluster import SimulatedCluster

commands = typer.Typer()

Faults = Annotated[Path | None, typer.Option("--faults", metavar="FILE", help="Simulated cluster: scripted faults.")]


@commands.command("serve")
def serve(
    simulated: Annotated[bool, typer.Option("--simulate", help="On a simulated cluster of its own.")] = False,
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", metavar="FILE", help="On the current context of this file.")
    ] = None,
    context: Annotated[str | None, typer.Option("--context", metavar="NAME", help="On this context.")] = None,
    grpc_address: Annotated[
        str | None,
        typer.Option("--grpc-address", metavar="HOST:PORT", help="Default 127.0.0.1:50051; port 0 picks one."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Default: below the XDG data home.")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option("--ready-file", metavar="FILE", help="JSON with the address, once it answers.")
    ] = None,
    image: Images = None,
    allow_unisolated: Unisolated = False,
    faults: Faults = None,
    print_settings: Annotated[
        bool, typer.Option("--print-settings", help="Print all settings, secrets hidden, and end.")
    ] = False,
) -> None:
    """Run the service in the foreground until SIGTERM or Ctrl-C."""

    async def command() -> None:
        on_cluster = kubeconfig is not None or context is not None
        if simulated and on_cluster:
            raise UsageFault("--simulate makes a cluster, --kubeconfig and --context name one: give one of them")
        if faults is not None and not simulated:
            raise UsageFault("--faults is for a simulated cluster only")
        where = Where(None, context, kubeconfig, data, tuple(image or ()), allow_unisolated)
        settings = settings_of(
            where, simulate=simulated, grpc_address=grpc_address, ready_file=ready_file, faults=faults
        )
        if print_settings:
            for name, value in settings.shown():
                print(f"{name}={value}")
            return
        if not simulated and not on_cluster and not settings.in_cluster:
            raise UsageFault(
                "say which cluster: --simulate, --kubeconfig FILE, --context NAME (KUBECONFIG alone names none), "
                "or in a pod K8S_IN_CLUSTER=true"
            )
        await _serve(settings)

    perform(command)


async def _serve(settings: Settings) -> None:
    import logging

    from k8s_execution import app

    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    answered = False

    def ready(answers: Ready) -> None:
        nonlocal answered
        answered = True
        place = f"of {answers.kubeconfig}" if answers.kubeconfig else "that this pod is in"
        cluster = "a SIMULATED cluster" if settings.simulate else "the cluster"
        say(f"gRPC on {answers.grpc}, {cluster} {place}; data in {settings.data}")

    check_data(settings.data)
    if settings.ready_file is not None:
        _check_folder(settings.ready_file)
        settings.ready_file.unlink(missing_ok=True)  # one of an earlier process would say that this one answers
    try:
        await app.serve(settings, ready=ready)
    except Exception as error:  # before the service answers, whatever ends it is told to the user in one sentence
        if answered:
            raise
        raise ServiceBroken(f"the service could not start: {reason_of(error)}") from error


@commands.command("simulate")
def simulate(
    port: Annotated[int, typer.Option("--port", metavar="N", help="Of the API server on 127.0.0.1; 0 picks one.")] = 0,
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", metavar="FILE", help="Where to write the kubeconfig (0600).")
    ] = None,
    image: Images = None,
    allow_unisolated: Unisolated = False,
    faults: Faults = None,
) -> None:
    """Run only a simulated cluster, for kubectl and `serve`. It ends with this process."""

    async def command() -> None:
        if kubeconfig is not None:
            _check_folder(kubeconfig)
        settings = settings_of(Where(images=tuple(image or ()), allow_unisolated=allow_unisolated), faults=faults)
        from k8s_execution.runtime.scratch import scratch

        with scratch() as folder:
            await _simulate(settings, folder, port, kubeconfig)

    perform(command)


def _check_folder(file: Path) -> None:
    """Refuse before anything is started what could not be written once it answers."""
    import os

    if not os.access(file.parent, os.W_OK | os.X_OK) or file.is_dir():
        raise UsageFault(f"cannot write {file}: it must be a file in a folder that exists and is writable")


async def _simulate(settings: Settings, folder: Path, port: int, kubeconfig: Path | None) -> None:
    from k8s_execution.runtime.agent_program import AgentMissing, agent_program
    from k8s_execution_client.cli.follow import Interrupts
    from k8s_simulation.cluster import ClusterFault, ClusterOptions, SimulatedCluster

    interrupts = Interrupts()
    with interrupts.installed():
        try:
            options = ClusterOptions(
                folder,
                port,
                settings.images,
                agent=await agent_program(settings.agent),
                faults=settings.faults,
                allow_unisolated=settings.allow_unisolated,
            )
            async with SimulatedCluster(options) as cluster:
                path = publish(cluster.kubeconfig, kubeconfig)
                say(f"a simulated cluster answers at {cluster.server}; kubectl --kubeconfig {path} get pods -A")
                print(path, flush=True)
                await _until_stopped(cluster, interrupts)
        except (AgentMissing, ClusterFault) as fault:
            raise ServiceBroken(str(fault)) from fault


async def _until_stopped(cluster: SimulatedCluster, interrupts: Interrupts) -> None:
    """Return at a signal. Raises ServiceBroken when the cluster ends before."""
    import asyncio

    ended = asyncio.create_task(cluster.wait(), name="cluster")
    stop = asyncio.create_task(interrupts.next(), name="stop")
    try:
        await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise ServiceBroken(f"the simulated cluster ended by itself with exit code {ended.result()}")
    finally:
        for task in (ended, stop):
            task.cancel()
        await asyncio.gather(ended, stop, return_exceptions=True)


def publish(source: Path, target: Path | None) -> Path:
    """Copy the kubeconfig to `target`, readable by this user only, whole or not at all; where it is now."""
    import os

    if target is None:
        return source
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as output:
            output.write(source.read_bytes())
        partial.replace(target)
    except OSError as error:
        raise UsageFault(f"cannot write {target}: {error.strerror}") from error
    return target.absolute()

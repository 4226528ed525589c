"""`cancel`, `cleanup`, `sweep` and `health`: commands that act on the service or its cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from k8s_execution_client.cli.border import perform, say
from k8s_execution_client.cli.connection import Where, acting, where_of
from k8s_execution_client.cli.options import Context, Data, Identity, Kubeconfig, Output, Server
from k8s_execution_client.exit_codes import ExitCode

if TYPE_CHECKING:
    from k8s_execution_client._gen.maestro.k8s.execution.v1.results_pb2 import Orphan

commands = typer.Typer()

DEFAULT_SERVER = "127.0.0.1:50051"


@commands.command("cancel")
def cancel(
    identity: Identity,
    server: Server = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    data: Data = None,
) -> None:
    """End an execution; its evidence is kept. Its environment is deleted; answers when the wish is stored."""
    _end(identity, where_of(server, context, kubeconfig, data), "cancel", wait=False)


@commands.command("cleanup")
def cleanup(
    identity: Identity,
    server: Server = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    data: Data = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until the environment is gone.")] = False,
) -> None:
    """Delete an environment, also one that is held. Ends the execution if it runs; safe to repeat."""
    _end(identity, where_of(server, context, kubeconfig, data), "cleanup", wait=wait)


def _end(identity: str, where: Where, command_name: str, *, wait: bool) -> None:
    async def command() -> None:
        from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Phase
        from k8s_execution_client.cli.find import find

        async with acting(where, command_name) as client:
            # An embedded service ends with this process, and it is what deletes: so it is waited for.
            execution = await client.cleanup(await find(client, identity), wait=wait or not where.server)
        print(f"{execution.id} {Phase.Name(execution.phase)}")

    perform(command)


@commands.command("sweep")
def sweep(
    server: Server = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    data: Data = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it nothing is changed.")] = False,
    output: Output = "text",
) -> None:
    """Show environments that no execution accounts for. With --yes those that may be are deleted."""

    async def command() -> None:
        from k8s_execution_client.cli.output import as_data, check_format, write_data

        check_format(output, ("text", "wide", "json", "yaml", "name"))
        async with acting(where_of(server, context, kubeconfig, data), "sweep") as client:
            found = await client.sweep(dry_run=not yes)
        if output in {"json", "yaml"}:
            write_data({"dry_run": not yes, "orphans": [as_data(o) for o in found]}, output)
            return
        _print_orphans(found, output)
        if found and not yes:
            say("nothing was changed; --yes deletes those marked so")

    perform(command)


def _print_orphans(found: Sequence[Orphan], chosen: str) -> None:
    from k8s_execution_client._gen.maestro.k8s.execution.v1.results_pb2 import Orphan
    from k8s_execution_client.cli.output import write_table
    from k8s_execution_client.terminal import safe

    if chosen == "name":
        print("".join(f"{safe(o.namespace)}\n" for o in found), end="")
        return
    if not found:
        say("no orphans")
        return
    header = [
        "NAMESPACE",
        "AGE",
        "REASON",
        "ACTION",
        "BLOCKED BY",
        *(["INSTALLATION", "UID"] if chosen == "wide" else []),
    ]
    rows = [
        [
            safe(o.namespace),
            f"{o.age:.0f}s",
            Orphan.Reason.Name(o.reason).lower(),
            Orphan.Action.Name(o.action).lower(),
            safe("; ".join(o.blockers)) or "-",
            safe(o.installation) or "-",
            safe(o.uid),
        ]
        for o in found
    ]
    write_table(header, [row[: len(header)] for row in rows])


@commands.command("health")
def health(server: Server = None) -> None:
    """Ask a service whether it serves. By gRPC health, once; exit code 0 or 6."""

    async def command() -> int:
        from k8s_execution_client.client import ExecutionClient

        target = where_of(server).server or DEFAULT_SERVER
        async with ExecutionClient(target, patience=0.0) as client:
            serving = await client.healthy()
        print(f"{target} {'SERVING' if serving else 'NOT_SERVING'}")
        return ExitCode.PASSED if serving else ExitCode.SERVICE

    perform(command)

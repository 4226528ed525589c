"""`run FILE`: upload, execute, follow, report; the whole of the product in one command."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from k8s_execution_client.cli.border import UsageFault, perform, say
from k8s_execution_client.cli.connection import Connection, running, where_of
from k8s_execution_client.cli.options import (
    Context,
    Data,
    Images,
    Kubeconfig,
    Parameters,
    PlanFile,
    Server,
    Sets,
    Unisolated,
)
from k8s_execution_client.exit_codes import ExitCode, of_verdict
from k8s_execution_client.faults import ServiceFault

if TYPE_CHECKING:
    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Execution
    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_service_pb2 import (
        GetResultsResponse,
    )
    from k8s_execution_client.plan import Plan

commands = typer.Typer()


@dataclass(frozen=True, slots=True)
class Wishes:
    """What `run` shall do beside running."""

    output: str
    junit: Path | None
    artifacts: Path | None
    fail_on_flaky: bool
    key: str


@commands.command("run")
def run(
    file: PlanFile,
    server: Server = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    data: Data = None,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FORMAT", help="text or json, on stdout.")] = "text",
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write one JUnit file.")] = None,
    artifacts: Annotated[
        Path | None, typer.Option("--artifacts", metavar="DIR", help="Download all kept files here.")
    ] = None,
    param: Parameters = None,
    set_: Sets = None,
    image: Images = None,
    allow_unisolated: Unisolated = False,
    fail_on_flaky: Annotated[bool, typer.Option("--fail-on-flaky", help="A flaky pass is a failure.")] = False,
    idempotency_key: Annotated[
        str, typer.Option("--idempotency-key", metavar="KEY", help="Same key, same plan: the same execution.")
    ] = "",
) -> None:
    """Run a plan: upload, execute, follow phases and logs, report. Without a cluster it runs on a simulated one."""

    async def command() -> int:
        from k8s_execution_client.cli.output import check_format
        from k8s_execution_client.plan import load_plan

        check_format(output, ("text", "json"))
        where = where_of(server, context, kubeconfig, data, (tuple(image or ()), allow_unisolated))
        plan = load_plan(file, parameters=param or (), sets=set_ or (), environment=os.environ)
        wishes = Wishes(output, junit, artifacts, fail_on_flaky, idempotency_key)
        _check_destinations(wishes)
        async with running(where, say) as connection:
            return await _run(connection, plan, wishes)

    perform(command)


def _check_destinations(wishes: Wishes) -> None:
    """Refuse before the run what could not be written after it."""
    for folder in (wishes.artifacts, wishes.junit and wishes.junit.parent):
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageFault(f"cannot write below {folder}: {error.strerror}") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UsageFault(f"cannot write below {folder}: it is not writable")


async def _run(connection: Connection, plan: Plan, wishes: Wishes) -> int:
    from k8s_execution_client.cli.follow import Interrupts, follow
    from k8s_execution_client.send import prepared

    client = connection.client
    request, packed = await prepared(plan, client)
    if packed is not None:
        say(f"sent {packed.files} files of {plan.local_folder}, {packed.size} bytes packed")
    request.idempotency_key = wishes.key
    interrupts = Interrupts()
    with interrupts.installed():
        execution = await client.execute(request)
        say(f"execution {execution.id}")
        try:
            stayed = await follow(client, execution.id, _end_of(connection), interrupts)
        except ServiceFault:
            say(_how_to_find(connection, execution.id))
            raise
        if not stayed:
            say(_how_to_find(connection, execution.id))
            return ExitCode.INTERRUPTED
        execution = await client.status(execution.id)
    results = await client.results(execution.id)
    _print(execution, results, connection, wishes)
    await _save(connection, execution, results, wishes)
    flaky = execution.tests.flaky
    return of_verdict(_name(execution), flaky, fail_on_flaky=wishes.fail_on_flaky)


def _end_of(connection: Connection) -> Callable[[Execution], bool]:
    """When to stop following: when all is gone, or when the environment is held.

    An embedded service ends with this process, so it stays until the environment is gone.
    """
    from k8s_execution_client.cli.follow import is_over

    told = False

    def ended(execution: Execution) -> bool:
        nonlocal told
        if is_over(execution) or not execution.HasField("held_until"):
            return is_over(execution)
        if not told:
            told = True
            until = execution.held_until.ToDatetime(UTC).strftime("%H:%M:%S UTC")
            say(f"the environment is kept until {until}, in namespace {execution.namespace}; Ctrl-C cleans it up")
        return not connection.embedded

    return ended


def _print(execution: Execution, results: GetResultsResponse, connection: Connection, wishes: Wishes) -> None:
    from k8s_execution_client.cli.output import as_data, write_data
    from k8s_execution_client.cli.report import report

    lines = [*report(execution, results)]
    if execution.tests.failed or execution.tests.errors:
        lines.append(f"  what failed, in full: {_again(connection, execution.id, 'results')}")
    lines.append(f"  read it again: {_again(connection, execution.id, 'logs')}")
    for line in lines:
        if wishes.output == "json":
            say(line)
        else:
            print(line)
    if wishes.output == "json":
        write_data(as_data(execution), "json")


async def _save(connection: Connection, execution: Execution, results: GetResultsResponse, wishes: Wishes) -> None:
    from k8s_execution_client.fetch import fetch
    from k8s_execution_client.junit import write_junit

    try:
        if wishes.junit is not None:
            write_junit(wishes.junit, execution.name, results)
            say(f"wrote {wishes.junit}")
        if wishes.artifacts is not None:
            for artifact in results.artifacts:
                await fetch(connection.client, execution.id, artifact.path, wishes.artifacts)
            say(f"wrote {len(results.artifacts)} files below {wishes.artifacts}")
    except OSError as error:
        raise UsageFault(f"cannot write {error.filename}: {error.strerror}") from error


def _how_to_find(connection: Connection, execution_id: str) -> str:
    if connection.on_simulation:
        end = "its simulated cluster ends with this process"
        return f"left; {end}; what was kept: {_again(connection, execution_id, 'logs')}"
    return (
        f"left running; find it with `{_again(connection, execution_id, 'status')}`, "
        f"end it with `{_again(connection, execution_id, 'cleanup')}`"
    )


def _again(connection: Connection, execution_id: str, command: str) -> str:
    return " ".join(["k8s-execution", command, execution_id, *connection.options(command)])


def _name(execution: Execution) -> str:
    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Verdict

    return str(Verdict.Name(execution.verdict))

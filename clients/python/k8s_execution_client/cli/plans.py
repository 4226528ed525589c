"""`validate`, `render`, `init` and `schema`: plans before they run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from k8s_execution_client.cli.border import ServerMissing, ServiceBroken, UsageFault, perform, say
from k8s_execution_client.cli.connection import Where, reading, where_of
from k8s_execution_client.cli.options import Context, Data, Kubeconfig, Parameters, PlanFile, Server, Sets
from k8s_execution_client.exit_codes import ExitCode
from k8s_execution_client.faults import ClientFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_service_pb2 import ValidateResponse
    from k8s_execution_client._gen.maestro.k8s.execution.v1.results_pb2 import Problem
    from k8s_execution_client.plan import PlanMisfit

commands = typer.Typer()
FORM = "request.form"
"""The rule that what is written fits no field of the contract."""


@commands.command("validate")
def validate(
    file: PlanFile,
    server: Server = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    data: Data = None,
    param: Parameters = None,
    set_: Sets = None,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FORMAT", help="text, json or yaml.")] = "text",
) -> None:
    """Say everything that is wrong with a plan; creates nothing. Exit code 0 or 2."""

    async def command() -> int:
        from k8s_execution_client.cli.output import as_data, check_format, write_data
        from k8s_execution_client.plan import PlanMisfit

        check_format(output, ("text", "json", "yaml"))
        try:
            answer = await _validated(file, where_of(server, context, kubeconfig, data), param or [], set_ or [])
        except PlanMisfit as misfit:
            answer = await _both(misfit, where_of(server, context, kubeconfig, data))
        if output == "text":
            _print_answer(file, answer)
        else:
            write_data(as_data(answer), output)
        return ExitCode.PASSED if answer.valid else ExitCode.USAGE

    perform(command)


@commands.command("render")
def render(
    file: PlanFile,
    server: Server = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    data: Data = None,
    param: Parameters = None,
    set_: Sets = None,
) -> None:
    """Print a plan's objects, for `kubectl apply -f -`."""

    async def command() -> int:
        answer = await _validated(file, where_of(server, context, kubeconfig, data), param or [], set_ or [])
        if not answer.valid:
            say("\n".join(_problem_lines(file, answer.problems)))
            return ExitCode.USAGE
        for item in answer.objects:
            print(f"---\n{item.yaml.removeprefix('---').strip()}")
        return ExitCode.PASSED

    perform(command)


async def _validated(file: Path, where: Where, parameters: list[str], sets: list[str]) -> ValidateResponse:
    from k8s_execution_client.plan import load_plan
    from k8s_execution_client.send import prepared

    plan = load_plan(file, parameters=parameters, sets=sets, environment=os.environ)
    async with reading(where) as client:
        request, _ = await prepared(plan, client)
        return await client.validate(request)


async def _both(misfit: PlanMisfit, where: Where) -> ValidateResponse:
    """What did not fit, and what the service says of the rest; without the service, what did not fit."""
    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_service_pb2 import ValidateResponse
    from k8s_execution_client._gen.maestro.k8s.execution.v1.results_pb2 import Problem
    from k8s_execution_client.send import prepared

    problems = [Problem(field=v.field, rule=FORM, message=v.message, hint=v.hint) for v in misfit.violations]
    try:
        async with reading(where) as client:
            request, _ = await prepared(misfit.rest, client)
            problems += [p for p in (await client.validate(request)).problems if misfit.untold(p.field)]
    except (ClientFault, ServerMissing, ServiceBroken) as fault:
        say(f"only the file's form could be judged: {fault}")
    return ValidateResponse(valid=False, problems=problems)


def _print_answer(file: Path, answer: ValidateResponse) -> None:
    from k8s_execution_client.cli.output import write_table

    if not answer.valid:
        print("\n".join(_problem_lines(file, answer.problems)))
        return
    print(f"{file} is valid: {len(answer.objects)} objects")
    for item in answer.objects:
        print(f"  {item.kind}/{item.name}")
    if answer.quota:
        rows = [[q.resource, q.needed, q.allowed, "yes" if q.sufficient else "NO"] for q in answer.quota]
        write_table(["RESOURCE", "NEEDED", "ALLOWED", "ENOUGH"], rows)
    for warning in answer.warnings:
        print(f"warning: {_problem(warning)}")


def _problem_lines(file: Path, problems: Sequence[Problem]) -> list[str]:
    return [f"{file} is not valid:", *(f"  {_problem(p)}" for p in problems)]


def _problem(problem: Problem) -> str:
    from k8s_execution_client.terminal import safe

    where = f"{safe(problem.field)}: " if problem.field else ""
    value = f" (is {safe(problem.value)})" if problem.value else ""
    hint = f"; {safe(problem.hint)}" if problem.hint else ""
    return f"{where}{safe(problem.message)}{value}{hint}"


@commands.command("init")
def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to write it.")] = Path("plan.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented plan to begin with."""

    async def command() -> None:
        from k8s_execution_client.example import EXAMPLE

        try:
            with file.open("w" if force else "x", encoding="utf-8") as output:
                output.write(EXAMPLE)
        except FileExistsError as error:
            raise UsageFault(f"{file} is there already; --force replaces it") from error
        except OSError as error:
            raise UsageFault(f"cannot write {file}: {error.strerror}") from error
        say(f"wrote {file}; try `k8s-execution validate {file}`, then `k8s-execution run {file}`")

    perform(command)


@commands.command("schema")
def schema() -> None:
    """Print the JSON Schema of plan files, for editors."""

    async def command() -> None:
        import json

        from k8s_execution_client.schema import plan_schema

        json.dump(plan_schema(), sys.stdout, indent=2)
        sys.stdout.write("\n")

    perform(command)

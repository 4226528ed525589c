"""`status` and `wait`: one execution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from k8s_execution_client.cli.border import perform, say
from k8s_execution_client.cli.connection import reading, where_of
from k8s_execution_client.cli.options import Context, Data, Identity, Kubeconfig, Output, Server
from k8s_execution_client.exit_codes import of_verdict

if TYPE_CHECKING:
    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Execution, Step

commands = typer.Typer()

FORMATS = ("text", "wide", "json", "yaml", "name")


@commands.command("status")
def status(
    identity: Identity,
    server: Server = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    data: Data = None,
    output: Output = "text",
) -> None:
    """Show an execution: phase, steps, verdict and why."""

    async def command() -> None:
        from k8s_execution_client.cli.find import find
        from k8s_execution_client.cli.output import check_format

        check_format(output, FORMATS)
        async with reading(where_of(server, context, kubeconfig, data)) as client:
            show(await client.status(await find(client, identity)), output)

    perform(command)


@commands.command("wait")
def wait(
    identity: Identity,
    server: Server = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    data: Data = None,
    output: Output = "name",
    gone: Annotated[bool, typer.Option("--gone", help="Wait until its environment is gone too.")] = False,
    fail_on_flaky: Annotated[bool, typer.Option("--fail-on-flaky", help="A flaky pass is a failure.")] = False,
) -> None:
    """Wait for the verdict; exits as `run` does."""

    async def command() -> int:
        from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Verdict
        from k8s_execution_client.cli.find import find
        from k8s_execution_client.cli.follow import has_verdict, is_over
        from k8s_execution_client.cli.output import check_format

        check_format(output, FORMATS)
        where = where_of(server, context, kubeconfig, data)
        async with reading(where) as client:
            execution_id = await find(client, identity)
            wanted = is_over if gone else has_verdict
            # A service in another process cannot wake one that only reads the same folder: that one looks often.
            execution = await client.wait_until(execution_id, wanted, hold="60s" if where.server else "1s")
            show(execution, output)
        verdict = Verdict.Name(execution.verdict)
        if output == "name":
            say(f"verdict {verdict}")
        return of_verdict(verdict, execution.tests.flaky, fail_on_flaky=fail_on_flaky)

    perform(command)


def show(execution: Execution, chosen: str) -> None:
    """Write one execution to stdout."""
    from k8s_execution_client.cli.output import as_data, write_data

    if chosen == "name":
        print(execution.id)
    elif chosen in {"json", "yaml"}:
        write_data(as_data(execution), chosen)
    else:
        _print(execution, wide=chosen == "wide")


def _print(execution: Execution, *, wide: bool) -> None:
    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Cluster, Phase, Verdict
    from k8s_execution_client.cli.output import age, write_table
    from k8s_execution_client.cli.report import counts, diagnoses, diagnosis_lines, evidence_lines
    from k8s_execution_client.terminal import safe

    verdict = Verdict.Name(execution.verdict) if execution.verdict else "none yet"
    cluster = f"{Cluster.Kind.Name(execution.cluster.kind)} {safe(execution.cluster.version)}"
    print(f"{execution.id}  {safe(execution.name)}  {Phase.Name(execution.phase)}  verdict: {verdict}")
    print(f"  project {safe(execution.project)}, cluster {cluster}, namespace {safe(execution.namespace)}")
    print(
        f"  accepted {age(execution.created_at)} ago"
        + (f", place {execution.queue_position} in the queue" if execution.queue_position else "")
    )
    print(f"  tests: {counts(execution.tests)}")
    for cause in diagnoses(execution):
        print("\n".join(diagnosis_lines(cause)))
    for line in evidence_lines(execution):
        print(line)
    for warning in execution.warnings:
        print(f"  warning: {safe(warning)}")
    if execution.steps:
        header = ["STEP", "KIND", "PHASE", "VERDICT", "EXIT", "SECONDS", *(["POD"] if wide else [])]
        write_table(header, [_row(step)[: len(header)] for step in execution.steps])


def _row(step: Step) -> list[str]:
    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Step as Message
    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Verdict
    from k8s_execution_client.terminal import safe

    seconds = "-"
    if step.HasField("started_at") and step.HasField("finished_at"):
        seconds = f"{(step.finished_at.ToNanoseconds() - step.started_at.ToNanoseconds()) / 1e9:.1f}"
    return [
        safe(step.name),
        Message.Kind.Name(step.kind).lower(),
        Message.Phase.Name(step.phase).lower(),
        Verdict.Name(step.verdict) if step.verdict else "-",
        str(step.exit_code) if step.HasField("exit_code") else "-",
        seconds,
        safe(step.pod) or "-",
    ]

"""`list`, `results` and `artifacts`: what ran, what it reported, what was kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8s_execution_client.cli.border import UsageFault, perform, say
from k8s_execution_client.cli.connection import reading, where_of
from k8s_execution_client.cli.options import Context, Data, Identity, Kubeconfig, Output, Server

if TYPE_CHECKING:
    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Execution
    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_service_pb2 import GetResultsResponse
    from k8s_execution_client.client import ExecutionClient

commands = typer.Typer()

NEWEST = 20


@commands.command("list")
def list_(
    server: Server = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    data: Data = None,
    all_: Annotated[bool, typer.Option("--all", help=f"All, not only the newest {NEWEST}.")] = False,
    active: Annotated[bool, typer.Option("--active", help="Only those that are not DONE.")] = False,
    phase: Annotated[
        list[str] | None, typer.Option("--phase", metavar="PHASE", help="Only in this phase; may be repeated.")
    ] = None,
    verdict: Annotated[
        list[str] | None, typer.Option("--verdict", metavar="VERDICT", help="Only with this verdict; may be repeated.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="K=V", help="Only with this label; may be repeated.")
    ] = None,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Only of the plan of this name.")] = "",
    project: Annotated[str, typer.Option("--project", metavar="NAME", help="Only of this project.")] = "",
    output: Output = "text",
) -> None:
    """List executions, newest first."""

    async def command() -> None:
        from k8s_execution_client.cli.output import check_format

        check_format(output, ("text", "wide", "json", "yaml", "name"))
        wanted = _Wanted(phase or [], verdict or [], label or [], name, project, active)
        async with reading(where_of(server, context, kubeconfig, data)) as client:
            found = await wanted.executions(client, None if all_ else NEWEST + 1)
        _print_list(found if all_ else found[:NEWEST], output)
        if not all_ and len(found) > NEWEST:
            say(f"the newest {NEWEST}; --all shows all")

    perform(command)


class _Wanted:
    """The filters of `list`."""

    def __init__(  # the filters of one request, taken as they come from the command line
        self,
        phases: Sequence[str],
        verdicts: Sequence[str],
        labels: Sequence[str],
        name: str,
        project: str,
        active: bool,
    ) -> None:
        from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as api
        from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import DONE, Phase, Verdict

        self.request = api.ListExecutionsRequest(page_size=NEWEST + 1, name=name, project=project)
        self.request.phases.extend(_number(Phase, "--phase", p) for p in phases)
        self.request.verdicts.extend(_number(Verdict, "--verdict", v) for v in verdicts)
        if active:
            chosen = list(self.request.phases) or [number for number in Phase.values() if number]
            del self.request.phases[:]
            self.request.phases.extend(number for number in chosen if number != DONE)
        for item in labels:
            key, sign, value = item.partition("=")
            if not sign:
                raise UsageFault(f"--label {item} has no value; write --label KEY=VALUE")
            self.request.labels[key] = value

    async def executions(self, client: ExecutionClient, limit: int | None) -> list[Execution]:
        """The newest that fit, at most `limit`; all without one."""
        found: list[Execution] = []
        async with aclosing(client.list_executions(self.request)) as executions:
            async for execution in executions:
                found.append(execution)
                if len(found) == limit:
                    break
        return found


def _number(enum: Any, option: str, text: str) -> Any:
    names = {value.name: value.number for value in enum.DESCRIPTOR.values if value.number}
    if text.upper() not in names:
        raise UsageFault(f"{option} {text} is not known; there are: {', '.join(names)}")
    return names[text.upper()]


def _print_list(found: Sequence[Execution], chosen: str) -> None:
    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Phase, Verdict
    from k8s_execution_client.cli.output import age, as_data, write_data, write_table
    from k8s_execution_client.terminal import safe

    if chosen in {"json", "yaml"}:
        write_data({"executions": [as_data(e) for e in found]}, chosen)
        return
    if chosen == "name":
        print("".join(f"{e.id}\n" for e in found), end="")
        return
    header = ["ID", "NAME", "PHASE", "VERDICT", "TESTS", "AGE"]
    rows = [
        [
            e.id,
            safe(e.name),
            Phase.Name(e.phase),
            Verdict.Name(e.verdict) if e.verdict else "-",
            f"{e.tests.passed}/{e.tests.total}" if e.tests.total else "-",
            age(e.created_at),
        ]
        for e in found
    ]
    if chosen == "wide":
        header += ["PROJECT", "NAMESPACE", "LABELS"]
        for row, e in zip(rows, found, strict=True):
            labels = ",".join(f"{safe(k)}={safe(v)}" for k, v in sorted(e.labels.items()))
            row += [safe(e.project), safe(e.namespace), labels]
    write_table(header, rows)


@commands.command("results")
def results(
    identity: Identity,
    server: Server = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    data: Data = None,
    output: Output = "text",
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write one JUnit file.")] = None,
) -> None:
    """Show test cases: all that did not pass, or all with -o wide."""

    async def command() -> None:
        from k8s_execution_client.cli.find import find
        from k8s_execution_client.cli.output import as_data, check_format, write_data
        from k8s_execution_client.junit import write_junit

        check_format(output, ("text", "wide", "json", "yaml", "name"))
        async with reading(where_of(server, context, kubeconfig, data)) as client:
            execution_id = await find(client, identity)
            found = await client.results(execution_id)
            execution = await client.status(execution_id)
        if junit is not None:
            try:
                write_junit(junit, execution.name, found)
            except OSError as error:
                raise UsageFault(f"cannot write {junit}: {error.strerror}") from error
        if output in {"json", "yaml"}:
            write_data(as_data(found), output)
        else:
            _print_results(found, output)

    perform(command)


def _print_results(found: GetResultsResponse, chosen: str) -> None:
    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Verdict
    from k8s_execution_client._gen.maestro.k8s.execution.v1.results_pb2 import TestCase
    from k8s_execution_client.cli.output import write_table
    from k8s_execution_client.cli.report import case_name, counts
    from k8s_execution_client.terminal import safe, safe_lines

    shown = [c for c in found.cases if chosen in {"wide", "name"} or c.status in {TestCase.FAILED, TestCase.ERROR}]
    if chosen == "name":
        print("".join(f"{safe(c.suite)} {safe(case_name(c))}\n" for c in shown), end="")
        return
    write_table(
        ["SUITE", "VERDICT", "SECONDS", "TESTS"],
        [
            [safe(s.name), Verdict.Name(s.verdict) if s.verdict else "-", f"{s.duration:.1f}", counts(s.tests)]
            for s in found.suites
        ],
    )
    for case in shown:
        print(f"{TestCase.Status.Name(case.status)} {safe(case.suite)} {safe(case_name(case))} {case.duration:.3f} s")
        if case.message:
            print(f"    {safe(case.message)}")
        if case.details.strip() and case.status in {TestCase.FAILED, TestCase.ERROR}:
            print("\n".join(f"    | {line}" for line in safe_lines(case.details.rstrip("\n"))))


@commands.command("artifacts")
def artifacts(
    identity: Identity,
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Download here; default: only list.")] = None,
    server: Server = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    data: Data = None,
    output: Output = "text",
) -> None:
    """List the kept files, or download them."""

    async def command() -> None:
        from k8s_execution_client.cli.find import find
        from k8s_execution_client.cli.output import as_data, check_format, write_data
        from k8s_execution_client.fetch import fetch

        check_format(output, ("text", "wide", "json", "yaml", "name"))
        async with reading(where_of(server, context, kubeconfig, data)) as client:
            execution_id = await find(client, identity)
            found = (await client.results(execution_id)).artifacts
            if output in {"json", "yaml"}:
                write_data({"artifacts": [as_data(a) for a in found]}, output)
            elif folder is None or output != "text":
                _print_artifacts(found, output)
            if folder is None:
                return
            try:
                for artifact in found:
                    await fetch(client, execution_id, artifact.path, folder)
            except OSError as error:
                raise UsageFault(f"cannot write {error.filename}: {error.strerror}") from error
            say(f"wrote {len(found)} files below {folder}")

    perform(command)


def _print_artifacts(found: Sequence[object], chosen: str) -> None:
    from k8s_execution_client._gen.maestro.k8s.execution.v1.results_pb2 import Artifact
    from k8s_execution_client.cli.output import write_table
    from k8s_execution_client.terminal import safe

    kept = [a for a in found if isinstance(a, Artifact)]
    if chosen == "name":
        print("".join(f"{safe(a.path)}\n" for a in kept), end="")
        return
    header = ["PATH", "BYTES", "KIND", "STEP", *(["SHA256"] if chosen == "wide" else [])]
    rows = [
        [safe(a.path), str(a.bytes), Artifact.Kind.Name(a.kind).lower(), safe(a.step) or "-", a.sha256] for a in kept
    ]
    write_table(header, [row[: len(header)] for row in rows])

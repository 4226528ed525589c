"""`logs` and `watch`: lines and events, as they come or as they were."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from k8s_execution_client.cli.border import perform, say
from k8s_execution_client.cli.connection import reading, where_of
from k8s_execution_client.cli.options import Context, Data, Identity, Kubeconfig, Server

if TYPE_CHECKING:
    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import StatusEvent
    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_service_pb2 import StreamLogsRequest
    from k8s_execution_client._gen.maestro.k8s.execution.v1.logs_pb2 import LogBatch
    from k8s_execution_client.client import ExecutionClient

commands = typer.Typer()

LOOK_AGAIN = 1.0


@commands.command("logs")
def logs(
    identity: Identity,
    server: Server = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    data: Data = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until the logs are sealed.")] = False,
    cursor: Annotated[str, typer.Option("--cursor", metavar="C", help="Go on after this one.")] = "",
    container: Annotated[
        list[str] | None, typer.Option("--container", metavar="NAME", help="Only this one; may be repeated.")
    ] = None,
    pod: Annotated[
        list[str] | None, typer.Option("--pod", metavar="NAME", help="Only of this pod; may be repeated.")
    ] = None,
    step: Annotated[
        list[str] | None,
        typer.Option("--step", metavar="NAME", help="Only of this hook, suite or application; may be repeated."),
    ] = None,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="The node's time before each line.")] = False,
    prefix: Annotated[
        bool | None,
        typer.Option("--prefix/--no-prefix", help="[pod container] before each line; default: with several streams."),
    ] = None,
    show_cursor: Annotated[bool, typer.Option("--show-cursor", help="At the end, the cursor on stderr.")] = False,
) -> None:
    """Print the lines of all containers, live or after the end."""

    async def command() -> None:
        from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_service_pb2 import StreamLogsRequest
        from k8s_execution_client.cli.find import find
        from k8s_execution_client.cli.log_lines import LogLines

        where = where_of(server, context, kubeconfig, data)
        async with reading(where) as client:
            request = StreamLogsRequest(
                execution_id=await find(client, identity), cursor=cursor, pods=pod, containers=container, steps=step
            )
            several = prefix if prefix is not None else follow or await _several(client, request)
            raw = not sys.stdout.isatty()
            lines = LogLines(_write, say, prefix=several, timestamps=timestamps, raw=raw)
            last = await _print(client, request, lines, follow, live=bool(where.server) or where.on_cluster)
            if show_cursor:
                say(last or cursor)

    perform(command)


def _write(text: str) -> None:
    sys.stdout.write(text)


async def _print(
    client: ExecutionClient, request: StreamLogsRequest, lines: object, follow: bool, *, live: bool
) -> str:
    from k8s_execution_client.cli.log_lines import LogLines

    assert isinstance(lines, LogLines)
    last = ""
    request.follow = follow and live
    source = client.stream_logs(request) if live or not follow else _looked(client, request)
    async with aclosing(source) as batches:
        async for batch in batches:
            lines.batch(batch)
            sys.stdout.flush()
            last = batch.cursor
    return last


async def _several(client: ExecutionClient, request: StreamLogsRequest) -> bool:
    """Whether the log holds lines of more than one stream."""
    seen: set[tuple[str, str, int]] = set()
    async with aclosing(client.stream_logs(request)) as batches:
        async for batch in batches:
            seen.add((batch.stream.pod, batch.stream.container, batch.stream.restart))
            if len(seen) > 1:
                return True
    return False


async def _looked(client: ExecutionClient, request: StreamLogsRequest) -> AsyncGenerator[LogBatch, None]:
    """Follow the log in the data folder: whoever writes it is another process, so it is looked at again and again."""
    import asyncio

    from k8s_execution_client.cli.follow import has_verdict

    while True:
        over = has_verdict(await client.status(request.execution_id))
        async with aclosing(client.stream_logs(request)) as batches:
            async for batch in batches:
                request.cursor = batch.cursor
                yield batch
        if over:
            return
        await asyncio.sleep(LOOK_AGAIN)


@commands.command("watch")
def watch(
    identity: Annotated[str, typer.Argument(metavar="[ID]", help="Default: all executions, without end.")] = "",
    server: Server = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    data: Data = None,
    cursor: Annotated[str, typer.Option("--cursor", metavar="C", help="Go on after this one.")] = "",
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FORMAT", help="text or json (one a line).")
    ] = "text",
) -> None:
    """Print status events: of one execution to its end, or of all."""

    async def command() -> None:
        from k8s_execution_client.cli.find import find
        from k8s_execution_client.cli.output import check_format

        check_format(output, ("text", "json"))
        where = where_of(server, context, kubeconfig, data)
        async with reading(where) as client:
            execution_id = await find(client, identity) if identity else ""
            live = bool(where.server) or where.on_cluster
            events = client.watch(execution_id, cursor) if live else _looked_events(client, execution_id, cursor)
            async with aclosing(events):
                async for event in events:
                    _print_event(event, output)

    perform(command)


async def _looked_events(client: ExecutionClient, execution_id: str, cursor: str) -> AsyncGenerator[StatusEvent, None]:
    """Events in the data folder, which another process writes: the stream is opened again when it is silent."""
    import asyncio

    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import DONE

    events = client.watch(execution_id, cursor)
    try:
        while True:
            try:
                event = await asyncio.wait_for(anext(events), LOOK_AGAIN)
            except TimeoutError:
                await events.aclose()
                events = client.watch(execution_id, cursor)
                continue
            cursor = event.cursor
            yield event
            if execution_id and event.execution.phase == DONE:
                return
    finally:
        await events.aclose()


def _print_event(event: StatusEvent, chosen: str) -> None:
    import json

    from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2 as messages
    from k8s_execution_client.cli.output import as_data
    from k8s_execution_client.terminal import safe

    if chosen == "json":
        print(json.dumps(as_data(event), ensure_ascii=False), flush=True)
        return
    execution = event.execution
    steps = [
        f"{safe(s.name)}={messages.Step.Phase.Name(s.phase).lower()}"
        for s in execution.steps
        if s.phase > messages.Step.PENDING
    ]
    verdict = messages.Verdict.Name(execution.verdict) if execution.verdict else "-"
    phase = messages.Phase.Name(execution.phase)
    kind = messages.StatusEvent.Type.Name(event.type)
    moment = event.time.ToDatetime().strftime("%Y-%m-%dT%H:%M:%SZ")
    print(moment, event.execution_id, event.sequence, kind, phase, verdict, *steps, flush=True)

"""Finds the execution that `ID` means: a whole id, the beginning of one, or `@last`."""

from __future__ import annotations

from contextlib import aclosing

from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_service_pb2 import ListExecutionsRequest
from k8s_execution_client.cli.border import UsageFault
from k8s_execution_client.client import ExecutionClient

LAST = "@last"


async def find(client: ExecutionClient, identity: str) -> str:
    """The id. Raises UsageFault where there is none or more than one."""
    prefix = "" if identity == LAST else identity
    request = ListExecutionsRequest(id_prefix=prefix, page_size=1 if identity == LAST else 10)
    found: list[str] = []
    async with aclosing(client.list_executions(request)) as executions:
        async for execution in executions:
            found.append(execution.id)
            if len(found) == request.page_size:
                break
    if identity == LAST and not found:
        raise UsageFault("there is no execution yet here; `k8s-execution run FILE` makes one")
    if not found:
        raise UsageFault(f"there is no execution whose id begins with {identity!r}; `k8s-execution list` shows them")
    if identity in found or len(found) == 1 or identity == LAST:
        return identity if identity in found else found[0]
    raise UsageFault(f"{identity!r} is the beginning of several ids: {', '.join(found)}")

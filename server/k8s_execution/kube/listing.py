"""Reads whole lists from the API server, past every cache of ours.

It must not keep anything. Apart because both the reading and the writing half need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from k8s_execution.kube import parse
from k8s_execution.kube.answers import StatusError
from k8s_execution.kube.client import Client
from k8s_execution.kube.resources import resource


async def list_all(
    client: Client, kind: str, namespace: str, query: Sequence[tuple[str, str]] = ()
) -> list[dict[str, Any]]:
    """Every object of a kind in a namespace; a list that expires while it is read is begun again, once."""
    path = resource(kind).collection(namespace)
    try:
        return await _read(client, path, query)
    except StatusError as refusal:
        if refusal.status != 410:
            raise
    return await _read(client, path, query)


async def _read(client: Client, path: str, query: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with aclosing(client.pages(path, query)) as pages:
        async for page in pages:
            found.extend(parse.items(page))
    return found

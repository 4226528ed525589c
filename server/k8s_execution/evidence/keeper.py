"""Keeps Kubernetes objects as they were, as JSON Lines files in the archive; fulfils `ports.evidence.EvidenceKeeper`.

It must not choose what is kept, nor read the cluster.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

from k8s_execution.domain.execution import Execution
from k8s_execution.ports.archive import Archive
from k8s_execution.ports.cluster import Body

LINES_A_CHUNK = 200


class ObjectKeeper:
    """Writes `objects/{name}.jsonl`, one object a line, keys sorted, so that the same objects give the same bytes."""

    def __init__(self, archive: Archive) -> None:
        """Take the archive."""
        self._archive = archive

    async def keep_objects(self, execution: Execution, name: str, bodies: Sequence[Body]) -> None:
        """Store the objects whole or not at all; a repeated call replaces the file."""
        await self._archive.put(execution.id, f"objects/{name}.jsonl", _lines(bodies))


async def _lines(bodies: Sequence[Body]) -> AsyncIterator[bytes]:
    for start in range(0, len(bodies), LINES_A_CHUNK):
        part = bodies[start : start + LINES_A_CHUNK]
        yield "".join(json.dumps(body, sort_keys=True, separators=(",", ":")) + "\n" for body in part).encode()

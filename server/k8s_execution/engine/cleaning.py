"""Operations that remove an environment: owners, pods, namespace; each may be repeated and writes its own result."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from k8s_execution.domain.execution import Execution
from k8s_execution.engine.tools import Tools
from k8s_execution.ports.cluster import ClusterPort, ObjectRef, Unreachable

POD_GRACE_SECONDS = 1
DRAIN_SECONDS = 60.0
STRAY_SECONDS = 5.0
"""A pod without our labels (somebody put it there) ends unnoticed by the reflectors: look again after this."""


async def drain(tools: Tools, execution: Execution) -> None:
    """Delete owners with Orphan and pods with a short grace, and record it once no pod is left."""
    await drain_namespace(tools.cluster, execution)

    def record(current: Execution, _now: int) -> Execution:
        return replace(current, workload_deleted=True)

    await tools.store.change(execution.id, record, epoch=execution.epoch)


async def drain_namespace(cluster: ClusterPort, execution: Execution) -> None:
    """Owners, then pods, then wait for the pods to be gone; Unreachable if they stay (the namespace then waits)."""
    changed = asyncio.Event()
    cancel = cluster.subscribe(lambda key: changed.set() if key == execution.id else None)
    try:
        await cluster.drain(execution.namespace, POD_GRACE_SECONDS)
        async with asyncio.timeout(DRAIN_SECONDS):
            while await cluster.pods_left(execution.namespace):
                await _change_or(changed, STRAY_SECONDS)
    except TimeoutError as late:
        raise Unreachable(f"pods of {execution.namespace} are still there after {DRAIN_SECONDS:.0f} s") from late
    finally:
        cancel()


async def _change_or(changed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        pass  # look again without a sign
    changed.clear()


async def delete_namespace(tools: Tools, execution: Execution) -> None:
    """Delete the namespace; record it as deleted when the API server says that it is no more."""
    ref = ObjectRef("Namespace", "", execution.namespace, execution.namespace_uid)
    if await tools.cluster.delete(ref):
        return

    def record(current: Execution, _now: int) -> Execution:
        return replace(current, namespace_deleted=True)

    await tools.store.change(execution.id, record, epoch=execution.epoch)

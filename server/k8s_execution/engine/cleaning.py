"""Operations that remove an environment: namespace and pods; each may be repeated and writes its own result."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from k8s_execution.domain.execution import Execution
from k8s_execution.engine.tools import Tools
from k8s_execution.ports.cluster import ClusterPort, ObjectRef, Refused, Unreachable

log = logging.getLogger(__name__)

POD_GRACE_SECONDS = 1
DRAIN_SECONDS = 60.0
SILENCE_SECONDS = 10.0
"""A pod with a short grace is gone in 3 s; who hears nothing for longer asks the API server."""

STRAY_SECONDS = 5.0
"""A pod without our labels (somebody put it there) ends unnoticed by the reflectors: look again after this."""


async def drain(tools: Tools, execution: Execution) -> None:
    """Empty the namespace, and record it once no pod is left."""
    await drain_namespace(tools.cluster, execution)

    def record(current: Execution, _now: int) -> Execution:
        return replace(current, workload_deleted=True)

    await tools.store.change(execution.id, record, epoch=execution.epoch)


async def drain_namespace(cluster: ClusterPort, execution: Execution) -> None:
    """End what runs and wait until it is gone; Unreachable if it stays.

    The namespace is asked to go first: from then on nobody can put a pod in the place of a deleted one, so the owners
    need no requests of their own, and the 5 s that the namespace controller waits before it does anything run meanwhile
    (its own deletion of the pods would grant them the grace of their spec). Where the namespace may not be deleted,
    its owners and pods are, so that at least nothing runs.
    """
    changed = asyncio.Event()
    cancel = cluster.subscribe(lambda key: changed.set() if key == execution.id else None)
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            end = await _close(cluster, execution)
            if end is None:
                return
            await end(execution.namespace, POD_GRACE_SECONDS)
            await _pods_gone(cluster, execution, changed)
            while await cluster.pods_left(execution.namespace):
                changed.clear()
                await end(execution.namespace, POD_GRACE_SECONDS)  # some came in the last moment, or were not ours
                await _change_or(changed, STRAY_SECONDS)
    except TimeoutError as late:
        raise Unreachable(f"pods of {execution.namespace} are still there after {DRAIN_SECONDS:.0f} s") from late
    finally:
        cancel()


async def _close(cluster: ClusterPort, execution: Execution) -> Callable[[str, int], Awaitable[None]] | None:
    """Ask the namespace to go; what ends its pods then, None where it is no more."""
    try:
        return cluster.end_pods if await _delete(cluster, execution) else None
    except Refused as refused:
        log.warning("the namespace %s may not be deleted: %s", execution.namespace, refused)
        return cluster.drain


async def _delete(cluster: ClusterPort, execution: Execution) -> bool:
    """Ask our namespace to go; False where there is none (any more).

    One that was never recorded as made is ours only if it is seen with our labels: else its name is somebody else's.
    """
    seen = cluster.observe(execution.id)
    uid = execution.namespace_uid
    if not uid and seen.namespace is not None and seen.namespace.name == execution.namespace:
        uid = seen.namespace.uid
    if not uid and not seen.synced:
        raise Unreachable(f"whether {execution.namespace} was made is not known yet")
    return bool(uid) and await cluster.delete(ObjectRef("Namespace", "", execution.namespace, uid))


async def _pods_gone(cluster: ClusterPort, execution: Execution, changed: asyncio.Event) -> None:
    """Until none of our pods is seen any more: the watch tells, so that the API server is asked once, at the end.

    Also where nothing is heard for long: the watch may be cut, so look.
    """
    heard = True
    while heard and cluster.observe(execution.id).pods:
        changed.clear()
        heard = await _change_or(changed, SILENCE_SECONDS)


async def _change_or(changed: asyncio.Event, seconds: float) -> bool:
    """Wait for a sign; whether one came in time."""
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return False
    return True


async def delete_namespace(tools: Tools, execution: Execution) -> None:
    """Delete the namespace; record it as deleted when the API server says that it is no more."""
    if await _delete(tools.cluster, execution):
        return

    def record(current: Execution, _now: int) -> Execution:
        return replace(current, namespace_deleted=True)

    await tools.store.change(execution.id, record, epoch=execution.epoch)

"""Events about pods, written the way a kubelet writes them, repeated ones counted instead of repeated.

Recording never waits: a queue and one writer. An event that the API refuses (its namespace is being deleted) is
dropped, as kubelet drops it. Must not decide what is worth an event.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass
from typing import Any

from k8s_simulation.node.kube import ApiError, ApiUnreachable, KubeClient
from k8s_simulation.node.runtime import timestamp

Object = dict[str, Any]
_Key = tuple[str, str, str, str]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Fact:
    pod: Object
    kind: str
    reason: str
    message: str
    field_path: str
    at: float


@dataclass(slots=True)
class _Written:
    name: str
    count: int


class EventRecorder:
    """Writes core/v1 Events with this node as their source."""

    def __init__(self, client: KubeClient, node: str) -> None:
        self._client = client
        self._node = node
        self._queue: asyncio.Queue[_Fact] = asyncio.Queue(maxsize=2000)
        self._written: dict[_Key, _Written] = {}

    def normal(self, pod: Object, reason: str, message: str, field_path: str = "") -> None:
        """Something expected happened."""
        self._put(_Fact(pod, "Normal", reason, message, field_path, time.time()))

    def warning(self, pod: Object, reason: str, message: str, field_path: str = "") -> None:
        """Something went wrong."""
        self._put(_Fact(pod, "Warning", reason, message, field_path, time.time()))

    def forget(self, uid: str) -> None:
        """The pod is gone: its events will not be counted up any more."""
        self._written = {key: value for key, value in self._written.items() if key[0] != uid}

    def _put(self, fact: _Fact) -> None:
        try:
            self._queue.put_nowait(fact)
        except asyncio.QueueFull:
            log.warning("an event was dropped: %s %s", fact.reason, fact.message)

    async def run(self) -> None:
        """Write events until cancelled."""
        while True:
            fact = await self._queue.get()
            try:
                await self._write(fact)
            except (ApiError, ApiUnreachable) as error:
                log.debug("event %s was not written: %s", fact.reason, error)

    async def _write(self, fact: _Fact) -> None:
        metadata = fact.pod["metadata"]
        collection = f"/api/v1/namespaces/{metadata['namespace']}/events"
        key = (metadata["uid"], fact.field_path, fact.reason, fact.message)
        written = self._written.get(key)
        if written is not None:
            written.count += 1
            patch = {"count": written.count, "lastTimestamp": timestamp(fact.at)}
            try:
                await self._client.patch(f"{collection}/{written.name}", patch)
            except ApiError as error:
                if error.status != 404:
                    raise
            else:
                return
        name = f"{metadata['name']}.{time.time_ns():x}{secrets.token_hex(2)}"
        await self._client.create(collection, self._event(fact, name))
        self._written[key] = _Written(name, 1)

    def _event(self, fact: _Fact, name: str) -> Object:
        metadata = fact.pod["metadata"]
        involved = {"apiVersion": "v1", "kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"]}
        involved |= {"uid": metadata["uid"], "resourceVersion": metadata.get("resourceVersion", "")}
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": metadata["namespace"]},
            "involvedObject": involved | ({"fieldPath": fact.field_path} if fact.field_path else {}),
            "type": fact.kind,
            "reason": fact.reason,
            "message": fact.message,
            "source": {"component": "kubelet", "host": self._node},
            "reportingComponent": "kubelet",
            "reportingInstance": self._node,
            "firstTimestamp": timestamp(fact.at),
            "lastTimestamp": timestamp(fact.at),
            "count": 1,
        }

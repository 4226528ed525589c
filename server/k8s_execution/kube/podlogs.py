"""Reads a container's log as raw bytes.

It must not split lines, resume or judge completeness: that is the log collector's. Apart because a log is the one
answer whose refusals are told apart by their wording (kubelet and `registry/core/pod/strategy.go`).
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import closing
from datetime import UTC, datetime

from k8s_execution.kube.answers import PassingFault, StatusError
from k8s_execution.kube.client import Client
from k8s_execution.kube.limits import KubeLimits
from k8s_execution.kube.resources import resource
from k8s_execution.ports.cluster import LogGone, LogNotReady, LogRequest, Unreachable

_NOT_READY = re.compile(r"is waiting to start|does not have a host assigned|not available|PodInitializing")
_GONE = re.compile(r"not found|is not valid for pod|unable to retrieve container logs|no such file|is terminated")


class PodLogs:
    """Logs through the API server's `pods/log`."""

    def __init__(self, client: Client, limits: KubeLimits) -> None:
        """Hold the client."""
        self._client = client
        self._limits = limits

    async def read(self, request: LogRequest) -> AsyncGenerator[bytes, None]:
        """Chunks as they come; see `ports.cluster.ContainerLogs.read`.

        A follow waits for ever: a quiet container is no fault, and a kubelet sends not even headers before the first
        line. A dead connection is found by TCP keepalive.
        """
        path = resource("Pod").item(request.namespace, request.pod) + "/log"
        silence = None if request.follow else self._limits.log_read_timeout
        try:
            stream = await self._client.stream(path, _query(request), silence)
        except StatusError as refusal:
            raise _meaning(refusal.message, refusal.status) from refusal
        except PassingFault as fault:
            raise _meaning(fault.message, fault.status) from fault
        with closing(stream):
            while chunk := await stream.read():
                yield chunk


def _query(request: LogRequest) -> list[tuple[str, str]]:
    query = [("container", request.container), ("timestamps", "true")]
    if request.follow:
        query.append(("follow", "true"))
    if request.previous:
        query.append(("previous", "true"))
    if request.since is not None:
        # The server knows whole seconds only; rounded down here so that nothing is skipped.
        moment = datetime.fromtimestamp(request.since // 1_000_000, UTC)
        query.append(("sinceTime", moment.strftime("%Y-%m-%dT%H:%M:%SZ")))
    return query


def _meaning(message: str, status: int) -> Exception:
    """The port's exception for a refusal. 401, 403 and 429 say nothing about the container."""
    if status == 404:
        return LogGone(message)
    if status in {400, 500}:
        if _NOT_READY.search(message):
            return LogNotReady(message)
        if _GONE.search(message):
            return LogGone(message)
    return Unreachable(message)

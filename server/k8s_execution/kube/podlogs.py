"""Reads a container's log as raw bytes.

It must not split lines, resume or judge completeness: that is the log collector's. Apart because a log is the one
answer whose refusals are told apart by their wording (kubelet and `registry/core/pod/strategy.go`).
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import closing
from datetime import UTC, datetime

from k8s_execution.kube import parse
from k8s_execution.kube.answers import PassingFault, StatusError
from k8s_execution.kube.client import Client
from k8s_execution.kube.limits import KubeLimits
from k8s_execution.kube.listing import list_all
from k8s_execution.kube.resources import resource
from k8s_execution.ports.cluster import LogGone, LogNotReady, LogRequest, Unreachable

_NOT_READY = re.compile(r"is waiting to start|does not have a host assigned|not available|PodInitializing")
_GONE = re.compile(r"not found|is not valid for pod|unable to retrieve container logs|no such file|is terminated")
_NO_LOG = re.compile(rb"(unable to retrieve container logs for|failed to try resolving symlinks in path) ")
"""What a kubelet says of a container that is no more, but also of all containers while its runtime is away, and of a
log that it just rotates; with status 200, in the log's place (GetContainerLogs, ReadLogs in pkg/kubelet/kuberuntime).
Every line of a log begins with its time, so none looks like this."""
_LONGEST_MESSAGE = 500


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
        except (StatusError, PassingFault) as refusal:
            raise await self._meaning(request, refusal.message, refusal.status) from refusal
        with closing(stream):
            chunk = await stream.read()
            if _NO_LOG.match(chunk):
                raise await self._meaning(request, chunk[:_LONGEST_MESSAGE].decode(errors="replace"), 500)
            while chunk:
                yield chunk
                chunk = await stream.read()

    async def _meaning(self, request: LogRequest, message: str, status: int) -> Exception:
        """The port's exception for a refusal."""
        no_log = status in {400, 500} and _NO_LOG.match(message.encode()) and not request.previous
        # A kubelet that has just started does not know its pods yet, and answers 404 as for a pod that is no more.
        if (no_log or status == 404) and await self._stays(request):
            return Unreachable(message)
        return _meaning(message, status)

    async def _stays(self, request: LogRequest) -> bool:
        """Whether the pod is there and not about to go: then its present container is kept, and its log comes back.

        If the API server does not answer either, nothing is proven and the fault is that.
        """
        query = [("fieldSelector", f"metadata.name={request.pod}")]
        pods = [parse.pod(raw) for raw in await list_all(self._client, "Pod", request.namespace, query)]
        return any(not pod.deleting for pod in pods)


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

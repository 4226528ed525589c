"""Which container logs of a pod to follow, and from where; pure.

A log belongs to one run of a container, `restart_count` says which. The kubelet keeps the present run and the one
before (`previous=true`), nothing older. While a crashed container waits to be started again, its status still counts
the dead run, and reads with and without `previous` both answer with that run's log (pkg/kubelet/kubelet_pods.go,
`validateContainerLogStatus`): of the run before it nothing can be had. It must not remember what was followed: that is
the collector's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto

from k8s_execution.domain.facts import ContainerFact, ContainerState, PodFact
from k8s_execution.domain.naming import AGENT_INIT_CONTAINER, COLLECTOR_CONTAINER
from k8s_execution.ports.logs import LogStream


class Source(Enum):
    """Where the log of a run can be had."""

    CURRENT = auto()
    PREVIOUS = auto()
    LOST = auto()


@dataclass(frozen=True, slots=True)
class Target:
    """One run of one container. `terminated`: it has ended, so its log grows no more.

    `restarts`: the pod may start the container again, so a read may answer with a later run's log. `started_at`: µs
    by the node's clock in whole seconds, of the present run only; `finished_at` the same, where it is known.
    """

    stream: LogStream
    namespace: str
    source: Source
    terminated: bool
    restarts: bool
    started_at: int | None = None
    finished_at: int | None = None


def targets(pod: PodFact) -> tuple[Target, ...]:
    """Every run of every container that has a log worth keeping, oldest run first; none where nothing has started."""
    return tuple(t for container in pod.containers for t in _runs(pod, container) if _wanted(pod, container))


def _wanted(pod: PodFact, container: ContainerFact) -> bool:
    """Our own containers in step pods are no user's stream; the agent's installation is one where it failed."""
    if not pod.step:
        return True
    if container.name == AGENT_INIT_CONTAINER:
        return bool(container.exit_code) or bool(container.last_exit_code)
    return container.name != COLLECTOR_CONTAINER


def _runs(pod: PodFact, container: ContainerFact) -> Iterator[Target]:
    ran = bool(container.container_id) or bool(container.last_container_id)
    if not ran and container.state is not ContainerState.RUNNING:
        return
    present = container.restart_count
    current = _target(pod, container, present)
    waits_again = container.state is ContainerState.WAITING
    if present > 0:
        for run in range(present - 1):
            yield replace(_target(pod, container, run), source=Source.LOST, terminated=True)
        before = _target(pod, container, present - 1)
        if waits_again:
            yield replace(before, source=Source.LOST, terminated=True)
        else:
            yield replace(before, source=Source.PREVIOUS, terminated=True, finished_at=container.last_finished_at)
    ended = waits_again or container.state is ContainerState.TERMINATED
    finished = container.last_finished_at if waits_again else container.finished_at
    yield replace(current, terminated=ended, started_at=container.started_at, finished_at=finished)


def _target(pod: PodFact, container: ContainerFact, run: int) -> Target:
    stream = LogStream(
        pod=pod.name,
        container=container.name,
        step=pod.step,
        step_kind=pod.step_kind,
        application=pod.application,
        attempt=pod.attempt,
        shard=pod.shard,
        restart=run,
    )
    return Target(stream, pod.namespace, Source.CURRENT, terminated=False, restarts=not pod.step)

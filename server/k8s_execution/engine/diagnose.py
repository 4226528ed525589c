"""What Kubernetes says, translated to a cause: facts and events in, a diagnosis or None out. Pure.

A diagnosis is given only when waiting is hopeless, so that a run fails in seconds and not at its timeout. Reasons are
those of the kubelet (pkg/kubelet/images/types.go, pkg/kubelet/container/sync_result.go), of the scheduler and of the
admission plug-ins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from k8s_execution.domain.facts import ContainerFact, ContainerState, DeploymentFact, EventFact, JobFact, PodFact
from k8s_execution.domain.verdict import Code, Diagnosis
from k8s_execution.engine.clocks import SECOND

UNSCHEDULABLE_PATIENCE = 60 * SECOND
CONFIG_PATIENCE = 5 * SECOND
ADMISSION_PATIENCE = 60 * SECOND
CRASHES = 3

_HOPELESS_PULL = re.compile(
    r"not found|manifest unknown|unauthorized|denied|no such host|network is unreachable|does not exist|cannot run"
    r"|no program|authentication",
    re.IGNORECASE,
)
_EVICTED = frozenset({"EvictionByEvictionAPI", "PreemptionByScheduler", "Preempting", "TerminationByKubelet"})
_NODE_LOST = frozenset(
    {"NodeLost", "NodeAffinity", "NodeShutdown", "Terminated", "DeletionByTaintManager", "DeletionByPodGC"}
)
"""Reasons of a pod's status (kubelet) and of its DisruptionTarget condition (core/v1, PodReason…)."""
_PASSING_REFUSAL = re.compile(r"status unknown for quota|error looking up service account|serviceaccount .* not found")


def of_pod(pod: PodFact, now: int) -> Diagnosis | None:
    """Why this pod will not get on, if so."""
    if (taken := of_loss(pod)) is not None:
        return taken
    if not pod.scheduled and pod.scheduling_message and now - pod.created_at >= UNSCHEDULABLE_PATIENCE:
        hint = "lower resources, or give the cluster room; a pod's requests must fit one node"
        return Diagnosis(Code.UNSCHEDULABLE, pod.scheduling_message, f"pod/{pod.name}", hint=hint)
    for container in pod.containers:
        if (found := of_container(pod, container, now)) is not None:
            return found
    return None


def of_loss(pod: PodFact) -> Diagnosis | None:
    """Why the cluster ended this pod as a whole, if it did; whatever its containers say then is a consequence."""
    where = f"pod/{pod.name}"
    if pod.reason == "Evicted":
        return Diagnosis(Code.EVICTED, pod.message or "the pod was evicted", where, hint="lower its use")
    if pod.reason in _EVICTED:
        hint = "was the node drained, or is the room needed by pods of a higher priority?"
        return Diagnosis(Code.EVICTED, f"{pod.reason}: {pod.message or 'the pod was evicted'}", where, hint=hint)
    if pod.reason in _NODE_LOST:
        return Diagnosis(Code.NODE_LOST, pod.message or f"the node was lost ({pod.reason})", where)
    return None


def of_container(pod: PodFact, container: ContainerFact, now: int) -> Diagnosis | None:
    """Why this container will not get on, if so."""
    where = f"pod/{pod.name} container {container.name}"
    if container.state is ContainerState.WAITING:
        return _of_waiting(pod, container, where, now)
    crashed = container.state is ContainerState.TERMINATED and container.restart_count >= CRASHES
    if crashed and container.exit_code:
        return _crash(container, where)
    return None


def _of_waiting(pod: PodFact, container: ContainerFact, where: str, now: int) -> Diagnosis | None:
    text = f"{container.image}: {container.message or container.reason}"
    match container.reason:
        case "InvalidImageName":
            return Diagnosis(Code.IMAGE_NAME, text, where, hint="write the image as registry/name:tag")
        case "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "RegistryUnavailable":
            hopeless = container.reason in {"ImagePullBackOff", "ErrImageNeverPull"}
            if hopeless or _HOPELESS_PULL.search(container.message):
                hint = "check the image's name and tag, and that the cluster may pull it"
                return Diagnosis(Code.IMAGE_PULL, text, where, hint=hint)
        case "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "StartError":
            return _of_config(pod, container, where, now)
        case "CrashLoopBackOff" if container.restart_count >= CRASHES - 1:
            return _crash(container, where)
    return None


def _of_config(pod: PodFact, container: ContainerFact, where: str, now: int) -> Diagnosis | None:
    message = container.message
    if "runAsNonRoot" in message or "run as root" in message:
        hint = "use an image with a numeric non-root USER, or set security.run_as_user"
        return Diagnosis(Code.RUNS_AS_ROOT, message, where, hint=hint)
    if re.search(r"executable file not found|no such file or directory|permission denied", message):
        return Diagnosis(Code.COMMAND_NOT_FOUND, message, where, hint="check command against the image")
    if now - pod.created_at >= CONFIG_PATIENCE:
        return Diagnosis(Code.CONFIG_ERROR, f"{container.reason}: {message}", where)
    return None


def _crash(container: ContainerFact, where: str) -> Diagnosis:
    reason = container.last_reason or container.reason
    code = container.last_exit_code if container.exit_code is None else container.exit_code
    if "OOMKilled" in {container.reason, container.last_reason}:
        return Diagnosis(Code.OUT_OF_MEMORY, f"killed for its memory limit {container.restart_count} times", where,
                         hint="raise resources.memory_limit")  # fmt: skip
    if "StartError" in {container.reason, container.last_reason} or reason == "ContainerCannotRun":
        return Diagnosis(Code.COMMAND_NOT_FOUND, container.message or reason, where,
                         hint="check command against the image")  # fmt: skip
    message = f"crashed {container.restart_count} times, last with exit code {code} ({reason})"
    return Diagnosis(Code.CRASH_LOOP, message, where, hint="see the container's log")


def of_refusal(message: str, where: str) -> Diagnosis:
    """A refusal by admission (quota, limits, Pod Security, others)."""
    if "exceeded quota" in message or "maximum cpu" in message or "maximum memory" in message:
        hint = "raise environment.quota, or lower resources, replicas or strategy.parallel"
        return Diagnosis(Code.QUOTA_EXCEEDED, message, where, hint=hint)
    return Diagnosis(Code.REFUSED, message, where, hint="the API server's message says which rule was broken")


def is_passing(message: str) -> bool:
    """Whether a refusal is one of the races of a fresh namespace, which heal by themselves."""
    return _PASSING_REFUSAL.search(message) is not None


def of_deployment(deployment: DeploymentFact, now: int) -> Diagnosis | None:
    """Why a Deployment gets no pods, if it says so."""
    message = deployment.failure_message
    if not message or (is_passing(message) and now - deployment.created_at < ADMISSION_PATIENCE):
        return None
    return of_refusal(message, f"deployment/{deployment.name}")


def of_job(job: JobFact, events: Sequence[EventFact], now: int) -> Diagnosis | None:
    """Why a Job has no pod, by the events about it."""
    for event in events:
        if event.involved_uid != job.uid or event.reason != "FailedCreate":
            continue
        if is_passing(event.message) and now - job.created_at < ADMISSION_PATIENCE:
            continue
        return of_refusal(event.message, f"job/{job.name}")
    return None

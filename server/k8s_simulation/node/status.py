"""A pod's status from what the node knows: phase, conditions, container statuses.

Pure: no clock, no I/O. Rules are kubelet's (pkg/kubelet/kubelet_pods.go getPhase, pkg/kubelet/status/generate.go).
"""

from __future__ import annotations

from typing import Any

from k8s_simulation.node.runtime import (
    Kind,
    PodFacts,
    Record,
    Running,
    Terminated,
    Waiting,
    state_object,
    timestamp,
)

Condition = dict[str, Any]


def phase(facts: PodFacts) -> str:
    """Pending, Running, Succeeded or Failed."""
    if facts.verdict is not None:
        return "Failed"
    inits, mains = facts.of(Kind.INIT), facts.of(Kind.MAIN)
    for record in inits:
        if not isinstance(record.state, Terminated):
            return "Failed" if facts.terminating and _failed_before(record) else "Pending"
        if record.state.exit_code != 0:
            return "Failed" if facts.restart_policy == "Never" or facts.terminating else "Pending"
    ended = [r for r in mains if isinstance(r.state, Terminated)]
    waiting = [r for r in mains if isinstance(r.state, Waiting) and r.last is None]
    if waiting:
        return "Pending"
    sidecars_run = any(isinstance(r.state, Running) for r in facts.of(Kind.SIDECAR))
    if len(ended) < len(mains) or not mains or sidecars_run:
        return "Running"
    failed = any(not r.succeeded for r in ended)
    if facts.terminating or facts.restart_policy == "Never":
        return "Failed" if failed else "Succeeded"
    if facts.restart_policy == "Always":
        return "Running"
    return "Running" if failed else "Succeeded"


def _failed_before(record: Record) -> bool:
    return isinstance(record.state, Waiting) and record.last is not None and record.last.exit_code != 0


def container_status(record: Record, resources: dict[str, Any]) -> dict[str, Any]:
    """One ContainerStatus; `resources` are those of its spec, told once it was made."""
    succeeded_init = record.kind is Kind.INIT and record.succeeded
    status: dict[str, Any] = {
        "name": record.name,
        "state": state_object(record.state),
        "lastState": state_object(record.last) if record.last is not None else {},
        "ready": record.ready or succeeded_init,
        "started": record.started and isinstance(record.state, Running),
        "restartCount": record.restarts,
        "image": record.image,
        "imageID": record.image_id,
    }
    if record.container_id:
        status["containerID"] = record.container_id
        if resources:
            status["resources"] = resources
        if requests := resources.get("requests"):
            status["allocatedResources"] = requests
    return status


def _condition(kind: str, reason: str = "", message: str = "") -> Condition:
    """True without a reason, False with one."""
    if not reason:
        return {"type": kind, "status": "True"}
    return {"type": kind, "status": "False", "reason": reason} | ({"message": message} if message else {})


def _initialized(facts: PodFacts, now_phase: str) -> Condition:
    if facts.initialized:
        return (
            _condition("Initialized", "PodCompleted") | {"status": "True"}
            if now_phase == "Succeeded"
            else _condition("Initialized")
        )
    left = [r.name for r in facts.of(Kind.INIT, Kind.SIDECAR) if not (r.succeeded or r.started)]
    return _condition(
        "Initialized", "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(left)}]"
    )


def _ready(kind: str, facts: PodFacts, now_phase: str) -> Condition:
    if now_phase == "Succeeded":
        return _condition(kind, "PodCompleted")
    if now_phase == "Failed":
        return _condition(kind, "PodFailed")
    unready = [r.name for r in facts.of(Kind.SIDECAR, Kind.MAIN) if not r.ready]
    if unready:
        return _condition(kind, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    return _condition(kind)


def _gated(ready: Condition, pod: dict[str, Any]) -> Condition:
    """The Ready condition, held back by readiness gates that are not yet true."""
    if ready["status"] != "True":
        return ready
    true = {c["type"] for c in (pod.get("status") or {}).get("conditions") or [] if c.get("status") == "True"}
    for gate in pod["spec"].get("readinessGates") or []:
        if (name := gate["conditionType"]) not in true:
            return _condition(
                "Ready",
                "ReadinessGatesNotReady",
                f'corresponding condition of pod readiness gate "{name}" does not exist.',
            )
    return ready


def pod_status(facts: PodFacts, pod: dict[str, Any], previous: dict[str, Any], now: float) -> dict[str, Any]:
    """The whole status to report.

    `previous` is the last reported status: a condition keeps its transition time while its status stays. `now` is in
    seconds since the epoch.
    """
    current, generation = phase(facts), (pod.get("metadata") or {}).get("generation", 1)
    conditions = [
        _condition("PodReadyToStartContainers", "" if facts.network_ready else "PodNotReadyToStart"),
        _initialized(facts, current),
        _gated(_ready("Ready", facts, current), pod),
        _ready("ContainersReady", facts, current),
        _condition("PodScheduled"),
    ]
    if conditions[0]["status"] == "False":
        conditions[0].pop("reason")
    if facts.verdict is not None and facts.verdict[0] == "Evicted":
        target = _condition("DisruptionTarget", "TerminationByKubelet", facts.verdict[1])
        conditions.append(target | {"status": "True"})
    before = {c["type"]: c for c in previous.get("conditions") or []}
    for condition in conditions:
        old = before.get(condition["type"])
        same = old is not None and old["status"] == condition["status"]
        # A strategic merge keeps what is not named: null takes an old reason or message away.
        condition.update({k: None for k in ("reason", "message") if k not in condition})
        condition |= {"observedGeneration": generation}
        condition["lastTransitionTime"] = old["lastTransitionTime"] if same and old else timestamp(now)
    spec = pod["spec"]
    resources = {
        c["name"]: c.get("resources") or {} for c in [*(spec.get("initContainers") or []), *spec["containers"]]
    }

    def told(*kinds: Kind) -> list[dict[str, Any]]:
        return [container_status(r, resources.get(r.name, {})) for r in facts.of(*kinds)]

    status: dict[str, Any] = {
        "phase": current,
        "observedGeneration": generation,
        "conditions": conditions,
        "$setElementOrder/conditions": [{"type": c["type"]} for c in conditions],
        "hostIP": facts.host_ip,
        "hostIPs": [{"ip": facts.host_ip}],
        "startTime": timestamp(facts.start_time),
        "initContainerStatuses": told(Kind.INIT, Kind.SIDECAR),
        "containerStatuses": told(Kind.MAIN),
        "qosClass": quality_of_service(pod),
    }
    if not status["initContainerStatuses"]:
        del status["initContainerStatuses"]
    if facts.pod_ip:
        status |= {"podIP": facts.pod_ip, "podIPs": [{"ip": facts.pod_ip}]}
    if facts.verdict is not None:
        status |= {"reason": facts.verdict[0], "message": facts.verdict[1]}
    return status


def quality_of_service(pod: dict[str, Any]) -> str:
    """Guaranteed, Burstable or BestEffort (pkg/apis/core/v1/helper/qos)."""
    spec = pod["spec"]
    resources = [c.get("resources") or {} for c in [*(spec.get("initContainers") or []), *spec["containers"]]]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    for resource in resources:
        limits, requests = resource.get("limits") or {}, resource.get("requests") or {}
        for name in ("cpu", "memory"):
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                return "Burstable"
    return "Guaranteed"

"""The cells of a pod in `kubectl get pods`: above all its STATUS, which is no field but a story.

Follows printPod in pkg/printers/internalversion/printers.go. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from k8s_simulation.api.objects import Object, meta, name_of, seconds_of, spec_of, status_of


def pod_cells(obj: Object, age: str, duration: Callable[[float], str], now: float) -> list[Any]:
    """Name, ready, status, restarts, age, and the columns of the wide output."""
    status, spec = status_of(obj), spec_of(obj)
    containers = status.get("containerStatuses") or []
    ready = sum(bool(c.get("ready")) for c in containers)
    restarts = sum(int(c.get("restartCount") or 0) for c in containers)
    last = max((seconds_of(_ended(c)) or 0.0 for c in containers), default=0.0)
    restarts_text = f"{restarts} ({duration(now - last)} ago)" if restarts and last else str(restarts)
    wide = [status.get("podIP") or "<none>", spec.get("nodeName") or "<none>", "<none>", "<none>"]
    count = f"{ready}/{len(spec.get('containers') or [])}"
    return [name_of(obj), count, _story(obj), restarts_text, age, *wide]


def _ended(container: Object) -> str | None:
    terminated = (container.get("lastState") or {}).get("terminated") or {}
    return terminated.get("finishedAt")


def _story(obj: Object) -> str:
    status = status_of(obj)
    reason = str(status.get("reason") or status.get("phase") or "")
    initializing = _init_story(obj)
    reason = initializing or _containers_story(status, reason)
    if meta(obj).get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        return reason if status.get("phase") in {"Succeeded", "Failed"} else "Terminating"
    return reason


def _init_story(obj: Object) -> str:
    """What the first unfinished init container is doing; the empty string when all are done."""
    sidecars = {c["name"] for c in spec_of(obj).get("initContainers") or [] if c.get("restartPolicy") == "Always"}
    total = len(spec_of(obj).get("initContainers") or [])
    for index, container in enumerate(status_of(obj).get("initContainerStatuses") or []):
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated and terminated.get("exitCode") == 0:
            continue
        if container.get("name") in sidecars and container.get("started"):
            continue
        if terminated:
            return f"Init:{_terminated(terminated)}"
        if waiting and waiting.get("reason") not in {None, "", "PodInitializing"}:
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{total}"
    return ""


def _containers_story(status: Object, reason: str) -> str:
    running = False
    for container in reversed(status.get("containerStatuses") or []):
        state = container.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            reason = state["waiting"]["reason"]
        elif state.get("terminated"):
            reason = _terminated(state["terminated"])
        elif container.get("ready") and state.get("running") is not None:
            running = True
    if reason == "Completed" and running:
        ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or [])
        return "Running" if ready else "NotReady"
    return reason


def _terminated(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"

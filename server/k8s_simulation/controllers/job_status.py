"""The status of a Job as its controller writes it. Pure; apart from the rules since it only renders their findings."""

from __future__ import annotations

from k8s_simulation.api.objects import Object, clone, spec_of, status_of
from k8s_simulation.controllers.job_rules import Tally, Verdict, render_indexes


def job_status(job: Object, counted: Tally, held: dict[str, list[str]], now: str) -> Object:
    """Counts, start time, conditions so far."""
    before = status_of(job)
    status: Object = {
        "active": len(counted.active),
        "ready": counted.ready,
        "terminating": len(counted.terminating),
        "succeeded": counted.succeeded - len(held["succeeded"]),
        "failed": counted.failed - len(held["failed"]),
    }
    status = {k: v for k, v in status.items() if v or k in {"ready", "terminating"}}
    status["uncountedTerminatedPods"] = {k: v for k, v in held.items() if v}
    if before.get("startTime") or not spec_of(job).get("suspend"):
        status["startTime"] = before.get("startTime") or now
    if counted.completed_indexes:
        status["completedIndexes"] = render_indexes(counted.completed_indexes)
    conditions = clone(before.get("conditions") or [])
    _suspended(conditions, bool(spec_of(job).get("suspend")), now)
    if conditions:
        status["conditions"] = conditions
    return status


def _suspended(conditions: list[Object], suspended: bool, now: str) -> None:
    present = next((c for c in conditions if c["type"] == "Suspended"), None)
    if present is None and not suspended:
        return
    wanted = "True" if suspended else "False"
    if present is not None and present["status"] == wanted:
        return
    if present is not None:
        conditions.remove(present)
    word = "suspended" if suspended else "resumed"
    conditions.append(_condition("Suspended", wanted, (f"Job{word.capitalize()}", f"Job {word}"), now))


def add_verdict(status: Object, verdict: Verdict, now: str, *, over: bool) -> None:
    """The condition that announces the end, and, when no pod is left, the one that is the end."""
    conditions: list[Object] = status.setdefault("conditions", [])
    kinds = ("SuccessCriteriaMet", "Complete") if verdict.succeeded else ("FailureTarget", "Failed")
    for kind in kinds if over else kinds[:1]:
        if not any(c["type"] == kind for c in conditions):
            conditions.append(_condition(kind, "True", (verdict.reason, verdict.message), now))
    if over and verdict.succeeded:
        status["completionTime"] = now


def _condition(kind: str, status: str, words: tuple[str, str], now: str) -> Object:
    return {
        "type": kind,
        "status": status,
        "lastProbeTime": now,
        "lastTransitionTime": now,
        "reason": words[0],
        "message": words[1],
    }

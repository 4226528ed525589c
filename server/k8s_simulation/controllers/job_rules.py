"""What a Job's pods add up to, and whether that ends it: counting and judging, without writing anything. Pure.

After syncJob in pkg/controller/job/job_controller.go, backoff_utils.go and pod_failure_policy.go.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from k8s_simulation.api.objects import (
    Object,
    condition,
    is_deleting,
    is_ready,
    meta,
    name_of,
    namespace_of,
    seconds_of,
    spec_of,
    status_of,
)

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
_FIRST_BACKOFF, _LAST_BACKOFF = 10.0, 600.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a Job ends."""

    succeeded: bool
    reason: str
    message: str


REACHED = Verdict(True, "CompletionsReached", "Reached expected number of succeeded pods")
BACKOFF = Verdict(False, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
DEADLINE = Verdict(False, "DeadlineExceeded", "Job was active longer than specified deadline")


@dataclass(slots=True)
class Tally:
    """The pods of a Job by what they are, and the totals. `new_*` have ended and still carry the finalizer."""

    active: list[Object] = field(default_factory=list)
    terminating: list[Object] = field(default_factory=list)
    new_succeeded: list[Object] = field(default_factory=list)
    new_failed: list[Object] = field(default_factory=list)
    ignored: list[Object] = field(default_factory=list)
    succeeded: int = 0
    failed: int = 0
    last_failure: float = 0.0
    failed_by_rule: str = ""
    completed_indexes: set[int] = field(default_factory=set)

    @property
    def ready(self) -> int:
        """Active pods that are Ready."""
        return sum(is_ready(p) for p in self.active)

    def wanted(self, job: Object) -> int:
        """How many pods should be active now."""
        spec = spec_of(job)
        parallelism, completions = int(spec.get("parallelism") or 0), spec.get("completions")
        if completions is None:
            return len(self.active) if self.succeeded else parallelism
        return min(parallelism, max(int(completions) - self.succeeded, 0))

    def backoff(self, now: float) -> float:
        """Seconds until the next pod may be made after a failure: 10 s, doubled for each further failure."""
        if not self.failed:
            return 0.0
        delay = min(_FIRST_BACKOFF * 2.0 ** (self.failed - 1), _LAST_BACKOFF)
        return max(self.last_failure + delay - now, 0.0)

    def free_indexes(self, job: Object) -> list[int]:
        """Indexes without an active or succeeded pod; empty for Jobs without indexes."""
        spec = spec_of(job)
        if spec.get("completionMode") != "Indexed":
            return []
        taken = {index_of(p) for p in self.active} | self.completed_indexes
        return [i for i in range(int(spec.get("completions") or 0)) if i not in taken]


def index_of(pod: Object) -> int:
    """The completion index of a pod, -1 without one."""
    text = str((meta(pod).get("annotations") or {}).get(INDEX, "-1"))
    return int(text) if text.lstrip("-").isdigit() else -1


def tally(job: Object, pods: list[Object]) -> Tally:
    """Sort and count."""
    status = status_of(job)
    found = Tally(succeeded=int(status.get("succeeded") or 0), failed=int(status.get("failed") or 0))
    found.completed_indexes = parse_indexes(str(status.get("completedIndexes") or ""))
    for pod in pods:
        _sort(job, pod, found)
    found.succeeded += len(found.new_succeeded)
    found.failed += len(found.new_failed)
    if spec_of(job).get("completionMode") == "Indexed":
        found.completed_indexes |= {index_of(p) for p in found.new_succeeded}
        found.succeeded = len(found.completed_indexes)
    return found


def _sort(job: Object, pod: Object, found: Tally) -> None:
    uncounted = FINALIZER in (meta(pod).get("finalizers") or [])
    if status_of(pod).get("phase") == "Succeeded":
        if uncounted:
            found.new_succeeded.append(pod)
    elif _has_failed(job, pod):
        found.last_failure = max(found.last_failure, _ended(pod))
        action, message = failure_rule(job, pod)
        if action == "FailJob":
            found.failed_by_rule = found.failed_by_rule or message
        if uncounted:
            (found.ignored if action == "Ignore" else found.new_failed).append(pod)
    elif is_deleting(pod):
        found.terminating.append(pod)
    else:
        found.active.append(pod)


def _has_failed(job: Object, pod: Object) -> bool:
    if status_of(pod).get("phase") == "Failed":
        return True
    if not is_deleting(pod):
        return False
    # with podReplacementPolicy Failed a pod counts once its node is done with it; else as soon as it is being deleted
    waits = spec_of(job).get("podReplacementPolicy") == "Failed"
    return not waits or meta(pod).get("deletionGracePeriodSeconds") == 0


def _ended(pod: Object) -> float:
    ends = [
        seconds_of(((c.get("state") or {}).get("terminated") or {}).get("finishedAt")) or 0.0
        for c in status_of(pod).get("containerStatuses") or []
    ]
    return max(ends, default=0.0) or seconds_of(meta(pod).get("deletionTimestamp")) or 0.0


def failure_rule(job: Object, pod: Object) -> tuple[str, str]:
    """The action of the first podFailurePolicy rule that matches this failed pod, and its words; Count without one."""
    rules = (spec_of(job).get("podFailurePolicy") or {}).get("rules") or []
    for number, rule in enumerate(rules):
        message = _rule_matches(rule, pod)
        if message:
            action = str(rule.get("action"))
            return action, f"{message} matching {action} rule at index {number}"
    return "Count", ""


def _rule_matches(rule: Object, pod: Object) -> str:
    where = f"{namespace_of(pod)}/{name_of(pod)}"
    for wanted in rule.get("onPodConditions") or []:
        found = condition(pod, str(wanted.get("type")))
        if found is not None and found.get("status") == wanted.get("status", "True"):
            return f"Pod {where} has condition {wanted.get('type')}"
    codes = rule.get("onExitCodes")
    if not codes:
        return ""
    for container in status_of(pod).get("containerStatuses") or []:
        code = ((container.get("state") or {}).get("terminated") or {}).get("exitCode")
        name = container.get("name")
        if not code or codes.get("containerName", name) != name:
            continue
        if (code in (codes.get("values") or [])) is (codes.get("operator") == "In"):
            return f"Container {name} for pod {where} failed with exit code {code}"
    return ""


def judge(job: Object, counted: Tally, now: float) -> Verdict | None:
    """Why the Job ends, or None while it goes on. A verdict once written stays."""
    for kind, succeeded in (("FailureTarget", False), ("SuccessCriteriaMet", True)):
        given = condition(job, kind)
        if given is not None and given.get("status") == "True":
            return Verdict(succeeded, str(given.get("reason")), str(given.get("message")))
    spec = spec_of(job)
    if counted.failed_by_rule:
        return Verdict(False, "PodFailurePolicy", counted.failed_by_rule)
    limit = int(spec.get("backoffLimit", 6))
    if counted.failed > limit or _restarts_exceed(spec, counted, limit):
        return BACKOFF
    started = seconds_of(status_of(job).get("startTime"))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and started and not spec.get("suspend") and now - started >= float(deadline):
        return DEADLINE
    completions = spec.get("completions")
    if completions is None:
        return REACHED if counted.succeeded and not counted.active else None
    return REACHED if counted.succeeded >= int(completions) else None


def _restarts_exceed(spec: Object, counted: Tally, limit: int) -> bool:
    if spec_of(spec.get("template") or {}).get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(
        int(c.get("restartCount") or 0)
        for p in counted.active
        for c in [*(status_of(p).get("initContainerStatuses") or []), *(status_of(p).get("containerStatuses") or [])]
    )
    return restarts > 0 if limit == 0 else restarts >= limit


def parse_indexes(text: str) -> set[int]:
    """`0,2-4` as a set."""
    found: set[int] = set()
    for part in text.split(",") if text else []:
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def render_indexes(indexes: set[int]) -> str:
    """A set as `0,2-4`."""
    parts: list[list[int]] = []
    for number in sorted(indexes):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)

"""Verdicts and diagnoses: who or what decided how an execution ended, and why.

Only what the user's tests say is PASSED or TESTS_FAILED (docs/contract). It must not look at Kubernetes: reasons are
translated to diagnoses in `engine.diagnose`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How an execution or a step ended."""

    PASSED = "PASSED"
    TESTS_FAILED = "TESTS_FAILED"
    PLAN_FAILED = "PLAN_FAILED"
    APPLICATION_FAILED = "APPLICATION_FAILED"
    ENVIRONMENT_FAILED = "ENVIRONMENT_FAILED"
    INFRASTRUCTURE_FAILED = "INFRASTRUCTURE_FAILED"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"


class Code(StrEnum):
    """The kinds of cause. An open set: callers must accept codes they do not know."""

    IMAGE_PULL = "IMAGE_PULL"
    IMAGE_NAME = "IMAGE_NAME"
    RUNS_AS_ROOT = "RUNS_AS_ROOT"
    UNSCHEDULABLE = "UNSCHEDULABLE"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    CRASH_LOOP = "CRASH_LOOP"
    NEVER_READY = "NEVER_READY"
    CONFIG_ERROR = "CONFIG_ERROR"
    EVICTED = "EVICTED"
    NODE_LOST = "NODE_LOST"
    INSTALL_FAILED = "INSTALL_FAILED"
    COMMAND_NOT_FOUND = "COMMAND_NOT_FOUND"
    NO_TESTS = "NO_TESTS"
    REPORT_MISSING = "REPORT_MISSING"
    SETUP_FAILED = "SETUP_FAILED"
    TEARDOWN_FAILED = "TEARDOWN_FAILED"
    SOURCE_FAILED = "SOURCE_FAILED"
    TESTS_FAILED = "TESTS_FAILED"
    TESTS_BROKEN = "TESTS_BROKEN"
    TIMEOUT_QUEUE = "TIMEOUT_QUEUE"
    TIMEOUT_PROVISIONING = "TIMEOUT_PROVISIONING"
    TIMEOUT_TESTS = "TIMEOUT_TESTS"
    TTL = "TTL"
    CLEANUP_BLOCKED = "CLEANUP_BLOCKED"
    CANCELLED_BY_USER = "CANCELLED_BY_USER"
    CLUSTER_LOST = "CLUSTER_LOST"
    NAMESPACE_LOST = "NAMESPACE_LOST"
    POD_LOST = "POD_LOST"
    REFUSED = "REFUSED"


VERDICT_OF: dict[Code, Verdict] = {
    Code.IMAGE_PULL: Verdict.ENVIRONMENT_FAILED,
    Code.IMAGE_NAME: Verdict.ENVIRONMENT_FAILED,
    Code.RUNS_AS_ROOT: Verdict.ENVIRONMENT_FAILED,
    Code.UNSCHEDULABLE: Verdict.ENVIRONMENT_FAILED,
    Code.QUOTA_EXCEEDED: Verdict.ENVIRONMENT_FAILED,
    Code.OUT_OF_MEMORY: Verdict.ENVIRONMENT_FAILED,
    Code.NEVER_READY: Verdict.ENVIRONMENT_FAILED,
    Code.CONFIG_ERROR: Verdict.ENVIRONMENT_FAILED,
    Code.REFUSED: Verdict.ENVIRONMENT_FAILED,
    Code.CRASH_LOOP: Verdict.APPLICATION_FAILED,
    Code.SETUP_FAILED: Verdict.APPLICATION_FAILED,
    Code.TEARDOWN_FAILED: Verdict.APPLICATION_FAILED,
    Code.EVICTED: Verdict.INFRASTRUCTURE_FAILED,
    Code.NODE_LOST: Verdict.INFRASTRUCTURE_FAILED,
    Code.CLUSTER_LOST: Verdict.INFRASTRUCTURE_FAILED,
    Code.NAMESPACE_LOST: Verdict.INFRASTRUCTURE_FAILED,
    Code.POD_LOST: Verdict.INFRASTRUCTURE_FAILED,
    Code.SOURCE_FAILED: Verdict.INFRASTRUCTURE_FAILED,
    Code.INSTALL_FAILED: Verdict.PLAN_FAILED,
    Code.COMMAND_NOT_FOUND: Verdict.PLAN_FAILED,
    Code.NO_TESTS: Verdict.PLAN_FAILED,
    Code.REPORT_MISSING: Verdict.PLAN_FAILED,
    Code.TESTS_BROKEN: Verdict.PLAN_FAILED,
    Code.TESTS_FAILED: Verdict.TESTS_FAILED,
    Code.TIMEOUT_QUEUE: Verdict.TIMED_OUT,
    Code.TIMEOUT_PROVISIONING: Verdict.TIMED_OUT,
    Code.TIMEOUT_TESTS: Verdict.TIMED_OUT,
    Code.TTL: Verdict.TIMED_OUT,
    Code.CANCELLED_BY_USER: Verdict.CANCELLED,
    Code.CLEANUP_BLOCKED: Verdict.INFRASTRUCTURE_FAILED,
}
"""Which verdict a cause leads to."""

RETRYABLE: frozenset[Code] = frozenset(
    {Code.EVICTED, Code.NODE_LOST, Code.CLUSTER_LOST, Code.NAMESPACE_LOST, Code.POD_LOST, Code.UNSCHEDULABLE,
     Code.TIMEOUT_QUEUE, Code.SOURCE_FAILED}
)  # fmt: skip
"""Causes that the same request may not meet again."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The structured cause behind a verdict that is not PASSED.

    `object` names the Kubernetes object or step, `excerpt` is a piece of evidence (log tail, event text), `hint`
    says what the caller can do.
    """

    code: Code
    message: str
    object: str = ""
    excerpt: str = ""
    hint: str = ""

    @property
    def retryable(self) -> bool:
        """Whether running the same request again may end differently."""
        return self.code in RETRYABLE

    @property
    def verdict(self) -> Verdict:
        """The verdict that this cause leads to."""
        return VERDICT_OF[self.code]

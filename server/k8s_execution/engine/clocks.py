"""The clocks of an execution: queue, provisioning, tests, TTL; each has its own limit and diagnosis. Pure.

All times are µs of the store's clock. The TTL starts when the namespace is created and reserves time for teardown and
collection, so that evidence is kept before the environment must go.
"""

from __future__ import annotations

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.quantity import format_duration
from k8s_execution.domain.verdict import Code, Diagnosis

MILLISECOND = 1_000
SECOND = 1_000_000
COLLECTION_RESERVE = 30 * SECOND


def queue_deadline(execution: Execution) -> int:
    """When waiting in the queue ends."""
    return execution.created_at + execution.specification.policy.queue_timeout_ms * MILLISECOND


def provisioning_deadline(execution: Execution) -> int:
    """When provisioning ends."""
    start = execution.entered.get(Phase.PROVISIONING, execution.created_at)
    return start + execution.specification.policy.provisioning_timeout_ms * MILLISECOND


def tests_deadline(execution: Execution) -> int:
    """When hooks and suites together end; counted from SETUP."""
    start = execution.entered.get(Phase.SETUP, execution.created_at)
    return start + execution.specification.policy.timeout_ms * MILLISECOND


def teardown_deadline(execution: Execution) -> int:
    """When teardown ends: its own limit, but never later than collection needs before the TTL."""
    start = execution.entered.get(Phase.TEARDOWN, execution.created_at)
    own = start + execution.specification.policy.teardown_timeout_ms * MILLISECOND
    return own if execution.expires_at is None else min(own, execution.expires_at - COLLECTION_RESERVE // 2)


def ttl_deadline(execution: Execution) -> int | None:
    """When a running execution must turn to teardown: TTL less the reserve; None before there is a namespace."""
    if execution.expires_at is None:
        return None
    policy = execution.specification.policy
    ttl = policy.ttl_ms * MILLISECOND
    teardown = policy.teardown_timeout_ms * MILLISECOND if execution.specification.test_plan.teardown else 0
    return execution.expires_at - min(COLLECTION_RESERVE + teardown, ttl // 4)


def deadline(execution: Execution) -> int | None:
    """The earliest limit that counts in the present phase, None where none does."""
    match execution.phase:
        case Phase.QUEUED:
            return queue_deadline(execution)
        case Phase.PROVISIONING:
            limits = [provisioning_deadline(execution)]
        case Phase.SETUP | Phase.TESTING:
            limits = [tests_deadline(execution)]
        case Phase.TEARDOWN:
            return teardown_deadline(execution)
        case _:
            return None
    ttl = ttl_deadline(execution)
    return min([*limits, ttl] if ttl is not None else limits)


def overrun(execution: Execution, now: int) -> Diagnosis | None:
    """The diagnosis of the clock that ran out, if one did; provisioning is named more closely by `diagnose`."""
    policy = execution.specification.policy
    ttl = ttl_deadline(execution)
    if execution.phase is Phase.QUEUED and now >= queue_deadline(execution):
        limit = format_duration(policy.queue_timeout_ms)
        hint = "raise policy.queue_timeout, or let fewer executions run at once"
        return Diagnosis(Code.TIMEOUT_QUEUE, f"waited in the queue for {limit} (policy.queue_timeout)", hint=hint)
    if ttl is not None and now >= ttl:
        limit = format_duration(policy.ttl_ms)
        hint = "raise policy.ttl, which also covers teardown and collection"
        return Diagnosis(Code.TTL, f"the environment's life of {limit} (policy.ttl) is used up", hint=hint)
    if execution.phase is Phase.PROVISIONING and now >= provisioning_deadline(execution):
        limit = format_duration(policy.provisioning_timeout_ms)
        hint = "raise policy.provisioning_timeout, or look at what is not ready"
        message = f"the environment was not ready within {limit} (policy.provisioning_timeout)"
        return Diagnosis(Code.TIMEOUT_PROVISIONING, message, hint=hint)
    if execution.phase in {Phase.SETUP, Phase.TESTING} and now >= tests_deadline(execution):
        limit = format_duration(policy.timeout_ms)
        message = f"hooks and suites ran longer than {limit} (policy.timeout)"
        return Diagnosis(Code.TIMEOUT_TESTS, message, hint="raise policy.timeout, or split the suites")
    return None

"""What the exit codes of the command line mean.

They are part of the contract: scripts and CI jobs branch on them. Apart from the commands, so that `run` and `wait`
cannot disagree. It must not print or exit itself.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit code of every command; the verdicts are those of `run` and `wait`."""

    PASSED = 0
    TESTS_FAILED = 1
    USAGE = 2
    ENVIRONMENT_FAILED = 3
    TIMED_OUT = 4
    CANCELLED = 5
    SERVICE = 6
    APPLICATION_FAILED = 7
    INFRASTRUCTURE_FAILED = 8
    PLAN_FAILED = 9
    DEFECT = 70
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


REFUSALS = frozenset(
    {
        "VALIDATION_FAILED",
        "EXECUTION_NOT_FOUND",
        "IDEMPOTENCY_CONFLICT",
        "CURSOR_INVALID",
        "CURSOR_EXPIRED",
        "TOO_LARGE",
    }
)
"""Reasons of the service that the caller's request is to blame for."""


def of_verdict(verdict: str, flaky: int = 0, *, fail_on_flaky: bool = False) -> ExitCode:
    """The exit code of a verdict's name; an unknown or missing verdict is a defect.

    `flaky` is the count of flaky test cases, which `fail_on_flaky` turns from a pass into TESTS_FAILED.
    """
    if verdict == "PASSED":
        return ExitCode.TESTS_FAILED if fail_on_flaky and flaky else ExitCode.PASSED
    try:
        return ExitCode[verdict]
    except KeyError:
        return ExitCode.DEFECT


def of_reason(reason: str, code: str) -> ExitCode:
    """The exit code of a refused call: `reason` of its ErrorInfo (may be empty), `code` of gRPC by name."""
    if reason in REFUSALS or code in {"INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "ALREADY_EXISTS"}:
        return ExitCode.USAGE
    return ExitCode.DEFECT if code in {"INTERNAL", "UNKNOWN", "DATA_LOSS"} else ExitCode.SERVICE

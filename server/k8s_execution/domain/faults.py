"""The faults that callers meet, drawn as one tree, with the reason each carries on every wire.

    Fault
    ├── ValidationFailed      all problems of a request at once        VALIDATION_FAILED
    ├── NotFound              no such execution, bundle, artifact      EXECUTION_NOT_FOUND
    ├── IdempotencyConflict   same key, other body                     IDEMPOTENCY_CONFLICT
    ├── CursorInvalid         a cursor that is not ours or was altered CURSOR_INVALID
    ├── CursorExpired         its position is no longer kept           CURSOR_EXPIRED
    ├── QueueFull             too many executions wait                 QUEUE_FULL
    ├── HoldsFull             too many environments are held           HOLDS_FULL
    ├── TooLarge              over a stated size                       TOO_LARGE
    ├── FailedPrecondition    not possible in this state               FAILED_PRECONDITION
    ├── ClusterUnavailable    the cluster does not answer              CLUSTER_UNAVAILABLE
    ├── StoreUnavailable      the store does not answer                STORE_UNAVAILABLE
    └── Stale                 another owner or writer was first        (never leaves the engine)

Problems of a *plan* are data (`Problem`); faults are exceptions. Only classes that someone catches exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a request: field path, the value (cut), the rule broken, and the way out."""

    field: str
    value: str
    rule: str
    message: str
    hint: str = ""


class Fault(Exception):
    """Something a caller must be told; `reason` is the wire's word for it, `hint` the way out.

    `problems` are the fields of the request that it is about, if any.
    """

    reason = "INTERNAL"

    def __init__(self, message: str, hint: str = "", *, problems: Sequence[Problem] = ()) -> None:
        """Hold the message; it may be shown to callers, so it names no secret and no internals."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.problems = tuple(problems)


class ValidationFailed(Fault):
    """The request breaks rules; all of them are in `problems`."""

    reason = "VALIDATION_FAILED"

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Hold every problem; the message names the first."""
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{first.field}: {first.message}{more}", first.hint, problems=problems)


class NotFound(Fault):
    """There is no such thing, or it is not the caller's."""

    reason = "EXECUTION_NOT_FOUND"


class IdempotencyConflict(Fault):
    """The idempotency key was used before for another body."""

    reason = "IDEMPOTENCY_CONFLICT"


class CursorInvalid(Fault):
    """The cursor or page token is not one of ours, or belongs to something else."""

    reason = "CURSOR_INVALID"


class CursorExpired(Fault):
    """The position is no longer kept."""

    reason = "CURSOR_EXPIRED"


class QueueFull(Fault):
    """Too many executions wait already."""

    reason = "QUEUE_FULL"


class HoldsFull(Fault):
    """The plan wants its environment held, and no more may be held now."""

    reason = "HOLDS_FULL"

    def __init__(self, problem: Problem) -> None:
        """Hold the problem, which names the field that asks for it."""
        super().__init__(f"{problem.field}: {problem.message}", problem.hint, problems=(problem,))


class TooLarge(Fault):
    """Over a stated size."""

    reason = "TOO_LARGE"


class FailedPrecondition(Fault):
    """Not possible in the present state."""

    reason = "FAILED_PRECONDITION"


class ClusterUnavailable(Fault):
    """The Kubernetes API does not answer or refuses us altogether."""

    reason = "CLUSTER_UNAVAILABLE"


class StoreUnavailable(Fault):
    """The store does not answer."""

    reason = "STORE_UNAVAILABLE"


class Stale(Exception):
    """A write lost against another owner (epoch) or another write (revision); read again and decide again."""

"""Faults as google.rpc.Status: the one table from a fault's class to a code, and the details that go with it.

Pure. Every transport answers faults through here; what is no fault is an incident, which `transports.incidents` logs
and of which nothing leaves but its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from k8s_execution.domain import faults
from k8s_execution.domain.faults import Fault, Problem
from k8s_execution.ports.cluster import Unreachable

DOMAIN = "k8s-execution.maestro"
DETAILS_BYTES = 5_000
"""How large a status may be. It travels as one trailing header in base64 (a third more), and gRPC clients refuse
headers of more than 8 KiB in all unless told otherwise (GRPC_ARG_MAX_METADATA_SIZE)."""

MESSAGE_CHARACTERS = 400


class Stopping(Fault):
    """This replica is being stopped and ended the call; another one, or this one later, goes on from the cursor."""

    reason = "STOPPING"


class ReaderStuck(Fault):
    """The caller did not read its stream; it may go on from its cursor."""

    reason = "READER_STUCK"


@dataclass(frozen=True, slots=True)
class Row:
    """How a class of faults is answered. `retry` is seconds until the same call is worth sending again, 0 for never."""

    code: code_pb2.Code.ValueType
    retry: float = 0.0


CODES: dict[type[Exception], Row] = {
    faults.ValidationFailed: Row(code_pb2.INVALID_ARGUMENT),
    faults.NotFound: Row(code_pb2.NOT_FOUND),
    faults.IdempotencyConflict: Row(code_pb2.ALREADY_EXISTS),
    faults.CursorInvalid: Row(code_pb2.INVALID_ARGUMENT),
    faults.CursorExpired: Row(code_pb2.OUT_OF_RANGE),
    faults.QueueFull: Row(code_pb2.RESOURCE_EXHAUSTED, retry=30.0),
    faults.HoldsFull: Row(code_pb2.RESOURCE_EXHAUSTED),
    faults.TooLarge: Row(code_pb2.RESOURCE_EXHAUSTED),
    faults.FailedPrecondition: Row(code_pb2.FAILED_PRECONDITION),
    faults.ClusterUnavailable: Row(code_pb2.UNAVAILABLE, retry=5.0),
    faults.StoreUnavailable: Row(code_pb2.UNAVAILABLE, retry=1.0),
    Stopping: Row(code_pb2.UNAVAILABLE, retry=1.0),
    ReaderStuck: Row(code_pb2.ABORTED, retry=1.0),
}
"""Looked up along the class's MRO; what is not found is a defect of ours."""


def status(error: Exception) -> status_pb2.Status | None:
    """The status to answer for an exception; None where it is a defect of ours, not to be told."""
    if isinstance(error, Unreachable):
        error = faults.ClusterUnavailable("the Kubernetes API does not answer", "try again later")
    row = next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), None)
    if row is None or not isinstance(error, Fault):
        return None
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    info = {"hint": error.hint[:MESSAGE_CHARACTERS]} if error.hint else {}
    answer = _status(row.code, message, error.reason, info)
    if row.retry:
        seconds, rest = divmod(row.retry, 1)
        delay = Duration(seconds=int(seconds), nanos=int(rest * 1e9))
        answer.details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    if error.problems:
        answer.details.append(_packed(_bad_request(error.problems, DETAILS_BYTES - answer.ByteSize() - 100)))
    return answer


def incident(name: str) -> status_pb2.Status:
    """The status of a defect: its incident's name, and nothing else."""
    message = f"internal error; the service's log has it as incident {name}"
    return _status(code_pb2.INTERNAL, message, Fault.reason, {"incident": name})


def _status(code: code_pb2.Code.ValueType, message: str, reason: str, info: dict[str, str]) -> status_pb2.Status:
    details = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=info)
    shown = message if len(message) <= MESSAGE_CHARACTERS else message[: MESSAGE_CHARACTERS - 1] + "…"
    return status_pb2.Status(code=code, message=shown, details=[_packed(details)])


def _bad_request(problems: Iterable[Problem], room: int) -> error_details_pb2.BadRequest:
    """Every problem, each as fully as all of them fit: whole, without value and way out, or field and rule only.

    Where even that is too much, as many as fit and a last violation that says how many are left out.
    """
    problems = list(problems)
    forms: tuple[Callable[[Problem], str], ...] = (_whole, _said, _rule)
    for form in forms:
        made = error_details_pb2.BadRequest(field_violations=[_violation(p, form(p)) for p in problems])
        if made.ByteSize() <= room:
            return made
    kept = made.field_violations
    while made.ByteSize() > room - 100:
        kept.pop()
    rest = f"and {len(problems) - len(kept)} more problems; Validate answers all of them"
    kept.append(error_details_pb2.BadRequest.FieldViolation(description=rest))
    return made


def _violation(problem: Problem, description: str) -> error_details_pb2.BadRequest.FieldViolation:
    return error_details_pb2.BadRequest.FieldViolation(
        field=problem.field, description=description, reason=problem.rule
    )


def _whole(problem: Problem) -> str:
    value = f" (is {problem.value!r})" if problem.value else ""
    return f"{problem.message}{value}" + (f"; {problem.hint}" if problem.hint else "")


def _said(problem: Problem) -> str:
    return problem.message


def _rule(_problem: Problem) -> str:
    return ""


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo | error_details_pb2.BadRequest) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed

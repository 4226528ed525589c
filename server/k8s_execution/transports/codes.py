"""Faults as google.rpc.Status: the one table from a fault's class to a code, and the details that go with it.

Pure but for the log line of an unexpected exception, of which nothing leaves but an incident id. Every transport
answers faults through here.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from k8s_execution.domain import faults
from k8s_execution.domain.faults import Fault, Problem
from k8s_execution.ports.cluster import Unreachable

log = logging.getLogger(__name__)

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

    code: grpc.StatusCode
    retry: float = 0.0


CODES: dict[type[Exception], Row] = {
    faults.ValidationFailed: Row(grpc.StatusCode.INVALID_ARGUMENT),
    faults.NotFound: Row(grpc.StatusCode.NOT_FOUND),
    faults.IdempotencyConflict: Row(grpc.StatusCode.ALREADY_EXISTS),
    faults.CursorInvalid: Row(grpc.StatusCode.INVALID_ARGUMENT),
    faults.CursorExpired: Row(grpc.StatusCode.OUT_OF_RANGE),
    faults.QueueFull: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, retry=30.0),
    faults.TooLarge: Row(grpc.StatusCode.RESOURCE_EXHAUSTED),
    faults.FailedPrecondition: Row(grpc.StatusCode.FAILED_PRECONDITION),
    faults.ClusterUnavailable: Row(grpc.StatusCode.UNAVAILABLE, retry=5.0),
    faults.StoreUnavailable: Row(grpc.StatusCode.UNAVAILABLE, retry=1.0),
    Stopping: Row(grpc.StatusCode.UNAVAILABLE, retry=1.0),
    ReaderStuck: Row(grpc.StatusCode.ABORTED, retry=1.0),
}
"""Looked up along the class's MRO; what is not found is a defect of ours."""


def status(error: Exception, where: str) -> status_pb2.Status:
    """The status to answer for an exception that left the call `where`."""
    if isinstance(error, Unreachable):
        error = faults.ClusterUnavailable("the Kubernetes API does not answer", "try again later")
    row = next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), None)
    if row is None or not isinstance(error, Fault):
        return _incident(error, where)
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    info = {"hint": error.hint[:MESSAGE_CHARACTERS]} if error.hint else {}
    answer = _status(row.code, message, error.reason, info)
    if row.retry:
        seconds, rest = divmod(row.retry, 1)
        delay = Duration(seconds=int(seconds), nanos=int(rest * 1e9))
        answer.details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    if isinstance(error, faults.ValidationFailed):
        answer.details.append(_packed(_bad_request(error.problems, DETAILS_BYTES - answer.ByteSize() - 100)))
    return answer


def _incident(error: Exception, where: str) -> status_pb2.Status:
    incident = secrets.token_hex(8)
    log.error("incident %s in %s", incident, where, exc_info=error)
    message = f"internal error; the service's log has it as incident {incident}"
    return _status(grpc.StatusCode.INTERNAL, message, Fault.reason, {"incident": incident})


def _status(code: grpc.StatusCode, message: str, reason: str, info: dict[str, str]) -> status_pb2.Status:
    details = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=info)
    shown = message if len(message) <= MESSAGE_CHARACTERS else message[: MESSAGE_CHARACTERS - 1] + "…"
    return status_pb2.Status(code=code.value[0], message=shown, details=[_packed(details)])


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

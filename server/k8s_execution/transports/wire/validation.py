"""Broken field rules as problems, and what Validate answers. Pure.

Violations are read by their shape, so that protovalidate is imported only by `transports.rules`. No value of a secret
enters a problem: fields below `environment.secrets` show none, others are masked with the request's secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from google.protobuf.message import Message

from k8s_execution.domain.faults import Problem
from k8s_execution.domain.redaction import Masker
from k8s_execution.ports.cluster import Body
from k8s_execution.ports.manifests import QuotaSum
from k8s_execution.usecases import ValidationReport
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as service_pb
from k8s_execution_client._gen.maestro.k8s.execution.v1 import results_pb2 as pb

SHOWN = 80
"""How much of a value a problem shows, in characters."""

HIDDEN_FIELDS = "environment.secrets"

_WAYS_OUT: tuple[tuple[str, str], ...] = (
    ("required", "write it; the contract's comment on the field says what it takes"),
    ("map.max_pairs", "leave some entries out"),
    ("repeated.max_items", "leave some entries out, or split the request"),
    ("repeated.min_items", "write at least one"),
    ("repeated.unique", "remove what is there twice"),
    ("enum.", "write one of the names that the contract lists for the field"),
    ("string.max_", "shorten it"),
    ("bytes.max_len", "send it in smaller pieces"),
    ("string.min_len", "write it, or leave the entry out"),
    ("int", "choose a number in that range"),
)
"""The way out of a standard rule, by the beginning of its id; rules of the contract carry their own."""


_ENUM = 14
"""google.protobuf.FieldDescriptorProto.Type.TYPE_ENUM."""

_STANDARD = {"required": "must be given"}
"""Standard messages said in the contract's way; the others begin with `value must`, of which `value` is left out."""


class Violation(Protocol):
    """The part of protovalidate's `Violation` that is read here."""

    @property
    def proto(self) -> Any:
        """buf.validate.Violation, in protobuf-py's own classes."""
        ...

    @property
    def field_value(self) -> Any:
        """The value that breaks the rule; a message or a map where the rule is on one."""
        ...


def problems(violations: Iterable[Violation], secrets: Iterable[str] = ()) -> tuple[Problem, ...]:
    """Each violation as a problem; equal ones once."""
    masker = Masker(secrets)
    found = dict.fromkeys(_problem(v, masker) for v in violations)
    return tuple(found)


def field_path(field: Any) -> str:
    """A violation's field as the contract writes it: `test_plan.suites[0].image`, `environment.env["LOG_LEVEL"]`."""
    text = ""
    for element in field.elements if field else ():
        text += f".{element.field_name}"
        if element.subscript is not None:
            key = element.subscript.value
            text += f"[{key}]" if element.subscript.field == "index" else f'["{str(key)[:SHOWN]}"]'
    return text.removeprefix(".")


def response(report: ValidationReport, objects: Iterable[pb.RenderedObject]) -> service_pb.ValidateResponse:
    """The answer of Validate."""
    return service_pb.ValidateResponse(
        valid=not report.problems,
        problems=map(_encoded, report.problems),
        objects=objects,
        quota=map(_quota, report.quota),
        warnings=map(_encoded, report.warnings),
    )


def rendered(bodies: Iterable[Body]) -> list[pb.RenderedObject]:
    """Objects as YAML; milliseconds of work each, so not for the event loop."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # the C one is eight times as fast, and not everywhere
    return [
        pb.RenderedObject(
            kind=str(body.get("kind", "")),
            name=str(body.get("metadata", {}).get("name", "")),
            yaml=yaml.dump(_plain(body), Dumper=dumper, sort_keys=False, allow_unicode=True),
        )
        for body in bodies
    ]


def _problem(violation: Violation, masker: Masker) -> Problem:
    proto = violation.proto
    path = masker.mask_text(field_path(proto.field))
    message, _, hint = _STANDARD.get(proto.rule_id, proto.message).removeprefix("value ").partition("; ")
    value = "" if path.startswith(HIDDEN_FIELDS) else masker.mask_text(_shown(proto.field, violation.field_value))
    return Problem(path, value[:SHOWN], proto.rule_id, message, hint or _way_out(proto.rule_id))


def _shown(field: Any, value: Any) -> str:
    """Text and numbers as they are (a little longer than shown, so that masking sees whole secrets), others not.

    An enum's zero is a name that was not given.
    """
    if value == 0 and field and field.elements[-1].field_type == _ENUM:
        return ""
    if isinstance(value, str):
        return value[: 32 * SHOWN]
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def _way_out(rule: str) -> str:
    known = (hint for start, hint in _WAYS_OUT if rule.startswith(start))
    return next(known, "see the contract's comment on the field")


def _encoded(problem: Problem) -> pb.Problem:
    return pb.Problem(
        field=problem.field, value=problem.value, rule=problem.rule, message=problem.message, hint=problem.hint
    )


def _quota(one: QuotaSum) -> pb.QuotaSum:
    return pb.QuotaSum(
        resource=one.resource, needed=one.needed, allowed=one.allowed, sufficient=one.sufficient, parts=one.parts
    )


def _plain(value: Any) -> Any:
    """Dictionaries and lists all the way: the safe dumper takes no other mappings."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def secret_values(request: Message) -> list[str]:
    """The secret values of a request that may hold some."""
    if isinstance(request, service_pb.ExecuteRequest):
        return [source.value for source in request.environment.secrets.values()]
    return []

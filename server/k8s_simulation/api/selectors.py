"""Label and field selectors: parsing and matching.

Label syntax is that of k8s.io/apimachinery/pkg/labels (`a=b, c!=d, e in (f,g), h notin (i), j, !k`); field selectors
are exact matches joined by commas, on the few fields each resource supports. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from k8s_simulation.api.objects import Object, labels_of, meta, spec_of, status_of
from k8s_simulation.api.problems import bad_request
from k8s_simulation.api.resources import Resource


class Operator(Enum):
    """How one requirement compares."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "!"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement of a label selector."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: dict[str, str]) -> bool:
        """True if these labels satisfy it. A missing key satisfies `!=` and `notin`, as in Kubernetes."""
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.ABSENT:
                return self.key not in labels


_KEY = r"[A-Za-z0-9]([A-Za-z0-9_.\-/]*[A-Za-z0-9])?"
_VALUE = r"([A-Za-z0-9]([A-Za-z0-9_.\-]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"^({_KEY})\s+(in|notin)\s+\(([^()]*)\)$")
_EQUAL = re.compile(rf"^({_KEY})\s*(==|=|!=)\s*({_VALUE})$")
_BARE = re.compile(rf"^(!?)\s*({_KEY})$")


def _split(text: str) -> list[str]:
    return [part.strip() for part in re.split(r",(?![^()]*\))", text) if part.strip()]


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """The requirements of a label selector. Raises 400 for one that cannot be read."""
    return tuple(_requirement(part) for part in _split(text))


def _requirement(part: str) -> Requirement:
    if found := _SET.match(part):
        values = frozenset(v.strip() for v in found[4].split(","))
        return Requirement(found[1], Operator(found[3]), values)
    if found := _EQUAL.match(part):
        operator = Operator.NOT_IN if found[3] == "!=" else Operator.IN
        return Requirement(found[1], operator, frozenset({found[4]}))
    if found := _BARE.match(part):
        return Requirement(found[2], Operator.ABSENT if found[1] else Operator.EXISTS)
    raise bad_request(f"unable to parse requirement: found '{part}', expected: a label selector")


def from_label_selector(selector: Object | None) -> tuple[Requirement, ...]:
    """The requirements of a metav1.LabelSelector (matchLabels and matchExpressions)."""
    selector = selector or {}
    found = [Requirement(k, Operator.IN, frozenset({v})) for k, v in (selector.get("matchLabels") or {}).items()]
    names = {"In": Operator.IN, "NotIn": Operator.NOT_IN, "Exists": Operator.EXISTS, "DoesNotExist": Operator.ABSENT}
    for expression in selector.get("matchExpressions") or []:
        values = frozenset(expression.get("values") or [])
        found.append(Requirement(expression["key"], names[expression["operator"]], values))
    return tuple(found)


def labels_match(requirements: tuple[Requirement, ...], labels: dict[str, str]) -> bool:
    """True if all requirements hold."""
    return all(r.matches(labels) for r in requirements)


_Getter = Callable[[Object], str]


def _involved(field: str) -> _Getter:
    return lambda o: str((o.get("involvedObject") or {}).get(field) or "")


_COMMON: dict[str, _Getter] = {
    "metadata.name": lambda o: str(meta(o).get("name") or ""),
    "metadata.namespace": lambda o: str(meta(o).get("namespace") or ""),
}
_FIELDS: dict[str, dict[str, _Getter]] = {
    "pods": {
        "spec.nodeName": lambda o: str(spec_of(o).get("nodeName") or ""),
        "spec.restartPolicy": lambda o: str(spec_of(o).get("restartPolicy") or ""),
        "spec.schedulerName": lambda o: str(spec_of(o).get("schedulerName") or ""),
        "spec.serviceAccountName": lambda o: str(spec_of(o).get("serviceAccountName") or ""),
        "status.phase": lambda o: str(status_of(o).get("phase") or ""),
        "status.podIP": lambda o: str(status_of(o).get("podIP") or ""),
    },
    "events": {
        **{
            f"involvedObject.{f}": _involved(f)
            for f in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        },
        "reason": lambda o: str(o.get("reason") or ""),
        "reportingComponent": lambda o: str(o.get("reportingComponent") or ""),
        "source": lambda o: str((o.get("source") or {}).get("component") or ""),
        "type": lambda o: str(o.get("type") or ""),
    },
    "namespaces": {"status.phase": lambda o: str(status_of(o).get("phase") or "")},
    "secrets": {"type": lambda o: str(o.get("type") or "")},
    "jobs": {"status.successful": lambda o: str(status_of(o).get("succeeded") or 0)},
    "nodes": {"spec.unschedulable": lambda o: str(bool(spec_of(o).get("unschedulable"))).lower()},
}


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list or watch asks for: labels and fields together."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[tuple[_Getter, bool, str], ...] = ()

    @property
    def everything(self) -> bool:
        """True if nothing is filtered."""
        return not self.labels and not self.fields

    def matches(self, obj: Object) -> bool:
        """True if the object is selected."""
        if self.labels and not labels_match(self.labels, labels_of(obj)):
            return False
        return all((getter(obj) == value) is equal for getter, equal, value in self.fields)


def parse(resource: Resource, label_selector: str, field_selector: str) -> Selection:
    """The selection of a request's two parameters. Raises 400 for an unreadable or unsupported one."""
    return Selection(parse_labels(label_selector), tuple(_fields(resource, field_selector)))


def _unsupported(resource: Resource, field: str) -> str:
    """Kinds with fields of their own word it each for itself; kubectl puts its "Unable to find …" before it."""
    if resource.plural == "jobs":
        return f'field label "{field}" not supported for Job'
    if resource.plural in {"services", "namespaces", "pods", "secrets", "events", "nodes"}:
        return f"field label not supported: {field}"
    return f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _fields(resource: Resource, text: str) -> list[tuple[_Getter, bool, str]]:
    found: list[tuple[_Getter, bool, str]] = []
    known = _COMMON | _FIELDS.get(resource.plural, {})
    for part in _split(text):
        match = re.match(r"^([\w.]+?)(!=|==|=)(.*)$", part)
        if not match:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        if match[1] not in known:
            raise bad_request(_unsupported(resource, match[1]))
        found.append((known[match[1]], match[2] != "!=", match[3]))
    return found

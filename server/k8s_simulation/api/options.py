"""Whether the options of a request go together: the query of lists, watches and writes, and those of a pod's log.

Rules and words of k8s.io/apimachinery/pkg/apis/meta/v1/validation, …/meta/internalversion/validation and
pkg/apis/core/validation (PodLogOptions). Apart from `requests`, which only reads what the URL says. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from k8s_simulation.api.problems import (
    ApiError,
    FieldProblem,
    bad_request,
    forbidden_field,
    invalid,
    invalid_value,
    listed_unsupported,
)
from k8s_simulation.api.requests import ApiRequest
from k8s_simulation.api.resources import Resource

_KINDS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions", "delete": "DeleteOptions",
          "deletecollection": "DeleteOptions", "list": "ListOptions", "watch": "ListOptions"}  # fmt: skip
_VALIDATIONS = ("", "Ignore", "Strict", "Warn")
_MATCH = "resourceVersionMatch"
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")


def check(api: ApiRequest, *, applies: bool = False) -> None:
    """Raises 422 for options that may not be together; `applies` for a server-side apply. 400 for what is no number."""
    api.number("timeoutSeconds")
    match api.verb:
        case "list":
            found = _list(api.query)
        case "watch":
            found = _watch(api.query)
        case "create" | "update" | "patch":
            found = _write(api.query, patch=api.verb == "patch", applies=applies)
        case "delete" | "deletecollection":
            found = dry_run_problems([api.query["dryRun"]] if api.query.get("dryRun") else [])
        case _:
            found = []
    refuse(_KINDS.get(api.verb, ""), found)


def refuse(kind: str, found: list[FieldProblem]) -> None:
    """Raises 422 of these options if anything is wrong."""
    if found:
        raise invalid(Resource("meta.k8s.io", "v1", kind.lower(), kind), "", found)


def dry_run_problems(values: list[str]) -> list[FieldProblem]:
    """dryRun knows one value."""
    return [] if all(v == "All" for v in values) else [listed_unsupported("dryRun", values, ["All"])]


def _write(query: Mapping[str, str], *, patch: bool, applies: bool) -> list[FieldProblem]:
    found = dry_run_problems([query["dryRun"]] if query.get("dryRun") else [])
    if patch and not applies and "force" in query:
        found.append(forbidden_field("force", "may not be specified for non-apply patch"))
    if query.get("fieldValidation", "") not in _VALIDATIONS:
        found.append(listed_unsupported("fieldValidation", query["fieldValidation"], list(_VALIDATIONS)))
    return found


def _list(query: Mapping[str, str]) -> list[FieldProblem]:
    match, version = query.get(_MATCH, ""), query.get("resourceVersion", "")
    found = []
    if match:
        if not version:
            found.append(forbidden_field(_MATCH, f"{_MATCH} is forbidden unless resourceVersion is provided"))
        if query.get("continue"):
            found.append(forbidden_field(_MATCH, f"{_MATCH} is forbidden when continue is provided"))
        if match not in {"Exact", "NotOlderThan"}:
            found.append(listed_unsupported(_MATCH, match, ["Exact", "NotOlderThan", ""]))
        if match == "Exact" and version == "0":
            found.append(forbidden_field(_MATCH, f'{_MATCH} "exact" is forbidden for resourceVersion "0"'))
    if "sendInitialEvents" in query:
        found.append(forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return found


def _watch(query: Mapping[str, str]) -> list[FieldProblem]:
    match, initial = query.get(_MATCH, ""), "sendInitialEvents" in query
    found = []
    if initial and match != "NotOlderThan":
        why = f"sendInitialEvents requires setting {_MATCH} to NotOlderThan"
        found.append(forbidden_field(_MATCH, why))
    if match and not initial:
        why = f"{_MATCH} is forbidden for watch unless sendInitialEvents is provided"
        found.append(forbidden_field(_MATCH, why))
    if match not in {"", "NotOlderThan"}:
        found.append(listed_unsupported(_MATCH, match, ["NotOlderThan"]))
    if query.get("continue"):
        found.append(forbidden_field(_MATCH, f"{_MATCH} is forbidden when continue is provided"))
    return found


def check_log(api: ApiRequest) -> None:
    """Raises 422 for options of a log that cannot be, 400 for ones that cannot be read."""
    numbers = {name: api.number(name) for name in ("tailLines", "limitBytes", "sinceSeconds")}
    since = api.query.get("sinceTime", "")
    if since and not _TIME.match(since):
        raise bad_request(f'parsing time "{since}" as "2006-01-02T15:04:05Z07:00": cannot parse "{since}" as "2006"')
    found = []
    if (tail := numbers["tailLines"]) is not None and tail < 0:
        found.append(invalid_value("tailLines", tail, "must be greater than or equal to 0"))
    if (limit := numbers["limitBytes"]) is not None and limit < 1:
        found.append(invalid_value("limitBytes", limit, "must be greater than 0"))
    if since and numbers["sinceSeconds"] is not None:
        found.append(forbidden_field("[]", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    elif (seconds := numbers["sinceSeconds"]) is not None and seconds < 1:
        found.append(invalid_value("sinceSeconds", seconds, "must be greater than 0"))
    if "stream" in api.query:  # a feature that is off in Kubernetes 1.35
        found.append(forbidden_field("stream", "may not be specified"))
    if found:
        raise invalid(Resource("", "v1", "podlogoptions", "PodLogOptions"), api.name, found)


def version_of(api: ApiRequest) -> int:
    """The resourceVersion of a read, 0 if none is given. Raises as the real server does for what is no number."""
    text = api.query.get("resourceVersion", "")
    if text.isdigit() or not text:
        return int(text or 0)
    why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
    if api.verb == "watch":
        raise ApiError(500, "", why)  # the cacher gives this error on as it is
    raise bad_request(f"invalid resource version: {why}")

"""Field validation: what a body has that its kind does not know, or has twice, and what becomes of the request.

`fieldValidation=Ignore` says nothing, `Warn` (the default) answers with warnings, `Strict` refuses; server-side apply
always refuses (k8s.io/apiserver/pkg/endpoints/handlers create.go, patch.go; structured-merge-diff). Pure.
"""

from __future__ import annotations

import json
from typing import Any

from k8s_simulation.api.objects import Object, meta, name_of
from k8s_simulation.api.problems import ApiError, bad_request
from k8s_simulation.api.requests import ApiRequest
from k8s_simulation.api.resources import Resource
from k8s_simulation.api.shapes import WrongShape, check, decode


def unknown(resource: Resource, obj: Object) -> list[str]:
    """`unknown field "spec.x"` for every unknown field, which are taken out. Raises 400 for a wrong type or kind."""
    return [f'unknown field "{place}"' for place in check(resource, obj)]


def judge(api: ApiRequest, found: list[str]) -> list[str]:
    """The warnings of a create or update. Raises 400 if they are refused."""
    if found and api.query.get("fieldValidation") == "Strict":
        kind, version = api.resource.kind, api.resource.version
        words = f"strict decoding error: {', '.join(found)}"
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {words}')
    return [] if api.query.get("fieldValidation") == "Ignore" else found


def judge_patch(api: ApiRequest, new: Object, strategic: Any) -> list[str]:
    """The warnings of a patch that makes this object. Raises 422, which quotes the patch if it is a strategic one."""
    quoted = _go_map(strategic) if strategic is not None else json.dumps(new, separators=(",", ":"))
    if (new.get("kind"), new.get("apiVersion")) != (api.resource.kind, api.resource.api_version):
        return [f'unknown field "{place}"' for place in check(api.resource, new)]  # raises 400
    try:
        found = [f'unknown field "{place}"' for place in decode(api.resource, new)]
    except WrongShape as problem:
        raise _invalid_patch(quoted, str(problem)) from problem
    if found and api.query.get("fieldValidation") == "Strict":
        raise _invalid_patch(quoted, f"strict decoding error: {', '.join(found)}")
    return [] if api.query.get("fieldValidation") == "Ignore" else found


def judge_apply(api: ApiRequest, applied: Object) -> None:
    """Raises 500 (as the real server does) for an apply configuration with unknown fields, 400 for wrong types."""
    named = _with_names(applied)
    places = check(api.resource, applied)
    if not places:
        return
    where = f"{meta(applied).get('namespace', '')}/{name_of(applied)}"
    kind = f"{api.resource.group}/{api.resource.version}, Kind={api.resource.kind}"
    errors = [f".{named.get(place, place)}: field not declared in schema" for place in places]
    words = errors[0] if len(errors) == 1 else "errors:\n" + "\n".join(f"  {e}" for e in errors)
    raise ApiError(500, "", f"failed to create typed patch object ({where}; {kind}): {words}")


def _invalid_patch(quoted: str, why: str) -> ApiError:
    message = f"Invalid value: {json.dumps(quoted, ensure_ascii=False)}: {why}"
    cause = {"reason": "FieldValueInvalid", "message": message, "field": "patch"}
    return ApiError(422, "Invalid", f' "" is invalid: patch: {message}', {"causes": [cause]})


def _with_names(value: Any, place: str = "", named: str = "") -> dict[str, str]:
    """Every place of a body by its indexes → the same with the names of list items: `containers[name="main"]`."""
    found: dict[str, str] = {}
    if isinstance(value, dict):
        for key, item in value.items():
            inner, told = (f"{place}.{key}", f"{named}.{key}") if place else (key, key)
            found[inner] = told
            found |= _with_names(item, inner, told)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            name = item.get("name") if isinstance(item, dict) else None
            told = f'{named}[name="{name}"]' if name else f"{named}[{number}]"
            found |= _with_names(item, f"{place}[{number}]", told)
    return found


def _go_map(value: Any) -> str:
    """As Go prints it: `map[spec:map[foo:1]]`."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{k}:{_go_map(v)}' for k, v in sorted(value.items()))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(_go_map, value))}]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)

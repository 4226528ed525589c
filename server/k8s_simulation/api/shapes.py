"""Whether a body has the fields and the JSON types of its kind, as the real server finds out while it decodes.

What each kind may contain is data (`fields.json`, made by `tools/api_fields.py` from a real API server's OpenAPI). A
wrong type is refused; an unknown field is told and taken out, for Kubernetes does not store what it does not know.
Rules about values are in `validation`. Knows no requests; pure but for reading its own data once.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from functools import cache
from importlib.resources import files
from typing import Any

from k8s_simulation.api.objects import Object
from k8s_simulation.api.problems import bad_request
from k8s_simulation.api.quantities import parse
from k8s_simulation.api.resources import Resource

_LIMITS = {"i": 2**31, "l": 2**63}
_GO = {"s": "string", "t": "v1.Time", "y": "[]uint8", "i": "int32", "l": "int64", "b": "bool", "x": "int32",
       "q": "resource.Quantity", "n": "float64"}  # fmt: skip
_TIME = re.compile(r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$")
_JSON: dict[type, str] = {str: "string", list: "array", dict: "object"}


class WrongShape(Exception):
    """A value that cannot be decoded; the message is that of the real server's decoder."""


def without_nulls(value: Any) -> Any:
    """A copy without the fields that are null: for Kubernetes null means absent."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(v) for v in value]
    return value


def check(resource: Resource, body: Object) -> list[str]:
    """Raises 400 for a body that names another kind or has a wrong type; the unknown fields, which are taken out."""
    kind, version = body.setdefault("kind", resource.kind), body.setdefault("apiVersion", resource.api_version)
    if (kind, version) != (resource.kind, resource.api_version):
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({resource.api_version}), or its kind ({kind}) not the expected kind ({resource.kind})"
        )
    try:
        unknown = decode(resource, body)
    except WrongShape as problem:
        raise bad_request(
            f'{kind} in version "{resource.version}" cannot be handled as a {kind}: {problem}'
        ) from problem
    if body.get("metadata") is None:
        body["metadata"] = {}
    return unknown


def decode(resource: Resource, body: Object) -> list[str]:
    """The paths of the unknown fields, in the body's order; they are taken out. Raises WrongShape."""
    unknown: list[_Place] = []
    _structure(_kinds()[f"{resource.api_version}/{resource.kind}"], body, None, unknown)
    return [place.told() for place in unknown]


class _Place:
    """Where a value is. Spelt out only when something is wrong: every write of every client is looked at."""

    __slots__ = ("key", "parent", "structure")

    def __init__(self, parent: _Place | None, key: str | int, structure: str) -> None:
        """A number for an item of a list, a text for a field or a key; `structure` is what a field belongs to."""
        self.parent, self.key, self.structure = parent, key, structure

    def told(self) -> str:
        """`spec.containers[0].image`."""
        if isinstance(self.key, int):
            return f"{self.parent.told() if self.parent else ''}[{self.key}]"
        return f"{self.parent.told()}.{self.key}" if self.parent else self.key

    def go(self) -> str:
        """`Container.spec.containers.image`, as Go's decoder names a field."""
        names: list[str] = []
        place: _Place | None = self
        structure = ""
        while place is not None:
            if place.structure:  # neither an item of a list nor a key of a map
                names.append(str(place.key))
                structure = structure or place.structure.rpartition(".")[2]
            place = place.parent
        return ".".join([structure, *reversed(names)])


def _structure(name: str, value: Object, at: _Place | None, unknown: list[_Place]) -> None:
    """All fields of a structure."""
    known = _structures()[name]
    for field in list(value):
        code, inner = known.get(field), value[field]
        place = _Place(at, field, name)
        if code is None:
            unknown.append(place)
            del value[field]
        elif inner is not None:
            _value(code, inner, place, unknown)


def _value(code: str, value: Any, at: _Place, unknown: list[_Place]) -> None:
    """One value."""
    if code in _GO:
        _scalar(code, value, at)
    elif code == "o":
        return
    elif code[0] == "[":
        for number, item in enumerate(_expect(list, code, value, at)):
            if item is not None:
                _value(code[2:], item, _Place(at, number, ""), unknown)
    elif code[0] == "{":
        for key, item in _expect(dict, code, value, at).items():
            if item is not None:
                _value(code[2:], item, _Place(at, key, ""), unknown)
    else:
        _structure(code, _expect(dict, code, value, at), at, unknown)


def _expect(kind: type, code: str, value: Any, at: _Place) -> Any:
    if not isinstance(value, kind):
        raise _wrong(code, value, at)
    return value


def _scalar(code: str, value: Any, at: _Place) -> None:
    match code:
        case "s":
            _expect(str, code, value, at)
        case "t" | "y":
            _text(code, _expect(str, code, value, at))
        case "b":
            _expect(bool, code, value, at)
        case "i" | "l":
            if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= _LIMITS[code]:
                raise _wrong(code, value, at)
        case "x":
            if isinstance(value, (bool, float)) or not isinstance(value, (int, str)):
                raise _wrong(code, value, at)
        case "q":
            _quantity(value)
        case _:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise _wrong(code, value, at)


def _text(code: str, value: str) -> None:
    """Texts with a form: times and base64."""
    if code == "t" and value and not _TIME.match(value):
        why = f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"'
        raise WrongShape(why)
    if code == "y":
        try:
            b64decode(value.replace("\n", ""), validate=True)
        except (binascii.Error, ValueError) as error:
            wrong = re.search(r"[^A-Za-z0-9+/=\r\n]", value)
            place = wrong.start() if wrong else max(len(value) - 1, 0)
            raise WrongShape(f"illegal base64 data at input byte {place}") from error


def _quantity(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise WrongShape("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    try:
        parse(str(value))
    except ValueError as error:
        raise WrongShape(str(error)) from error


def _wrong(code: str, value: Any, at: _Place) -> WrongShape:
    if isinstance(value, bool):
        found = "bool"
    elif isinstance(value, (int, float)):
        found = f"number {value}" if code in _LIMITS else "number"
    else:
        found = _JSON.get(type(value), "object")
    return WrongShape(f"json: cannot unmarshal {found} into Go struct field {at.go()} of type {_go(code)}")


def _go(code: str) -> str:
    if code in _GO:
        return _GO[code]
    for prefix, words in (("[]", "[]"), ("{}", "map[string]")):
        if code.startswith(prefix):
            return words + _go(code[2:])
    return code.rpartition("/")[2]


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(files(__package__).joinpath("fields.json").read_text(encoding="utf-8"))
    return table


@cache
def _kinds() -> dict[str, str]:
    return dict(_table()["kinds"])


@cache
def _structures() -> dict[str, dict[str, str]]:
    return dict(_table()["structures"])

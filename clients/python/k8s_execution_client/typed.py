"""Fits the data of a plan's file to the contract's messages, field by field, and finds all misfits at once.

protobuf's own JSON reader stops at the first error and names no path; people write these files by hand, so here every
problem comes with its path, and an unknown name with the one that was likely meant. Scalars are taken as written where
the field is text, and refused where YAML 1.1 would have changed them (`no`, `0123`, `12:34`). Rules on values are the
service's. Pure: data in, data out.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from k8s_execution_client.faults import Violation
from k8s_execution_client.yaml_reader import Scalar

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_BOUNDS = {
    FieldDescriptor.CPPTYPE_INT32: 1 << 31,
    FieldDescriptor.CPPTYPE_INT64: 1 << 63,
}
LIST_VALUE = "google.protobuf.ListValue"
SECRETS = "environment.secrets"
"""What stands below this path is never shown: problems end up in the logs of CI."""

WORDS = {"dict": "a mapping (name: value)", "list": "a list"}


class Fitter:
    """Collects `problems` while data is fitted."""

    def __init__(self) -> None:
        """Nothing found yet."""
        self.problems: list[Violation] = []

    def message(self, descriptor: Descriptor, data: Any, path: str) -> dict[str, Any]:
        """`data` as JSON for a message of `descriptor`; misfits are left out and noted."""
        if not isinstance(data, dict):
            self._note(path, f"must be a mapping of fields, not {_shown(data, path)}", _fields_hint(descriptor))
            return {}
        fitted: dict[str, Any] = {}
        for name, value in data.items():
            field = descriptor.fields_by_name.get(name)
            inner = f"{path}.{name}" if path else name
            if field is None:
                self._note(inner, "is no field here", suggestion(name, list(descriptor.fields_by_name)))
            else:
                self._field(field, value, inner, fitted)
        for one in descriptor.oneofs:
            given = [f.name for f in one.fields if f.name in data]
            if len(given) > 1:
                self._note(path, f"holds {' and '.join(given)}, of which only one may be given", "remove the others")
                for name in given[1:]:
                    fitted.pop(name, None)
        return fitted

    def _field(self, field: FieldDescriptor, value: Any, path: str, fitted: dict[str, Any]) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            fitted[field.name] = self._map(field.message_type.fields_by_name["value"], value, path)
        elif field.is_repeated:
            if not isinstance(value, list):
                self._note(path, f"must be a list, not {_shown(value, path)}", "write [a, b] or one '- ' line for each")
                return
            items = [self._value(field, item, f"{path}[{index}]") for index, item in enumerate(value)]
            fitted[field.name] = [item for item in items if item is not None]
        else:
            single = self._value(field, value, path)
            if single is not None:
                fitted[field.name] = single

    def _map(self, field: FieldDescriptor, value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._note(path, f"must be a mapping (name: value), not {_shown(value, path)}")
            return {}
        fitted = {key: self._value(field, item, f'{path}["{key}"]') for key, item in value.items()}
        return {key: item for key, item in fitted.items() if item is not None}

    def _value(self, field: FieldDescriptor, value: Any, path: str) -> Any:
        if field.message_type is not None:
            if field.message_type.full_name == LIST_VALUE:
                return self._words(value, path)
            return self.message(field.message_type, value, path)
        if isinstance(value, (dict, list)):
            self._note(path, f"must be a single value, not {_shown(value, path)}")
            return None
        if field.enum_type is not None:
            return self._enum(field, value, path)
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING:
                return self._text(value, path)
            case FieldDescriptor.CPPTYPE_BOOL:
                return self._switch(value, path)
            case _:
                return self._integer(field, value, path)

    def _words(self, value: Any, path: str) -> list[str] | None:
        if not isinstance(value, list):
            self._note(path, f"must be a list of words, not {_shown(value, path)}", "write [[pip, install, -r, x.txt]]")
            return None
        words = [self._text(word, f"{path}[{index}]") for index, word in enumerate(value)]
        return [word for word in words if word is not None]

    def _text(self, value: Any, path: str) -> str | None:
        if isinstance(value, str):
            return value
        if not isinstance(value, Scalar):
            self._note(path, f"must be text, not {_shown(value, path)}")
            return None
        trap = trap_of(value)
        if trap and _is_secret(path) and value.kind != "null":
            trap = "is read by YAML as something else than its text", "write it in quotes"
        if trap:
            self._note(path, *trap)
            return None
        return value.text

    def _switch(self, value: Any, path: str) -> bool | None:
        text = value.text if isinstance(value, Scalar) else value
        if text.lower() in {"true", "false"}:
            return bool(text.lower() == "true")
        self._note(path, f"must be true or false, not {_shown(value, path)}")
        return None

    def _integer(self, field: FieldDescriptor, value: Any, path: str) -> int | None:
        text = value.text if isinstance(value, Scalar) else value
        if not _INTEGER.fullmatch(text):
            self._note(path, f"must be a whole number, not {_shown(value, path)}", "write it in decimal digits")
            return None
        bound = _BOUNDS[field.cpp_type]
        if len(text) > 20 or not -bound <= int(text) < bound:
            self._note(path, f"is out of range: {text[:30]}")
            return None
        return int(text)

    def _enum(self, field: FieldDescriptor, value: Any, path: str) -> str | None:
        assert field.enum_type is not None
        names = [v.name for v in field.enum_type.values if v.number]
        text = value.text if isinstance(value, Scalar) else value
        if text in names:
            return str(text)
        hint = f"write {text.upper()}" if text.upper() in names else suggestion(text, names)
        self._note(path, f"is {_shown(value, path)}, which is no value of this field", hint)
        return None

    def _note(self, path: str, message: str, hint: str = "") -> None:
        self.problems.append(Violation(path, message, hint))


def trap_of(scalar: Scalar) -> tuple[str, str] | None:
    """Message and hint where YAML 1.1 reads an unquoted scalar as something else than its text, else None."""
    text, quoted = scalar.text, f'write "{scalar.text}" in quotes'
    match scalar.kind:
        case "null":
            return "has no value", 'write "" for an empty text, or remove the line'
        case "bool" if text.lower() not in {"true", "false"}:
            meant = "true" if text.lower() in {"yes", "on", "y"} else "false"
            return f"is {text}, which YAML reads as {meant}", f"{quoted} for the text, or {meant} for the switch"
        case "int" | "float" if ":" in text:
            return f"is {text}, which YAML reads as a number to the base 60", quoted
        case "int" if _OCTAL.fullmatch(text):
            return f"is {text}, which YAML reads as an octal number", quoted
        case _:
            return None


def suggestion(name: str, names: list[str]) -> str:
    """`did you mean …?`, or the names there are."""
    close = difflib.get_close_matches(name.lower(), [n.lower() for n in names], 1, 0.6)
    if close:
        meant = next(n for n in names if n.lower() == close[0])
        return f"did you mean {meant}?"
    return f"there are: {', '.join(names)}"


def _fields_hint(descriptor: Descriptor) -> str:
    names = ", ".join(descriptor.fields_by_name)
    return f"its fields: {names}" if names else "write {}"


def _is_secret(path: str) -> bool:
    return path.startswith(SECRETS)


def _shown(data: Any, path: str) -> str:
    if isinstance(data, (dict, list)):
        return WORDS[type(data).__name__]
    if isinstance(data, Scalar) and data.kind == "null":
        return "nothing"
    if _is_secret(path):
        return "a single value (not shown)"
    return data.text[:60] if isinstance(data, Scalar) else repr(str(data)[:60])

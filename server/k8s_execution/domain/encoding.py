"""Domain values to plain JSON data and back, for the store.

Generic over frozen dataclasses, enums, tuples, frozensets, dicts and optionals, driven by their annotations; a union
of dataclasses is tagged by class name. Unknown keys are ignored (an older replica may read what a newer wrote),
missing keys take the field's default. It must not know any particular class.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")
Json = Any
"""Plain data: dict, list, str, int, float, bool, None."""

_TAG = "@"


def encode(value: object) -> Json:
    """A domain value as plain JSON data; fields that equal their default are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value) if not _is_default(value, f)
        }
        return {_TAG: type(value).__name__, **fields}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {encode(k): encode(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(encode(v) for v in value)
    if isinstance(value, (list, tuple)):
        return [encode(v) for v in value]
    return value


def decode(kind: type[T], data: Json) -> T:
    """Plain data back to a value of `kind`; TypeError or ValueError if it does not fit."""
    return typing.cast(T, _decode(kind, data))


def _is_default(value: object, field: dataclasses.Field[Any]) -> bool:
    if field.default is not dataclasses.MISSING:
        return bool(getattr(value, field.name) == field.default)
    if field.default_factory is not dataclasses.MISSING:
        return bool(getattr(value, field.name) == field.default_factory())
    return False


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode(kind: Any, data: Json) -> Any:
    origin = typing.get_origin(kind)
    if origin in {typing.Union, types.UnionType}:
        return _decode_union(typing.get_args(kind), data)
    if origin is not None:
        return _decode_container(origin, typing.get_args(kind), data)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        known = {f.name for f in dataclasses.fields(kind)}
        return kind(**{k: _decode(hints[k], v) for k, v in data.items() if k in known})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(data)
    return data


def _decode_union(options: tuple[Any, ...], data: Json) -> Any:
    if data is None:
        return None
    candidates = [o for o in options if o is not type(None)]
    if len(candidates) == 1:
        return _decode(candidates[0], data)
    tag = data.get(_TAG) if isinstance(data, dict) else None
    for option in candidates:
        if getattr(option, "__name__", "") == tag:
            return _decode(option, data)
    raise ValueError(f"no member of the union is called {tag!r}")


def _decode_container(origin: Any, arguments: tuple[Any, ...], data: Json) -> Any:
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_decode(arguments[0], v) for v in data)
        return tuple(_decode(a, v) for a, v in zip(arguments, data, strict=True))
    if origin is frozenset:
        return frozenset(_decode(arguments[0], v) for v in data)
    if origin is dict:
        return {_decode(arguments[0], k): _decode(arguments[1], v) for k, v in data.items()}
    raise TypeError(f"cannot decode {origin}")

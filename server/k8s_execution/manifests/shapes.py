"""Shapes of JSON data, and what in a value breaks its shape.

A closed language: a field that a `Fields` does not name is refused. Pure. It must not know Kubernetes: the shapes of
its objects are data in `allowed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never


@dataclass(frozen=True, slots=True)
class Text:
    """A string; `pattern` must match all of it (ASCII rules), `longest` bounds its characters."""

    pattern: str = r"[\s\S]*"
    longest: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer within bounds, both included; True and False are none."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Flag:
    """True or False."""


@dataclass(frozen=True, slots=True)
class Only:
    """One of these values exactly, type included; lists and mappings compare by content."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list of one shape."""

    shape: Shape
    most: int = 1_000


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping with these fields and no others, unless `other` gives the shape of those whose key fits `other_key`."""

    fields: Mapping[str, Shape]
    required: frozenset[str] = field(default=frozenset())
    other: Shape | None = None
    other_key: str = r"[\s\S]*"


Shape = Text | Whole | Flag | Only | Items | Fields


def breaches(value: object, shape: Shape, path: str = "") -> Iterator[str]:
    """What breaks the shape, a sentence each, with the path of the field; nothing if the value fits."""
    match shape:
        case Text(pattern, longest):
            fits = isinstance(value, str) and len(value) <= longest and re.fullmatch(pattern, value, re.ASCII)
            if not fits:
                yield f"{path} is no text of the form {pattern}"
        case Whole(low, high):
            if type(value) is not int or not low <= value <= high:
                yield f"{path} is no whole number from {low} to {high}"
        case Flag():
            if not isinstance(value, bool):
                yield f"{path} is neither true nor false"
        case Only(values):
            if not any(type(value) is type(v) and value == v for v in values):
                yield f"{path} is not {' or '.join(map(repr, values))}"
        case Items(inner, most):
            yield from _in_list(value, inner, most, path)
        case Fields():
            yield from _in_mapping(value, shape, path)
        case _:
            assert_never(shape)


def _in_list(value: object, inner: Shape, most: int, path: str) -> Iterator[str]:
    if not isinstance(value, list) or len(value) > most:
        yield f"{path} is no list of at most {most}"
        return
    for index, item in enumerate(value):
        yield from breaches(item, inner, f"{path}[{index}]")


def _in_mapping(value: object, shape: Fields, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path} is no mapping"
        return
    for name in sorted(shape.required - value.keys()):
        yield f"{path}.{name} is missing".lstrip(".")
    for name, item in value.items():
        below = f"{path}.{name}".lstrip(".")
        inner = shape.fields.get(name)
        if inner is None and shape.other is not None and re.fullmatch(shape.other_key, str(name), re.ASCII):
            inner = shape.other
        if inner is None:
            yield f"{below} is not allowed"
        else:
            yield from breaches(item, inner, below)

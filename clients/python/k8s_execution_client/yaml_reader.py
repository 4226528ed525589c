"""Reads YAML and JSON text as plain data, refusing what YAML makes dangerous or surprising.

Refused: more than 256 KiB, more than 32 levels, aliases (a few bytes of them can stand for gigabytes), duplicate keys
(the last would win in silence), tags, several documents. Scalars keep their text: whether `1.20` is a number or a
version depends on the field, which this module does not know; `Scalar` says what YAML 1.1 would have made of it.
It must not know the contract.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from k8s_execution_client.faults import Violation

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PREFIX = "tag:yaml.org,2002:"

Data = dict[str, Any] | list[Any] | str | Any


@dataclass(frozen=True, slots=True)
class Scalar:
    """An unquoted scalar that YAML 1.1 does not read as text: as written, and its kind (`int`, `bool`, `null` …)."""

    text: str
    kind: str


class ReadFault(Exception):
    """The text cannot be read; `violations` say where and why."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        """All that was found before reading ended."""
        self.violations = tuple(violations)
        super().__init__("; ".join(map(str, violations)))


def read(text: str, *, as_json: bool = False) -> Data:
    """The data of one document: dictionaries, lists, `str` for text, `Scalar` for all else. Raises ReadFault."""
    if len(text.encode()) > MAX_BYTES:
        raise ReadFault([Violation("", f"is larger than {MAX_BYTES // 1024} KiB", "keep large files in the source")])
    return _read_json(text) if as_json else _read_yaml(text)


def _read_yaml(text: str) -> Data:
    try:
        _check_events(text)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise ReadFault([_plain(error, text)]) from error
    if node is None:
        raise ReadFault([Violation("", "is empty", "`k8s-execution init` writes a plan to begin with")])
    problems: list[Violation] = []
    data = _build(node, "", problems)
    if problems:
        raise ReadFault(problems)
    return data


def _check_events(text: str) -> None:
    """Refuse depth, aliases and tags before anything is built from them.

    They are not shown: an unquoted password that begins with `*` or `!` is read as one.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = f"line {event.start_mark.line + 1 if event.start_mark else 0}"
        if isinstance(event, yaml.AliasEvent):
            raise ReadFault([Violation("", f"{line}: uses an alias (*)", "write the value out, or text in quotes")])
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            depth -= 1
        tag = getattr(event, "tag", None)
        if tag:
            raise ReadFault([Violation("", f"{line}: uses a tag (!)", "leave it out, or write text in quotes")])
        if depth > MAX_DEPTH:
            raise ReadFault([Violation("", f"{line}: is nested more than {MAX_DEPTH} levels deep")])


def _build(node: yaml.Node, path: str, problems: list[Violation]) -> Data:
    if isinstance(node, yaml.ScalarNode):
        kind = node.tag.removeprefix(_PREFIX)
        quoted = node.style in {"'", '"', "|", ">"}
        return str(node.value) if quoted or kind == "str" else Scalar(str(node.value), kind)
    if isinstance(node, yaml.SequenceNode):
        return [_build(child, f"{path}[{index}]", problems) for index, child in enumerate(node.value)]
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == f"{_PREFIX}merge":
            problems.append(Violation(path, f"line {line}: has a key that is not text", "write the keys out"))
            continue
        key = str(key_node.value)
        inner = f"{path}.{key}" if path else key
        if _is_trap_key(key_node):
            hint = f'write "{key}" in quotes'
            problems.append(Violation(path, f"line {line}: YAML reads the key {key} as true or false", hint))
        if key in built:
            problems.append(Violation(inner, f"line {line}: is given twice", "remove one of the two"))
            continue
        built[key] = _build(value_node, inner, problems)
    return built


def _is_trap_key(node: yaml.ScalarNode) -> bool:
    quoted = node.style in {"'", '"'}
    return not quoted and node.tag == f"{_PREFIX}bool" and str(node.value).lower() not in {"true", "false"}


def _read_json(text: str) -> Data:
    duplicates: list[Violation] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key, value in items:
            if key in built:
                duplicates.append(Violation(key, "is given twice", "remove one of the two"))
            built[key] = value
        return built

    try:
        data = json.loads(
            text,
            object_pairs_hook=pairs,
            parse_int=lambda t: Scalar(t, "int"),
            parse_float=lambda t: Scalar(t, "float"),
            parse_constant=lambda t: Scalar(t, "float"),
        )
    except json.JSONDecodeError as error:
        raise ReadFault([Violation("", f"line {error.lineno}: {error.msg}")]) from error
    except RecursionError as error:
        raise ReadFault([Violation("", f"is nested more than {MAX_DEPTH} levels deep")]) from error
    if duplicates:
        raise ReadFault(duplicates)
    return _scalars(data, 0)


def _scalars(data: Any, depth: int) -> Data:
    """The data with JSON's own constants as `Scalar`."""
    if isinstance(data, (dict, list)) and depth == MAX_DEPTH:
        raise ReadFault([Violation("", f"is nested more than {MAX_DEPTH} levels deep")])
    if isinstance(data, dict):
        return {_whole(key): _scalars(value, depth + 1) for key, value in data.items()}
    if isinstance(data, list):
        return [_scalars(value, depth + 1) for value in data]
    if data is None:
        return Scalar("null", "null")
    if isinstance(data, bool):
        return Scalar("true" if data else "false", "bool")
    return _whole(data) if isinstance(data, str) else data


def _whole(text: str) -> str:
    """JSON can escape half of a character, which no message can hold."""
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise ReadFault([Violation("", "holds half of a surrogate pair", "write the whole character")])
    return text


def _plain(error: yaml.YAMLError, text: str) -> Violation:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        message = f"line {mark.line + 1}, column {mark.column + 1}: {error.problem or 'is not YAML'}"
        return Violation("", message, _way_out(text, mark.line))
    return Violation("", f"is not YAML: {error}")


def _way_out(text: str, index: int) -> str:
    """What the commonest mistakes on a line that is not YAML need; nothing of the line is shown."""
    lines = text.split("\n")
    line = lines[index] if index < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "the line is indented with a tab: use spaces"
    if re.search(r"[:,\[]\s*\$\{", line):
        return 'write "${…}" in quotes inside { } and [ ]'
    if text.count("{") > text.count("}") or text.count("[") > text.count("]"):
        return "a { or [ is not closed"
    return ""

"""Templates of Kubernetes objects: found, linted when loaded, filled with values.

A template is YAML with Jinja2 expressions. Each `{{ }}` becomes exactly one JSON value, whatever characters it holds:
the text that is parsed as YAML never holds a value, only a marker for it, and the values are put into the parsed
document. So no value can change the document, and the parsed structure of a text is used again (most renderings differ
in values only). A lint refuses templates whose expressions are quoted, are part of a value, or stand in a comment or a
block scalar; block tags stand alone on their line.

It must not know any kind of object or any domain value: those are `render` and `allowed`. It reads files only when
loaded.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox
import yaml

Json = Any
"""Plain data: dict, list, str, int, bool, None."""

_FIRST, _LAST = "\ue000", "\ue001"  # private-use characters: a marker cannot be mistaken for text of a template
_MARKER = re.compile(f"{_FIRST}([0-9]+){_LAST}")
_EXPRESSION = re.compile(r"\{\{.*?\}\}")
_SLOTS = "k8s_execution_slots"
_BEFORE = frozenset(":-[{,")
_AFTER = frozenset(",]}:#")
_TAGS = frozenset({"if", "elif", "else", "endif", "for", "endfor"})
_STRUCTURES = 256
_LARGEST = 256 * 1024


class TemplateRefused(Exception):
    """A template, or what came out of it, breaks a rule: a fault of the installation, never of the caller."""


def templates_folder(setting: Path | None = None) -> Path:
    """Where the templates are: the setting's folder, else the copy in the wheel, else the checkout's `templates/`.

    Raises TemplateRefused if there is none.
    """
    here = Path(__file__).resolve().parent
    candidates = [setting] if setting is not None else [here / "packaged_templates", here.parents[2] / "templates"]
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise TemplateRefused(f"there is no folder of templates at {' or '.join(map(str, candidates))}")


class Templates:
    """Linted templates by name (`deployment.yaml`), compiled once. Not safe for use by several threads at once."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        """Compile the sources; TemplateRefused names the first line that breaks a rule."""
        self._environment = _environment()
        self._structures: OrderedDict[str, list[Json]] = OrderedDict()
        self._compiled: dict[str, jinja2.Template] = {}
        for name, source in sources.items():
            lint(name, source)
            try:
                self._compiled[name] = self._environment.from_string(source)
            except jinja2.TemplateError as error:
                raise TemplateRefused(f"{name}: {error}") from error

    @property
    def names(self) -> frozenset[str]:
        """The templates there are."""
        return frozenset(self._compiled)

    def render(self, name: str, values: Mapping[str, Json]) -> list[dict[str, Json]]:
        """The objects that one template makes of these values. TemplateRefused if it cannot be filled or parsed."""
        if name not in self._compiled:
            raise TemplateRefused(f"there is no template {name}")
        slots: list[Json] = []
        try:
            text = self._compiled[name].render({**values, _SLOTS: slots})
        except (jinja2.TemplateError, TypeError, ArithmeticError, LookupError) as error:
            raise TemplateRefused(f"{name}: {error}") from error
        filled = [_fill(document, slots, name) for document in self._structure(name, text)]
        for document in filled:
            if not isinstance(document, dict):
                raise TemplateRefused(f"{name}: a document is no mapping")
        return filled

    def _structure(self, name: str, text: str) -> list[Json]:
        if text in self._structures:
            self._structures.move_to_end(text)
            return self._structures[text]
        try:
            documents = [d for d in yaml.load_all(text, yaml.CSafeLoader) if d is not None]
        except yaml.YAMLError as error:
            raise TemplateRefused(f"{name}: {error}") from error
        self._structures[text] = documents
        if len(self._structures) > _STRUCTURES:
            self._structures.popitem(last=False)
        return documents


def load(folders: Sequence[Path]) -> Templates:
    """All `*.yaml` of the folders; a file in a later folder replaces the one of that name in an earlier folder."""
    sources: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            if path.stat().st_size > _LARGEST:
                raise TemplateRefused(f"{path.name}: larger than {_LARGEST} bytes")
            sources[path.name] = path.read_text(encoding="utf-8")
    return Templates(sources)


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a template, for the lint."""

    where: str
    text: str


def lint(name: str, source: str) -> None:
    """Refuse a source whose expressions might be less or more than one value; TemplateRefused says where."""
    if _FIRST in source or _LAST in source:
        raise TemplateRefused(f"{name}: holds a character (U+E000 or U+E001) that marks values")
    for line in _lines(name, source):
        _lint_tags(line)
        _lint_expressions(line)


def _lines(name: str, source: str) -> Iterator[_Line]:
    without_comments = re.sub(r"\{#.*?#\}", lambda found: "\n" * found.group().count("\n"), source, flags=re.DOTALL)
    for number, text in enumerate(without_comments.split("\n"), 1):
        yield _Line(f"{name}:{number}", text)


def _lint_tags(line: _Line) -> None:
    if "{%" not in line.text and "%}" not in line.text:
        return
    found = re.fullmatch(r"\s*\{%-?\s*(\w+)[^%{}]*%\}\s*", line.text)
    if found is None:
        raise TemplateRefused(f"{line.where}: a block tag stands alone on its line")
    if found.group(1) not in _TAGS:
        raise TemplateRefused(f"{line.where}: {found.group(1)} is not among {', '.join(sorted(_TAGS))}")


def _lint_expressions(line: _Line) -> None:
    found = list(_EXPRESSION.finditer(line.text))
    rest = _EXPRESSION.sub("", line.text)
    if "{{" in rest:
        raise TemplateRefused(f"{line.where}: an expression begins and ends on one line")
    if re.search(r"[|>][0-9+-]*\s*$", rest):
        raise TemplateRefused(f"{line.where}: a block scalar would hold values as text")
    for expression in found:
        before = _EXPRESSION.sub("", line.text[: expression.start()])
        left = line.text[: expression.start()].rstrip()
        right = line.text[expression.end() :].lstrip()
        if before.count('"') % 2 or before.count("'") % 2 or left[-1:] in {'"', "'"} or right[:1] in {'"', "'"}:
            raise TemplateRefused(f"{line.where}: {expression.group()} is quoted; it is a whole value already")
        if re.search(r"(^|\s)#", before):
            raise TemplateRefused(f"{line.where}: {expression.group()} stands in a YAML comment; use {{# #}}")
        dash_in_text = left.endswith("-") and left[-2:-1].strip() != ""
        if (left and left[-1] not in _BEFORE) or dash_in_text or (right and right[0] not in _AFTER):
            raise TemplateRefused(f"{line.where}: {expression.group()} is only part of a value")
        if left and left[-1] in ":-" and line.text[: expression.start()] == left:
            raise TemplateRefused(f"{line.where}: a space is missing before {expression.group()}")


def _environment() -> jinja2.Environment:
    """Sandboxed (attributes and calls are checked), strict (no undefined value), with one marker an expression."""

    @jinja2.pass_context
    def finalize(context: jinja2.runtime.Context, value: object) -> str:
        slots: list[Json] = context[_SLOTS]
        slots.append(_plain(value))
        return f'"{_FIRST}{len(slots) - 1}{_LAST}"'

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.clear()
    return environment


def _plain(value: object) -> Json:
    """A copy as plain JSON data; TypeError for what JSON cannot hold, UndefinedError for what is not defined."""
    match value:
        case jinja2.Undefined():
            return str(value)  # StrictUndefined raises here, with the name
        case Enum():
            return _plain(value.value)
        case str():
            return str(value)
        case bool() | int() | None:
            return value
        case Mapping():
            return {str(k): _plain(v) for k, v in value.items()}
        case list() | tuple():
            return [_plain(v) for v in value]
        case _:
            raise TypeError(f"a value of type {type(value).__name__} is no JSON value")


def _fill(node: Json, slots: Sequence[Json], name: str) -> Json:
    """A copy of a parsed structure with each marker replaced by its value."""
    if isinstance(node, str):
        found = _MARKER.fullmatch(node)
        if found is not None:
            return slots[int(found.group(1))]
        if _FIRST in node:
            raise TemplateRefused(f"{name}: an expression is only part of the value {_MARKER.sub('…', node)!r}")
        return node
    if isinstance(node, dict):
        filled = {_key(_fill(k, slots, name), name): _fill(v, slots, name) for k, v in node.items()}
        if len(filled) != len(node):
            raise TemplateRefused(f"{name}: two keys of a mapping are equal")
        return filled
    if isinstance(node, list):
        return [_fill(v, slots, name) for v in node]
    if node is None or isinstance(node, (bool, int)):
        return node
    raise TemplateRefused(f"{name}: {node!r} is no JSON value; put it into quotes")


def _key(key: Json, name: str) -> str:
    if not isinstance(key, str):
        raise TemplateRefused(f"{name}: the key {key!r} is no text; put it into quotes")
    return key

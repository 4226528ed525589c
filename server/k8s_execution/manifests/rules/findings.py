"""Gathers problems, and the rules for single texts as data.

A rule has an id, a pattern that must match the whole text (ASCII classes only: `\\d` and the like would let other
digits in, and `$` a trailing newline), a bound, what it says and the way out. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from k8s_execution.domain.faults import Problem
from k8s_execution.domain.naming import RESERVED_PREFIXES
from k8s_execution.domain.quantity import parse_quantity

SHOWN = 80
_PRINTABLE = r"[^\x00-\x1f\x7f]"
_NO_DOTS = r"(?!(?:[\s\S]*/)?\.\.?(?:/|\Z))"


@dataclass(frozen=True, slots=True)
class TextRule:
    """One rule for one text. `longest` is in bytes of UTF-8."""

    id: str
    pattern: str
    longest: int
    message: str
    hint: str

    def holds(self, text: str) -> bool:
        """Whether the text obeys."""
        return (
            len(text.encode("utf-8", "surrogatepass")) <= self.longest
            and re.fullmatch(self.pattern, text, re.ASCII) is not None
        )


NAME = TextRule(
    "name.form",
    r"(?!param\Z)[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
    40,
    "must be 1 to 40 of a-z, 0-9 and '-', begin with a letter, end with a letter or digit, and not be 'param'",
    "write for example 'api' or 'unit-tests'",
)
IDENTITY = TextRule(
    "identity.form",
    r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?",
    63,
    "must be 1 to 63 of a-z, 0-9, '-', '_' and '.', begin and end with a letter or digit",
    "write for example 'shop-regression'",
)
VARIABLE = TextRule(
    "variable.form",
    r"(?!K8S_EXECUTION_)[A-Za-z_][A-Za-z0-9_]{0,127}",
    128,
    "must be 1 to 128 of A-Z, a-z, 0-9 and '_', not begin with a digit and not with K8S_EXECUTION_",
    "write for example 'BASE_URL'",
)
PROCESS_TEXT = TextRule(
    "text.process",
    r"[^\x00]*",
    32_768,
    "must hold no NUL character and at most 32768 bytes",
    "put longer values into environment.files",
)
WORD = TextRule("command.word", r"[^\x00]+", 32_768, "must not be empty", "begin with the program's name")
PORT_NAME = TextRule(
    "port.name",
    r"(?=[0-9-]*[a-z])[a-z0-9]+(-[a-z0-9]+)*",
    15,
    "must be at most 15 of a-z, 0-9 and single '-', with a letter, and begin and end with a letter or digit",
    "write for example 'http'",
)
ABSOLUTE_PATH = TextRule(
    "path.absolute",
    _NO_DOTS + r"(/[^/:\x00-\x1f\x7f]+)+/?",
    1024,
    "must be an absolute path of at most 1024 bytes without '.', '..', '//', ':' and control characters",
    "write for example '/etc/shop/config.yaml'",
)
RELATIVE_PATH = TextRule(
    "path.relative",
    _NO_DOTS + r"[^/\\\x00-\x1f\x7f]+(/[^/\\\x00-\x1f\x7f]+)*",
    1024,
    "must be a relative path of at most 1024 bytes without '.', '..', '//', '\\' and control characters",
    "write for example 'tests/test_api.py'",
)
GLOB = TextRule(
    "glob.form",
    r"(?!/)(?!(?:[\s\S]*/)?\.\.(?:/|\Z))" + _PRINTABLE + "+",
    256,
    "must be a pattern below the work directory, without a leading '/', without '..' and control characters",
    "write for example '**/junit*.xml' or 'coverage/'",
)
HTTP_PATH = TextRule(
    "http.path",
    r"/[^\x00-\x20\x7f]*",
    1024,
    "must begin with '/' and hold at most 1024 bytes without spaces",
    "write for example '/healthz'",
)
LINE = TextRule(
    "text.line", _PRINTABLE + "*", 1024, "must be one line without control characters", "shorten it or leave them out"
)
_HOST = r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*(:[0-9]{1,5})?"
_PART = r"[a-z0-9]+((\.|_{1,2}|-+)[a-z0-9]+)*"
IMAGE = TextRule(
    # The grammar of github.com/distribution/reference, which the kubelet parses image names by.
    "image.form",
    rf"({_HOST}/)?{_PART}(/{_PART})*(:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(@sha256:[0-9a-f]{{64}})?",
    512,
    "must be an image reference: lower-case name with optional registry, tag and digest",
    "write for example 'python:3-slim' or 'registry.example/shop-api:1.4'",
)
CPU = TextRule(
    "resources.cpu",
    r"[0-9]{1,6}(\.[0-9]{1,3})?|[0-9]{1,9}m",
    16,
    "must be a number of cores, or of thousandths with 'm', more than zero",
    "write for example '1', '0.5' or '250m'",
)
SIZE = TextRule(
    "resources.size",
    r"[0-9]{1,9}(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|k|M|G|T)|[0-9]{1,15}",
    24,
    "must be a number of bytes with one of Ki Mi Gi Ti k M G T or no suffix, more than zero",
    "write for example '512Mi' or '1Gi' ('512m' would be half a byte)",
)
_RESERVED = "|".join(re.escape(prefix) for prefix in RESERVED_PREFIXES)
LABEL_KEY = TextRule(
    "label.key",
    rf"(?i:(?!(?:app|execution-id|ttl)\Z)(?!{_RESERVED}|k8s-execution|maestro)(?![^/]*\.(?:kubernetes|k8s)\.io/))"
    r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?",
    63,
    "must be 1 to 63 of A-Z, a-z, 0-9, '.', '_', '-' and '/', and not be reserved",
    "leave prefixes of Kubernetes and of this service, app, execution-id and ttl alone; write for example 'branch'",
)


def entry(path: str, key: str) -> str:
    """The path of one entry of a map, as the contract writes it: `environment.env["LOG_LEVEL"]`."""
    return f'{path}["{key[:SHOWN]}"]'


class Findings:
    """The problems found so far. Values are cut; secrets are masked by who reports them."""

    def __init__(self) -> None:
        """Begin with none."""
        self.problems: list[Problem] = []

    def add(self, field: str, value: object, rule: str, message: str, hint: str = "") -> None:
        """Note one problem."""
        self.problems.append(Problem(field, str(value)[:SHOWN], rule, message, hint))

    def text(self, field: str, value: str, rule: TextRule) -> bool:
        """Note a problem if the text breaks the rule; whether it obeys."""
        if rule.holds(value):
            return True
        self.add(field, value, rule.id, rule.message, rule.hint)
        return False

    def texts(self, field: str, values: Iterable[str], rule: TextRule) -> None:
        """The same for each of a list."""
        for index, value in enumerate(values):
            self.text(f"{field}[{index}]", value, rule)

    def amount(self, field: str, value: str, rule: TextRule) -> Decimal | None:
        """The number behind a quantity; None, and a problem, if it is none or not more than zero."""
        number = parse_quantity(value) if rule.holds(value) else Decimal(0)
        if number > 0:
            return number
        self.add(field, value, rule.id, rule.message, rule.hint)
        return None

    def number(self, field: str, value: int, low: int, high: int) -> bool:
        """Note a problem if the number is out of bounds; whether it is within."""
        if low <= value <= high:
            return True
        self.add(field, value, "number.range", f"must be from {low} to {high}", "choose a number in between")
        return False

    def count(self, field: str, values: Collection[object], most: int, least: int = 0) -> None:
        """Note a problem if there are too many or too few."""
        if len(values) > most:
            self.add(field, len(values), "items.most", f"must hold at most {most}", "split the plan")
        if len(values) < least:
            self.add(field, len(values), "items.least", f"must hold at least {least}", "add one")

    def variables(self, field: str, values: Mapping[str, str]) -> None:
        """Names and values of environment variables."""
        self.count(field, values, 256)
        for name, value in values.items():
            self.text(entry(field, name), name, VARIABLE)
            self.text(entry(field, name), value, PROCESS_TEXT)

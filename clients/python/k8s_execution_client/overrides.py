"""`--param` and `--set`: changes to a plan's data before it is fitted to the contract.

A path is the field names joined by dots; an entry of a list is named by its `name` or its number. The first name may
also be one of `environment`, `test_plan` or `policy`, which hold most of what is set: `applications.api.image`. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from k8s_execution_client.faults import Violation
from k8s_execution_client.typed import suggestion
from k8s_execution_client.yaml_reader import ReadFault, Scalar, read

TOP = ("name", "project", "labels", "parameters", "environment", "test_plan", "policy")
SHORT = {
    "environment": ("env", "secrets", "files", "applications", "network", "quota"),
    "test_plan": ("source", "setup", "suites", "teardown", "strategy"),
    "policy": ("timeout", "provisioning_timeout", "queue_timeout", "ttl", "cleanup", "hold_for", "priority"),
}
_PARAMETER = re.compile(r"\$\{param\.([A-Za-z_][A-Za-z0-9_]*)\}")


class OverrideFault(Exception):
    """An override that fits nothing."""

    def __init__(self, violation: Violation) -> None:
        """Which, why and what instead."""
        self.violation = violation
        super().__init__(str(violation))


def set_parameters(data: dict[str, Any], given: Sequence[str]) -> None:
    """Put `K=V` into `parameters`; a name that the plan neither declares nor uses is refused."""
    declared = data.setdefault("parameters", {}) if given else {}
    if not isinstance(declared, dict):
        return  # noted when the data is fitted
    known = [*declared, *_used(data)]
    for item in given:
        name, sign, value = item.partition("=")
        if not sign:
            raise OverrideFault(Violation("--param", f"{item!r} has no value", "write NAME=VALUE"))
        if name not in known:
            hint = suggestion(name, known) if known else "the plan has no parameters"
            raise OverrideFault(Violation("--param", f"the plan has no parameter {name}", hint))
        declared[name] = value


def set_values(data: dict[str, Any], given: Sequence[str]) -> None:
    """Put `PATH=VALUE` where the path leads; a value that begins with [ or { is read as YAML."""
    for item in given:
        path, sign, text = item.partition("=")
        if not sign or not path:
            raise OverrideFault(Violation("--set", f"{item!r} has no value", "write PATH=VALUE"))
        _put(data, _expanded(path), _value(text), item)


def _expanded(path: str) -> list[str]:
    parts = path.split(".")
    if parts[0] in TOP:
        return parts
    for parent, names in SHORT.items():
        if parts[0] in names:
            return [parent, *parts]
    known = [*TOP, *(name for names in SHORT.values() for name in names)]
    raise OverrideFault(Violation("--set", f"{path} leads nowhere", suggestion(parts[0], known)))


def _value(text: str) -> Any:
    if text[:1] in {"[", "{"}:
        try:
            return read(text)
        except ReadFault as fault:
            raise OverrideFault(fault.violations[0]) from fault
    return text


def _put(data: dict[str, Any], parts: list[str], value: Any, item: str) -> None:
    here: Any = data
    for part in parts[:-1]:
        here = _step(here, part, item)
    last = parts[-1]
    if isinstance(here, list):
        here[_index(here, last, item)] = value
    else:
        here[last] = value


def _step(here: Any, part: str, item: str) -> Any:
    if isinstance(here, list):
        return _container(here[_index(here, part, item)], item)
    inner = here.setdefault(part, {})
    if isinstance(inner, Scalar) and inner.kind == "null":
        inner = here[part] = {}
    return _container(inner, item)


def _container(value: Any, item: str) -> Any:
    if not isinstance(value, (dict, list)):
        raise OverrideFault(Violation("--set", f"{item!r} goes into a single value", "end the path there"))
    return value


def _index(items: list[Any], part: str, item: str) -> int:
    names = [str(entry.get("name", "")) for entry in items if isinstance(entry, dict)]
    if part in names:
        return next(i for i, entry in enumerate(items) if isinstance(entry, dict) and entry.get("name") == part)
    if part.isascii() and part.isdigit() and int(part) < len(items):
        return int(part)
    hint = suggestion(part, names) if names else "the list is empty"
    raise OverrideFault(Violation("--set", f"{item!r}: the list has no entry {part}", hint))


def _used(data: dict[str, Any]) -> set[str]:
    text = json.dumps(data, default=lambda scalar: scalar.text)
    return set(_PARAMETER.findall(text))

"""A plan's file as an ExecuteRequest: read, overridden, fitted, secrets of the environment filled in.

All problems come at once, as PlanInvalid. What the service judges (rules on values, references) is left to it; what it
cannot know is done here: `secrets.*.from_env`, and `source.local`, which `send.py` packs and uploads. It must not call
the service or print.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_service_pb2 import ExecuteRequest
from k8s_execution_client.faults import PlanInvalid, Violation
from k8s_execution_client.overrides import OverrideFault, set_parameters, set_values
from k8s_execution_client.typed import Fitter
from k8s_execution_client.yaml_reader import MAX_BYTES, ReadFault, read

USUAL_STEMS = frozenset({"plan", "test-plan", "testplan", "k8s-execution"})
_NOT_IDENTITY = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Plan:
    """A request and the file it came from, against which `source.local.path` is read."""

    request: ExecuteRequest
    file: Path

    @property
    def local_folder(self) -> Path | None:
        """The folder to pack, absolute; None when the source is of another kind."""
        source = self.request.test_plan.source
        if source.WhichOneof("kind") != "local":
            return None
        return (self.file.parent / Path(source.local.path or ".").expanduser()).resolve()


class PlanMisfit(PlanInvalid):
    """The file is readable, but some of it does not fit; `rest` is what does, for the service to judge as well."""

    def __init__(self, where: str, violations: Sequence[Violation], rest: Plan) -> None:
        """Hold the rest too."""
        super().__init__(where, violations)
        self.rest = rest

    def untold(self, field: str) -> bool:
        """Whether a problem of the rest at `field` is a new one.

        It is not where something there or below did not fit and was left out, nor below a field that did not fit.
        """
        told = [_whole(v) for v in self.violations]
        return not field or not any(_within(field, t) or _within(t, field) for t in told)


def load_plan(
    file: Path, *, parameters: Sequence[str] = (), sets: Sequence[str] = (), environment: Mapping[str, str]
) -> Plan:
    """The plan in `file` (`.json` is JSON, all else YAML), with `--param` and `--set` items applied.

    `environment` answers `from_env`. Raises PlanInvalid with all problems, PlanMisfit where the rest can be judged.
    """
    where = str(file)
    data = _read(file)
    try:
        set_parameters(data, parameters)
        set_values(data, sets)
    except OverrideFault as fault:
        raise PlanInvalid(where, [fault.violation]) from fault
    fitter = Fitter()
    fitted = fitter.message(ExecuteRequest.DESCRIPTOR, data, "")
    problems = fitter.problems
    if "idempotency_key" in data:
        hint = "use --idempotency-key: in a file it would answer yesterday's result"
        problems.append(Violation("idempotency_key", "must not stand in a file", hint))
    problems += _fill_secrets(fitted, environment)
    fitted.setdefault("name", default_name(file))
    if not problems:
        return Plan(_parsed(where, fitted), file.resolve())
    fitted.pop("idempotency_key", None)
    try:
        rest = Plan(_parsed(where, fitted), file.resolve())
    except PlanInvalid:
        raise PlanInvalid(where, problems) from None
    raise PlanMisfit(where, problems, rest)


def default_name(file: Path) -> str:
    """The plan's name where it gives none: the file's stem, or its folder's name where the stem says nothing."""
    path = file.resolve()
    stem = path.parent.name if path.stem.lower() in USUAL_STEMS else path.stem
    return _NOT_IDENTITY.sub("-", stem.lower()).strip("-._")[:63].rstrip("-._") or "unnamed"


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        data = read(raw.decode(), as_json=file.suffix.lower() == ".json")
    except OSError as error:
        raise PlanInvalid(str(file), [Violation("", f"cannot be read: {error.strerror}", _way_out(file))]) from error
    except UnicodeDecodeError as error:
        raise PlanInvalid(str(file), [Violation("", "is not UTF-8 text")]) from error
    except ReadFault as fault:
        raise PlanInvalid(str(file), fault.violations) from fault
    if not isinstance(data, dict):
        raise PlanInvalid(str(file), [Violation("", "must be a mapping of fields", "begin with `test_plan:`")])
    return data


def _way_out(file: Path) -> str:
    if file.is_dir():
        return f"name the plan in it, such as {file / 'plan.yaml'}"
    return "" if file.exists() else "`k8s-execution init` writes a plan to begin with"


def _fill_secrets(fitted: dict[str, Any], environment: Mapping[str, str]) -> list[Violation]:
    problems: list[Violation] = []
    for name, source in fitted.get("environment", {}).get("secrets", {}).items():
        if "from_env" not in source:
            continue
        variable = source.pop("from_env")
        if variable in environment:
            source["value"] = environment[variable]
        else:
            path = f'environment.secrets["{name}"].from_env'
            problems.append(
                Violation(path, f"the variable {variable} is not set", f"export {variable} before the call")
            )
    return problems


def _within(path: str, outer: str) -> bool:
    return path == outer or (path.startswith(outer) and path[len(outer)] in ".[") or not outer


def _whole(violation: Violation) -> str:
    """The field; of an entry of a list the list, because what comes after an entry that was left out moves up."""
    return re.sub(r"\[[0-9]+\]$", "", violation.field)


def _parsed(where: str, fitted: dict[str, Any]) -> ExecuteRequest:
    request = ExecuteRequest()
    try:
        json_format.ParseDict(fitted, request)
    except json_format.ParseError as error:
        raise PlanInvalid(where, [Violation("", str(error))]) from error
    return request

"""What is wrong with a pod spec: the part of pkg/apis/core/validation that clients meet.

The field paths are those of the object that holds the spec (`spec` or `spec.template.spec`). Pure.
"""

from __future__ import annotations

import re

from k8s_simulation.api import quantities
from k8s_simulation.api.objects import Object
from k8s_simulation.api.problems import (
    FieldProblem,
    duplicate,
    field_not_found,
    forbidden_field,
    invalid_value,
    required,
    unsupported,
)

_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_PROBES = ("readinessProbe", "livenessProbe", "startupProbe")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")


def pod_spec_problems(spec: Object, at: str) -> list[FieldProblem]:
    """All problems of a pod spec found at the path `at`."""
    problems: list[FieldProblem] = []
    volumes = _volume_problems(spec, at, problems)
    containers = spec.get("containers") or []
    if not containers:
        problems.append(required(f"{at}.containers"))
    seen: set[str] = set()
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(kind) or []):
            where = f"{at}.{kind}[{index}]"
            problems += _container(container, where, volumes)
            name = str(container.get("name") or "")
            if name and name in seen:
                problems.append(duplicate(f"{where}.name", name))
            seen.add(name)
    policies = ["Always", "Never", "OnFailure"]
    if spec.get("restartPolicy") not in policies:
        problems.append(unsupported(f"{at}.restartPolicy", spec.get("restartPolicy"), policies))
    problems += _numbers(spec, at)
    return problems


def _numbers(spec: Object, at: str) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    deadline = spec.get("activeDeadlineSeconds")
    if isinstance(deadline, int) and not 1 <= deadline <= 2**31 - 1:
        words = "must be between 1 and 2147483647, inclusive"
        problems.append(invalid_value(f"{at}.activeDeadlineSeconds", deadline, words))
    grace = spec.get("terminationGracePeriodSeconds")
    if isinstance(grace, int) and grace < 0:
        words = "must be greater than or equal to 0"
        problems.append(invalid_value(f"{at}.terminationGracePeriodSeconds", grace, words))
    return problems


def _volume_problems(spec: Object, at: str, problems: list[FieldProblem]) -> set[str]:
    names: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or []):
        where = f"{at}.volumes[{index}]"
        name = str(volume.get("name") or "")
        if not name:
            problems.append(required(f"{where}.name"))
        elif not _LABEL.match(name):
            problems.append(invalid_value(f"{where}.name", name, _LABEL_WORDS))
        elif name in names:
            problems.append(duplicate(f"{where}.name", name))
        names.add(name)
        sources = [k for k in volume if k != "name"]
        problems += [forbidden_field(f"{where}.{k}", "may not specify more than 1 volume type") for k in sources[1:]]
    return names


def _container(container: Object, at: str, volumes: set[str]) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    name = str(container.get("name") or "")
    if not name:
        problems.append(required(f"{at}.name"))
    elif not _LABEL.match(name) or len(name) > 63:
        problems.append(invalid_value(f"{at}.name", name, _LABEL_WORDS))
    image = container.get("image")
    if not image:
        problems.append(required(f"{at}.image"))
    elif image != str(image).strip():
        problems.append(invalid_value(f"{at}.image", image, "must not have leading or trailing whitespace"))
    pull = container.get("imagePullPolicy")
    if pull not in {None, "Always", "IfNotPresent", "Never"}:
        problems.append(unsupported(f"{at}.imagePullPolicy", pull, ["Always", "IfNotPresent", "Never"]))
    return [
        *problems,
        *_ports(container, at),
        *_environment(container, at),
        *_mounts(container, at, volumes),
        *_resources(container, at),
        *_probes(container, at),
    ]


def _ports(container: Object, at: str) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    for index, port in enumerate(container.get("ports") or []):
        number = port.get("containerPort")
        where = f"{at}.ports[{index}]"
        if number is None:
            problems.append(required(f"{where}.containerPort"))
        elif not isinstance(number, int) or not 1 <= number <= 65535:
            words = "must be between 1 and 65535, inclusive"
            problems.append(invalid_value(f"{where}.containerPort", number, words))
        if port.get("name") and len(port["name"]) > 15:
            problems.append(invalid_value(f"{where}.name", port["name"], "must be no more than 15 characters"))
    return problems


def _environment(container: Object, at: str) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    for index, entry in enumerate(container.get("env") or []):
        where = f"{at}.env[{index}]"
        name = entry.get("name")
        if not name:
            problems.append(required(f"{where}.name"))
        elif "=" in name:
            words = "a valid environment variable name must consist only of printable ASCII characters other than '='"
            problems.append(invalid_value(f"{where}.name", name, words))
        if entry.get("value") and entry.get("valueFrom"):
            words = "may not be specified when `value` is not empty"
            problems.append(invalid_value(f"{where}.valueFrom", "", words))
    return problems


def _mounts(container: Object, at: str, volumes: set[str]) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    paths: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or []):
        where = f"{at}.volumeMounts[{index}]"
        if not mount.get("name"):
            problems.append(required(f"{where}.name"))
        elif mount["name"] not in volumes:
            problems.append(field_not_found(f"{where}.name", mount["name"]))
        path = mount.get("mountPath")
        if not path:
            problems.append(required(f"{where}.mountPath"))
        elif path in paths:
            problems.append(invalid_value(f"{where}.mountPath", path, "must be unique"))
        paths.add(str(path))
    return problems


def _resources(container: Object, at: str) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    resources = container.get("resources") or {}
    for kind in ("limits", "requests"):
        for name, value in (resources.get(kind) or {}).items():
            problems += quantity_problems(value, f"{at}.resources.{kind}[{name}]")
    if problems:
        return problems
    limits = resources.get("limits") or {}
    for name, value in (resources.get("requests") or {}).items():
        if name in limits and quantities.parse(value) > quantities.parse(limits[name]):
            words = f"must be less than or equal to {name} limit of {limits[name]}"
            problems.append(invalid_value(f"{at}.resources.requests", str(value), words))
    return problems


def quantity_problems(value: object, at: str) -> list[FieldProblem]:
    """What is wrong with one quantity."""
    try:
        if quantities.parse(value) < 0:
            return [invalid_value(at, str(value), "must be greater than or equal to 0")]
    except ValueError as error:
        return [invalid_value(at, value, str(error))]
    return []


def _probes(container: Object, at: str) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    for kind in _PROBES:
        probe = container.get(kind)
        if probe is None:
            continue
        handlers = [h for h in _HANDLERS if probe.get(h) is not None]
        if not handlers:
            problems.append(required(f"{at}.{kind}", "must specify a handler type"))
        problems += [
            forbidden_field(f"{at}.{kind}.{h}", "may not specify more than 1 handler type") for h in handlers[1:]
        ]
        if kind != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            problems.append(invalid_value(f"{at}.{kind}.successThreshold", probe["successThreshold"], "must be 1"))
    return problems

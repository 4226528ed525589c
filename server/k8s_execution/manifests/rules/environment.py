"""Rules for what surrounds the tests: variables, secrets, files, network, quota. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from k8s_execution.domain.plan import ConfigFile, EgressRule, Quota, Specification
from k8s_execution.domain.quantity import format_bytes, format_cpu, parse_quantity
from k8s_execution.manifests import sizing
from k8s_execution.manifests.rules import containers
from k8s_execution.manifests.rules.findings import ABSOLUTE_PATH, CPU, SIZE, VARIABLE, Findings, entry
from k8s_execution.ports.manifests import QUOTA_ROOM

MEBIBYTE = 1024 * 1024
"""Kubernetes' bound for the data of one Secret or ConfigMap (pkg/apis/core/validation, MaxSecretSize)."""

_SECRET_BYTES = 16_384
_FILE_BYTES = 262_144
_HIDDEN = "***"
_UNSOUND = frozenset({CPU.id, SIZE.id, "number.range"})


def check(found: Findings, specification: Specification, secrets: Mapping[str, str], forbidden: Sequence[str]) -> None:
    """All of the environment but its applications and quota."""
    environment = specification.environment
    found.variables("environment.env", environment.env)
    containers.size(found, "environment.env", (*environment.env, *environment.env.values()), containers.SHARED_BYTES)
    _secrets(found, specification, secrets)
    found.count("environment.files", environment.files, 64)
    _files(found, "environment.files", environment.files)
    found.count("environment.network.egress", environment.egress, 64)
    for index, rule in enumerate(environment.egress):
        _egress(found, f"environment.network.egress[{index}]", rule, forbidden)


def quota(found: Findings, specification: Specification) -> None:
    """The caller's quota: quantities, and room for what the plan needs at its peak. Runs after all other amounts."""
    path, given = "environment.quota", specification.environment.quota
    for name, rule in (("cpu", CPU), ("memory", SIZE), ("ephemeral_storage", SIZE)):
        if (amount := getattr(given, name)) is not None:
            found.amount(f"{path}.{name}", amount, rule)
    if given.pods is not None:
        found.number(f"{path}.pods", given.pods, 1, 500)
    _room(found, path, given, specification)


def _room(found: Findings, path: str, given: Quota, specification: Specification) -> None:
    if any(problem.rule in _UNSOUND for problem in found.problems):
        return  # sums of amounts out of bounds say nothing, and may be endless
    needed = sizing.least(specification)
    cpu, memory = format_cpu(needed.cpu), format_bytes(needed.memory)
    amounts = (
        ("cpu", given.cpu, given.cpu and parse_quantity(given.cpu), needed.cpu, cpu),
        ("memory", given.memory, given.memory and parse_quantity(given.memory), needed.memory, memory),
        ("pods", given.pods, given.pods, needed.pods, str(needed.pods)),
    )
    for name, text, limit, need, shown in amounts:
        if limit and need > limit:
            message = f"must not be below what the plan needs at once ({shown})"
            hint = "raise it, or lower resources, replicas or strategy.parallel"
            found.add(f"{path}.{name}", text, QUOTA_ROOM, message, hint)


def _secrets(found: Findings, specification: Specification, secrets: Mapping[str, str]) -> None:
    path, environment = "environment.secrets", specification.environment
    found.count(path, environment.secrets, 64)
    maps = [
        environment.env,
        *(a.env for a in environment.applications),
        *(s.env for s in specification.test_plan.steps),
    ]
    plain = {name for env in maps for name in env}
    for name in environment.secrets:
        at = entry(path, name)
        found.text(at, name, VARIABLE)
        value = secrets.get(name)
        if value is None:
            found.add(at, "", "secret.value", "must have a value", "send it as value: '...'")
        elif "\0" in value or len(value.encode("utf-8", "surrogatepass")) > _SECRET_BYTES:
            message = f"must hold no NUL character and at most {_SECRET_BYTES} bytes"
            found.add(at, _HIDDEN, "secret.form", message, "put a longer value into several")
        if name in plain:
            message = "must not also be a variable in env: one of them would be lost"
            found.add(at, name, "secret.twice", message, "rename or remove one of them")
    total = sum(len(v.encode("utf-8", "surrogatepass")) for v in secrets.values())
    if total >= MEBIBYTE:
        found.add(path, total, "secret.size", "must be less than 1 MiB together", "send fewer or shorter ones")


def _files(found: Findings, path: str, files: Sequence[ConfigFile]) -> None:
    total = 0
    for index, file in enumerate(files):
        size = len(file.content.encode("utf-8", "surrogatepass"))
        total += size
        if found.text(f"{path}[{index}].path", file.path, ABSOLUTE_PATH):
            containers.mount_point(found, f"{path}[{index}].path", file.path)
        if file.path.endswith("/"):
            found.add(f"{path}[{index}].path", file.path, "path.file", "must name a file", "remove the last '/'")
        if size > _FILE_BYTES:
            message = f"must be at most {_FILE_BYTES} bytes"
            found.add(f"{path}[{index}].content", size, "file.size", message, "put it into an image or the source")
    if total >= MEBIBYTE:
        found.add(path, total, "file.size", "must be less than 1 MiB together", "put them into an image or the source")
    containers.conflicts(found, [], placed_files(files))


def placed_files(files: Sequence[ConfigFile]) -> list[tuple[str, str]]:
    """(field, path) of the files with a usable path, for conflicts with other mounts."""
    found = [(f"environment.files[{i}].path", f.path) for i, f in enumerate(files)]
    return [(field, path) for field, path in found if ABSOLUTE_PATH.holds(path)]


def _egress(found: Findings, path: str, rule: EgressRule, forbidden: Sequence[str]) -> None:
    found.count(f"{path}.ports", rule.ports, 64)
    for index, port in enumerate(rule.ports):
        found.number(f"{path}.ports[{index}]", port, 1, 65_535)
    try:
        # ip_network takes an address without a length, which Kubernetes does not.
        network = ipaddress.ip_network(rule.cidr) if rule.cidr.isascii() and "/" in rule.cidr else None
    except ValueError:
        network = None
    if network is None or str(network) != rule.cidr.lower():
        message = "must be a network in CIDR form without host bits"
        hint = "write for example '203.0.113.0/24' or '203.0.113.7/32'"
        found.add(f"{path}.cidr", rule.cidr, "egress.cidr", message, hint)
        return
    for text in forbidden:
        outer = ipaddress.ip_network(text)
        if network.version == outer.version and network.subnet_of(outer):  # type: ignore[arg-type]
            message = f"must not lie within {text}, which no plan may reach"
            hint = "loopback, link-local and the installation's own networks are closed"
            found.add(f"{path}.cidr", rule.cidr, "egress.forbidden", message, hint)

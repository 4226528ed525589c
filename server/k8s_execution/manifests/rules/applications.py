"""Rules for applications. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from k8s_execution.domain.plan import Application, Port, Readiness, ReadinessKind, Resources, Volume
from k8s_execution.manifests.pods import FILES_VOLUME, SHM_PATH, SHM_VOLUME, TMP_VOLUME
from k8s_execution.manifests.rules import containers
from k8s_execution.manifests.rules.findings import (
    ABSOLUTE_PATH,
    HTTP_PATH,
    IMAGE,
    LINE,
    NAME,
    PORT_NAME,
    PROCESS_TEXT,
    SIZE,
    Findings,
)

_MINUTE_MS = 60_000
_RESERVED_VOLUMES = frozenset({FILES_VOLUME, SHM_VOLUME, TMP_VOLUME})


def check(found: Findings, path: str, application: Application, files: Sequence[tuple[str, str]]) -> None:
    """All of one application; `files` are (field, path) of the environment's files, which it also mounts."""
    found.text(f"{path}.name", application.name, NAME)
    found.text(f"{path}.image", application.image, IMAGE)
    containers.command(found, f"{path}.command", application.command)
    found.count(f"{path}.args", application.args, 256)
    found.texts(f"{path}.args", application.args, PROCESS_TEXT)
    if application.working_dir:
        found.text(f"{path}.working_dir", application.working_dir, ABSOLUTE_PATH)
    found.number(f"{path}.replicas", application.replicas, 1, 50)
    found.variables(f"{path}.env", application.env)
    containers.size(found, path, (*application.command, *application.args, *application.env, *application.env.values()))
    containers.resources(found, f"{path}.resources", application.resources)
    if application.security.run_as_user is not None:
        _user(found, f"{path}.security.run_as_user", application.security.run_as_user)
    _ports(found, f"{path}.ports", application.ports)
    if application.readiness is not None:
        _readiness(found, f"{path}.readiness", application.readiness)
    _volumes(found, f"{path}.volumes", application.volumes)
    _mounts(found, path, application, files)


def _user(found: Findings, path: str, user: int) -> None:
    if not 1 <= user <= 2**31 - 1:
        message = "must be a user from 1 to 2147483647, not root (0)"
        found.add(path, user, "security.user", message, "write the numeric user that the image is made for")


def _ports(found: Findings, path: str, ports: Sequence[Port]) -> None:
    found.count(path, ports, 16)
    numbers: set[int] = set()
    names: set[str] = set()
    for index, port in enumerate(ports):
        found.number(f"{path}[{index}].port", port.port, 1, 65_535)
        found.text(f"{path}[{index}].name", port.name, PORT_NAME)
        if port.port in numbers:
            found.add(f"{path}[{index}].port", port.port, "ports.unique", "must not be given twice", "remove one")
        if port.name in names:
            found.add(f"{path}[{index}].name", port.name, "ports.unique", "must not be given twice", "rename one")
        numbers.add(port.port)
        names.add(port.name)


def _readiness(found: Findings, path: str, readiness: Readiness) -> None:
    kind = readiness.kind.value.lower()
    if readiness.kind is ReadinessKind.EXEC:
        found.count(f"{path}.exec.command", readiness.command, 256, least=1)
        containers.command(found, f"{path}.exec.command", readiness.command)
    else:
        found.number(f"{path}.{kind}.port", readiness.port, 1, 65_535)
    if readiness.kind is ReadinessKind.HTTP and readiness.path:
        found.text(f"{path}.http.path", readiness.path, HTTP_PATH)
    found.text(f"{path}.grpc.service", readiness.service, LINE)
    found.number(f"{path}.failure_threshold", readiness.failure_threshold, 1, 1_000)
    for name, value in (("period", readiness.period_ms), ("timeout", readiness.timeout_ms)):
        if not 0 < value <= 5 * _MINUTE_MS:
            message = "must be more than zero and at most 5m"
            found.add(f"{path}.{name}", f"{value}ms", "duration.range", message, "write for example '1s'")


def _volumes(found: Findings, path: str, volumes: Sequence[Volume]) -> None:
    found.count(path, volumes, 16)
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        at = f"{path}[{index}]"
        found.text(f"{at}.name", volume.name, NAME)
        if volume.name in names:
            found.add(f"{at}.name", volume.name, "volumes.unique", "must not be given twice", "rename one")
        if volume.name in _RESERVED_VOLUMES:
            found.add(f"{at}.name", volume.name, "volumes.reserved", "is a name of this service", "rename it")
        names.add(volume.name)
        if found.text(f"{at}.mount_path", volume.mount_path, ABSOLUTE_PATH) and volume.mount_path != SHM_PATH:
            containers.mount_point(found, f"{at}.mount_path", volume.mount_path)
        if volume.size:
            found.amount(f"{at}.size", volume.size, SIZE)


def _mounts(found: Findings, path: str, application: Application, files: Sequence[tuple[str, str]]) -> None:
    folders = [
        (f"{path}.volumes[{i}].mount_path", v.mount_path)
        for i, v in enumerate(application.volumes)
        if ABSOLUTE_PATH.holds(v.mount_path)
    ]
    containers.conflicts(found, [*_shared_memory(path, application.resources), *folders], files)


def _shared_memory(path: str, resources: Resources) -> list[tuple[str, str]]:
    return [(f"{path}.resources.shm_size", SHM_PATH)] if resources.shm_size else []

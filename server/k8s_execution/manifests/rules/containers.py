"""Rules that applications and steps share: command, resources, mounts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import PurePosixPath

from k8s_execution.domain import naming
from k8s_execution.domain.plan import Resources
from k8s_execution.manifests.rules.findings import CPU, PROCESS_TEXT, SIZE, WORD, Findings

CONTAINER_BYTES = 512 * 1024
SHARED_BYTES = 256 * 1024
"""Variables and words of one container, and variables of all: an object in etcd holds at most 1.5 MiB, and a process
starts with at most 2 MiB, secrets included."""

_COMPARED = 200
_SYSTEM = ("/proc", "/sys", "/dev", "/var/run/secrets", "/run/secrets", naming.SHARED_PATH)


def command(found: Findings, path: str, words: Sequence[str]) -> None:
    """A command as words: the first names the program."""
    found.count(path, words, 256)
    found.texts(path, words, PROCESS_TEXT)
    if words:
        found.text(f"{path}[0]", words[0], WORD)


def resources(found: Findings, path: str, wanted: Resources) -> None:
    """Quantities, and no request above its limit."""
    for name, rule in (("cpu", CPU), ("memory", SIZE)):
        request = found.amount(f"{path}.{name}", getattr(wanted, name), rule)
        limit = found.amount(f"{path}.{name}_limit", getattr(wanted, f"{name}_limit"), rule)
        if request is not None and limit is not None and request > limit:
            text = f"must not be above {name}_limit ({getattr(wanted, f'{name}_limit')})"
            hint = f"raise {name}_limit or lower {name}"
            found.add(f"{path}.{name}", getattr(wanted, name), "resources.limit", text, hint)
    if not wanted.shm_size:
        return
    shared = found.amount(f"{path}.shm_size", wanted.shm_size, SIZE)
    memory = found.amount(f"{path}.memory_limit", wanted.memory_limit, SIZE) if shared is not None else None
    if shared is not None and memory is not None and shared > memory:
        text = "must not be above memory_limit: /dev/shm is counted as memory"
        found.add(f"{path}.shm_size", wanted.shm_size, "resources.shm", text, "raise memory_limit or lower shm_size")


def size(found: Findings, path: str, texts: Iterable[str], most: int = CONTAINER_BYTES) -> None:
    """The variables and words of one container, or those of all, together."""
    total = sum(len(text.encode("utf-8", "surrogatepass")) + 1 for text in texts)
    if total > most:
        message = f"variables and words must be at most {most} bytes together"
        found.add(path, total, "container.size", message, "put long values into environment.files")


def mount_point(found: Findings, path: str, mount: str) -> None:
    """A path that may be mounted over."""
    system = next((s for s in _SYSTEM if _is_below(mount, s)), None)
    if system is not None:
        message = f"must not be below {system}, which belongs to the system or to this service"
        found.add(path, mount, "mount.reserved", message, "choose another path")


def conflicts(found: Findings, folders: Sequence[tuple[str, str]], files: Sequence[tuple[str, str]]) -> None:
    """Mounts (field, path) that shut each other out: the same path twice, or anything below a file."""
    if len(folders) + len(files) > _COMPARED:
        return  # far over the bounds of both lists, which is a problem of its own
    for (_, first), (field, second) in combinations([*folders, *files], 2):
        if _normal(first) == _normal(second):
            message = f"must not be mounted twice ({first})"
            found.add(field, second, "mount.conflict", message, "rename one of them")
    for file_field, file in files:
        for field, other in (*folders, *files):
            if (field, other) != (file_field, file) and _normal(other) != _normal(file) and _is_below(other, file):
                message = f"must not lie below the file {file}"
                found.add(field, other, "mount.conflict", message, "choose another path")


def _normal(path: str) -> str:
    return str(PurePosixPath(path))


def _is_below(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(PurePosixPath(folder))

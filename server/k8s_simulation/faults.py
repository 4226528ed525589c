"""Scripted faults as data: what a test or a user can make go wrong in the simulated cluster.

A fault is one frozen dataclass; its JSON form is its fields plus `kind`. A script is a list of them, given at the start
(JSON or YAML file) or at run time (`/simulation/faults`). `FaultBook` holds the present script, counts what the counted
ones have done, and tells who follows it of changes; it injects nothing itself: the API server, the controllers and the
node each ask for the faults that concern them. No asyncio, no clock, no I/O besides `load_file`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar


@dataclass(frozen=True, slots=True)
class ImagePullError:
    """Node: pulling images that match the pattern `image` fails with this message."""

    image: str
    message: str = "failed to pull and unpack image: simulated fault"
    times: int = 0  # 0: always


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """Node: the container is killed as if it had passed its memory limit, `after_seconds` after its start."""

    pod: str
    namespace: str = "*"
    container: str = "*"
    after_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class EvictPod:
    """Node: running pods that match are evicted as under pressure (phase Failed, reason Evicted)."""

    pod: str
    namespace: str = "*"
    message: str = "The node was low on resource: memory."


@dataclass(frozen=True, slots=True)
class LogRotation:
    """Node: container log files are rotated at this size, looked at every so many seconds (a kubelet: not below 3)."""

    max_bytes: int
    max_files: int = 5
    interval_seconds: float = 3.0


@dataclass(frozen=True, slots=True)
class CutLogs:
    """API server: log streams are cut after this many bytes, without a word, as proxies and kubelets do."""

    after_bytes: int
    times: int = 0


@dataclass(frozen=True, slots=True)
class Compact:
    """API server, at once: the history of a resource (`*`: all) is forgotten; later watches from before get 410."""

    resource: str = "*"


@dataclass(frozen=True, slots=True)
class CutWatches:
    """API server, at once: open watches of a resource end; with `expired`, by an ERROR event with code 410."""

    resource: str = "*"
    expired: bool = False


@dataclass(frozen=True, slots=True)
class SilentWatches:
    """API server: watches of a resource stay open and deliver nothing (a half-open connection)."""

    resource: str = "*"


@dataclass(frozen=True, slots=True)
class StuckNamespace:
    """Namespace controller: matching namespaces stay Terminating with this condition as the reason."""

    namespace: str
    condition: str = "NamespaceFinalizersRemaining"
    message: str = "Some content in the namespace has finalizers remaining: example.com/stuck in 1 resource instances"


@dataclass(frozen=True, slots=True)
class StuckFinalizer:
    """Job controller: the finalizer batch.kubernetes.io/job-tracking of matching pods is not removed."""

    namespace: str = "*"


@dataclass(frozen=True, slots=True)
class QuotaStatusDelay:
    """Quota controller: the status of a new quota is written this late; until then pods are refused."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ServiceAccountDelay:
    """Service account controller: `default` of a new namespace is made this late."""

    seconds: float


@dataclass(frozen=True, slots=True)
class DropReply:
    """API server: the `nth` matching write is executed, and its connection closed without an answer; once."""

    verb: str = "*"
    resource: str = "*"
    namespace: str = "*"
    nth: int = 1


@dataclass(frozen=True, slots=True)
class Respond:
    """API server: matching requests are answered with this status and not executed, `times` times (0: always)."""

    status: int
    verb: str = "*"
    resource: str = "*"
    namespace: str = "*"
    times: int = 1
    retry_after: int = 0
    message: str = "simulated fault"


@dataclass(frozen=True, slots=True)
class Slow:
    """API server: matching requests are answered this late."""

    seconds: float
    verb: str = "*"
    resource: str = "*"


Fault = (
    ImagePullError | OutOfMemory | EvictPod | LogRotation | CutLogs | Compact | CutWatches | SilentWatches
    | StuckNamespace | StuckFinalizer | QuotaStatusDelay | ServiceAccountDelay | DropReply | Respond | Slow
)  # fmt: skip
KINDS: dict[str, type[Fault]] = {
    kind.__name__: kind
    for kind in (ImagePullError, OutOfMemory, EvictPod, LogRotation, CutLogs, Compact, CutWatches, SilentWatches,
                 StuckNamespace, StuckFinalizer, QuotaStatusDelay, ServiceAccountDelay, DropReply, Respond, Slow)
}  # fmt: skip
AT_ONCE = (Compact, CutWatches)  # acted on when they arrive, not kept
_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
F = TypeVar("F")


class BadFault(ValueError):
    """A script that cannot be read; the message says where and what is allowed."""


def parse(items: object) -> list[Fault]:
    """The faults of a script: a list, or an object with the list under `faults`. Raises BadFault."""
    if isinstance(items, dict) and "faults" in items:
        items = items["faults"]
    if not isinstance(items, list):
        raise BadFault("a fault script is a list of faults")
    return [_parse_one(index, item) for index, item in enumerate(items)]


def _parse_one(index: int, item: object) -> Fault:
    if not isinstance(item, dict) or item.get("kind") not in KINDS:
        raise BadFault(f"faults[{index}].kind: one of {', '.join(KINDS)} is needed")
    kind = KINDS[item["kind"]]
    known = {f.name: f for f in fields(kind)}
    given = {k: v for k, v in item.items() if k != "kind"}
    for name, value in given.items():
        if name not in known:
            raise BadFault(f"faults[{index}].{name}: {kind.__name__} has {', '.join(known) or 'no fields'}")
        wanted = _TYPES[str(known[name].type)]
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise BadFault(f"faults[{index}].{name}: a value of type {known[name].type} is needed, not {value!r}")
    missing = [n for n, f in known.items() if f.default is MISSING and n not in given]
    if missing:
        raise BadFault(f"faults[{index}]: {kind.__name__} needs {', '.join(missing)}")
    return kind(**given)


def render(faults: Iterable[Fault]) -> list[dict[str, Any]]:
    """The JSON form of a script."""
    return [{"kind": type(f).__name__, **asdict(f)} for f in faults]


def load_file(path: Path) -> list[Fault]:
    """The script in a JSON or YAML file. Raises BadFault or OSError."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return parse(json.loads(text))
    import yaml

    return parse(yaml.safe_load(text))


def matches(pattern: str, value: str) -> bool:
    """Shell-style patterns; `*` matches everything."""
    return pattern == "*" or fnmatchcase(value, pattern)


class FaultBook:
    """The present script and how often its counted faults have acted."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        """Begin with this script."""
        self.version = 1
        self._faults: list[Fault] = [f for f in faults if not isinstance(f, AT_ONCE)]
        self._seen: dict[int, int] = {}
        self._followers: list[Callable[[list[Fault]], None]] = []

    def follow(self, follower: Callable[[list[Fault]], None]) -> Callable[[], None]:
        """Call `follower` with newly arrived faults, also those acted on at once; returns what ends it."""
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)

    def all(self) -> list[Fault]:
        """The present script."""
        return list(self._faults)

    def of(self, kind: type[F]) -> list[F]:
        """The faults of one kind."""
        return [f for f in self._faults if isinstance(f, kind)]

    def replace(self, faults: list[Fault]) -> None:
        """A new script instead of the present one; counts begin anew."""
        self._faults, self._seen = [], {}
        self.add(faults)

    def add(self, faults: list[Fault]) -> None:
        """More faults beside the present ones."""
        self._faults += [f for f in faults if not isinstance(f, AT_ONCE)]
        self.version += 1
        for follower in list(self._followers):
            follower(faults)

    def seen(self) -> list[int]:
        """How often the occasion of each fault of the present script has come, for those that count."""
        return [self._seen.get(id(fault), 0) for fault in self._faults]

    def count(self, fault: Fault) -> int:
        """Note that this fault's occasion came; answers how often it has come, this time included."""
        seen = self._seen.get(id(fault), 0) + 1
        self._seen[id(fault)] = seen
        return seen

"""Server-side apply: merging by owner, with managedFields.

What an applier once applied and no longer applies is removed unless another applier owns it too; a field that another
applier owns with another value is a conflict (409) unless forced. Ownership is kept for appliers only (operation
Apply), not for plain writes: see docs/simulation.md. List semantics are `x-kubernetes-list-map-keys` of k8s.io/api by
field name. Pure: the caller gives the time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from k8s_simulation.api.objects import Object, clone, meta
from k8s_simulation.api.problems import ApiError

Path = tuple[str, ...]  # of "f:name", 'k:{"name":"x"}' and "v:value" elements, as fieldsV1 writes them

_MAP_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "ownerReferences": ("uid",),
    "conditions": ("type",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
_SETS = {"finalizers"}
_NOT_OWNED = {
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata", "f:name"),
    ("f:metadata", "f:namespace"),
}


@dataclass(frozen=True, slots=True)
class Applier:
    """Who applies, with what right and when (an RFC 3339 time)."""

    manager: str
    force: bool
    time: str


def map_keys(field: str, items: list[Any]) -> tuple[str, ...]:
    """The keys of an associative list, or () for an atomic one."""
    if field == "ports":
        first = items[0] if items and isinstance(items[0], dict) else {}
        if "containerPort" in first:
            return ("containerPort", "protocol")
        return ("port", "protocol") if "port" in first else ()
    return _MAP_KEYS.get(field, ())


def server_side_apply(live: Object | None, applied: Object, applier: Applier) -> Object:
    """The object after this apply, with managedFields brought up to date. Raises 409 with every conflict as a cause."""
    live = live or {}
    applied = clone(applied)
    meta(applied).pop("managedFields", None)
    meta(applied).pop("resourceVersion", None)
    mine = {p for p in leaves(applied) if p not in _NOT_OWNED}
    entries = [e for e in meta(live).get("managedFields") or [] if e.get("operation") == "Apply"]
    others = {e["manager"]: _paths(e["fieldsV1"]) for e in entries if e["manager"] != applier.manager}
    before = next((_paths(e["fieldsV1"]) for e in entries if e["manager"] == applier.manager), set())
    conflicts = _conflicts(live, applied, mine, others)
    if conflicts and not applier.force:
        raise _conflict_error(conflicts)
    result = _merge(clone(live), applied, "")
    owned_elsewhere = set().union(*others.values()) if others else set()
    for path in _given_up(before, mine | owned_elsewhere):
        _remove(result, path)
    lost = set(conflicts)
    kept = [_entry(e, _paths(e["fieldsV1"]) - lost) for e in entries if e["manager"] != applier.manager]
    own = {
        "manager": applier.manager,
        "operation": "Apply",
        "apiVersion": applied["apiVersion"],
        "time": applier.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": _tree(mine),
    }
    previous = next((e for e in entries if e["manager"] == applier.manager), None)
    if previous is not None and previous["fieldsV1"] == own["fieldsV1"]:
        own["time"] = previous["time"]
    result.setdefault("metadata", {})["managedFields"] = [e for e in kept if e["fieldsV1"]] + [own]
    return dict(result)


def leaves(value: Any, field: str = "", at: Path = ()) -> Iterator[Path]:
    """The paths of all that a configuration says: scalars, atomic lists, empty maps, elements of associative lists."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, key, (*at, f"f:{key}"))
    elif isinstance(value, list) and field in _SETS:
        yield from ((*at, f"v:{json.dumps(item)}") for item in value)
    elif isinstance(value, list) and (keys := map_keys(field, value)):
        for item in value:
            here = (*at, _key_element(item, keys))
            yield from leaves(item, "", here)
    else:
        yield at


def _key_element(item: Any, keys: tuple[str, ...]) -> str:
    named = {k: _with_default(item, k) for k in keys}
    return "k:" + json.dumps(named, separators=(",", ":"), sort_keys=True)


def _with_default(item: Any, key: str) -> Any:
    return item.get(key, "TCP" if key == "protocol" else None)


def _conflicts(live: Object, applied: Object, mine: set[Path], others: dict[str, set[Path]]) -> dict[Path, str]:
    found: dict[Path, str] = {}
    for path in mine:
        for manager, owned in others.items():
            if path in owned and _read(live, path) != _read(applied, path):
                found[path] = manager
    return found


def _conflict_error(conflicts: dict[Path, str]) -> ApiError:
    shown = sorted((_dotted(p), m) for p, m in conflicts.items())
    causes = [{"reason": "FieldManagerConflict", "message": f'conflict with "{m}"', "field": p} for p, m in shown]
    names = " and ".join(f'"{m}": {p}' for p, m in shown)
    word = "conflict" if len(shown) == 1 else "conflicts"
    message = f"Apply failed with {len(shown)} {word}: conflict with {names}"
    return ApiError(409, "Conflict", message, {"causes": causes})


def _dotted(path: Path) -> str:
    text = ""
    for element in path:
        kind, _, rest = element.partition(":")
        text += f".{rest}" if kind == "f" else f"[{rest}]"
    return text


def _merge(live: Any, applied: Any, field: str) -> Any:
    if isinstance(live, dict) and isinstance(applied, dict):
        for key, value in applied.items():
            live[key] = _merge(live.get(key), value, key)
        return live
    if isinstance(live, list) and isinstance(applied, list):
        if field in _SETS:
            return [*live, *[v for v in applied if v not in live]]
        if keys := map_keys(field, [*applied, *live]):
            return _merge_list(live, applied, keys)
    return clone(applied)


def _merge_list(live: list[Any], applied: list[Any], keys: tuple[str, ...]) -> list[Any]:
    by_key = {_key_element(item, keys): index for index, item in enumerate(live)}
    for item in applied:
        index = by_key.get(_key_element(item, keys))
        if index is None:
            live.append(clone(item))
        else:
            live[index] = _merge(live[index], item, "")
    return live


def _step(holder: Any, element: str) -> Any:
    """What the element names in the holder: a key for maps, an index for lists, None if it is not there."""
    kind, _, rest = element.partition(":")
    if kind == "f":
        return rest if isinstance(holder, dict) and rest in holder else None
    if not isinstance(holder, list):
        return None
    wanted = json.loads(rest)
    for index, item in enumerate(holder):
        if item == wanted or (
            kind == "k" and isinstance(item, dict) and all(_with_default(item, k) == v for k, v in wanted.items())
        ):
            return index
    return None


def _read(value: Any, path: Path) -> Any:
    for element in path:
        step = _step(value, element)
        if step is None:
            return None
        value = value[step]
    return value


def _given_up(before: set[Path], kept: set[Path]) -> list[Path]:
    """What is to be removed: whole elements of associative lists that nobody names any more, then single fields."""
    prefixes = {p[:n] for p in kept for n in range(1, len(p) + 1)}
    elements = {
        p[:n] for p in before for n in range(1, len(p) + 1) if p[n - 1].startswith("k:") and p[:n] not in prefixes
    }
    return [*sorted(elements, key=len), *sorted(before - kept, key=len, reverse=True)]


def _remove(value: Any, path: Path) -> None:
    """Remove what the path names, if it is there, then each holder above it that is left empty."""
    trail: list[tuple[Any, Any]] = []
    for element in path:
        step = _step(value, element)
        if step is None:
            return
        trail.append((value, step))
        value = value[step]
    holder, step = trail.pop()
    del holder[step]
    while trail and not holder:
        holder, step = trail.pop()
        del holder[step]


def _tree(paths: set[Path]) -> Object:
    root: Object = {}
    for path in sorted(paths):
        node = root
        for element in path:
            node = node.setdefault(element, {})
            if element.startswith("k:"):
                node.setdefault(".", {})
    return root


def _paths(tree: Object, at: Path = ()) -> set[Path]:
    children = {k: v for k, v in tree.items() if k != "."}
    if not children:
        return {at} if at else set()
    return set().union(*(_paths(v, (*at, k)) for k, v in children.items()))


def _entry(entry: Object, paths: set[Path]) -> Object:
    return {**entry, "fieldsV1": _tree(paths)}

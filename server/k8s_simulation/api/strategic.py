"""Strategic merge patch: a merge patch that knows which lists are sets of named things.

Rules of k8s.io/apimachinery/pkg/util/strategicpatch; merge keys are those of the `patchMergeKey` tags in k8s.io/api, by
the name of the field, with the two fields named alike told apart by what holds them. Understands `$patch`,
`$deleteFromPrimitiveList/…`, `$setElementOrder/…` and `$retainKeys`. Pure.
"""

from __future__ import annotations

from typing import Any

from k8s_simulation.api.objects import Object, clone

_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "secrets": "name",
    "ownerReferences": "uid",
    "conditions": "type",
    "addresses": "type",
    "podIPs": "ip",
    "hostIPs": "ip",
}
_PRIMITIVE_SETS = {"finalizers", "podCIDRs"}
_DIRECTIVES = ("$patch", "$retainKeys", "$setElementOrder/", "$deleteFromPrimitiveList/")


def merge_key(field: str, holder: str, items: list[Any]) -> str | None:
    """The key that names the elements of a list field, or None for a list that is replaced as a whole."""
    if field == "ports":
        # ContainerPort merges by containerPort, ServicePort by port; those of endpoints and policies are atomic
        if any(isinstance(i, dict) and "containerPort" in i for i in items):
            return "containerPort"
        return "port" if holder == "spec" else None
    if field == "addresses" and holder != "status":
        return None
    if field == "secrets" and holder != "":
        return None
    return _MERGE_KEYS.get(field)


def strategic_merge(target: Object, patch: Object, holder: str = "") -> Object:
    """The patched object, which shares nothing with `target`. `holder` is the field that holds both."""
    if patch.get("$patch") == "replace":
        return {k: clone(v) for k, v in patch.items() if k != "$patch"}
    result: Object = clone(target)
    if "$retainKeys" in patch:
        result = {k: v for k, v in result.items() if k in patch["$retainKeys"]}
    for field, value in patch.items():
        if field.startswith("$deleteFromPrimitiveList/"):
            name = field.split("/", 1)[1]
            result[name] = [v for v in result.get(name) or [] if v not in value]
    for field, value in patch.items():
        if not field.startswith(_DIRECTIVES):
            _merge_field(result, field, value, holder)
    for field, order in patch.items():
        if field.startswith("$setElementOrder/"):
            name = field.split("/", 1)[1]
            result[name] = _ordered(result.get(name), order, merge_key(name, holder, result.get(name) or []))
    return result


def _merge_field(result: Object, field: str, value: Any, holder: str) -> None:
    present = result.get(field)
    if value is None:
        result.pop(field, None)
    elif isinstance(value, dict):
        if value.get("$patch") == "delete":
            result.pop(field, None)
        else:
            result[field] = strategic_merge(present if isinstance(present, dict) else {}, value, field)
    elif isinstance(value, list):
        result[field] = _merge_list(present if isinstance(present, list) else [], value, field, holder)
    else:
        result[field] = value


def _merge_list(present: list[Any], patch: list[Any], field: str, holder: str) -> list[Any]:
    if field in _PRIMITIVE_SETS:
        return [*present, *[v for v in patch if v not in present]]
    key = merge_key(field, holder, [*present, *patch])
    if any(isinstance(i, dict) and i.get("$patch") == "replace" and len(i) == 1 for i in patch):
        return [clone(i) for i in patch if not (isinstance(i, dict) and i.get("$patch"))]
    if key is None:
        return list(clone(patch))
    result: list[Any] = list(clone(present))
    for item in patch:
        _merge_item(result, item, key, field)
    return result


def _merge_item(result: list[Any], item: Any, key: str, field: str) -> None:
    if not isinstance(item, dict):
        return
    place = next((i for i, r in enumerate(result) if isinstance(r, dict) and r.get(key) == item.get(key)), None)
    if item.get("$patch") == "delete":
        if place is not None:
            del result[place]
    elif place is None:
        result.append(strategic_merge({}, item, field))
    else:
        result[place] = strategic_merge(result[place], item, field)


def _ordered(items: Any, order: list[Any], key: str | None) -> list[Any]:
    """Items in the given order; those it does not name keep their place relative to their predecessor."""
    if not isinstance(items, list):
        return []
    names = [o.get(key) if isinstance(o, dict) and key else o for o in order]

    def named(item: Any) -> Any:
        return item.get(key) if isinstance(item, dict) and key else item

    positions: list[tuple[int, int, Any]] = []
    last = -1
    for index, item in enumerate(items):
        last = names.index(named(item)) if named(item) in names else last
        positions.append((last, index, item))
    return [p[2] for p in sorted(positions, key=lambda p: p[:2])]

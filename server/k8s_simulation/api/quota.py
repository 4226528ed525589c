"""What objects use of a ResourceQuota, and when a quota refuses.

Names and rules of pkg/quota/v1/evaluator/core. Scopes are not evaluated (docs/simulation.md). Pure; shared by admission
(before a create) and the quota controller (after the fact).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from k8s_simulation.api import quantities
from k8s_simulation.api.objects import Object, is_finished, meta, spec_of
from k8s_simulation.api.resources import BY_PATH, Resource, named

Usage = dict[str, Decimal]

_SHORT = {"cpu": "requests.cpu", "memory": "requests.memory", "ephemeral-storage": "requests.ephemeral-storage"}
_COUNTED = {"pods", "services", "secrets", "configmaps", "persistentvolumeclaims", "resourcequotas",
            "replicationcontrollers"}  # fmt: skip


def container_requests(container: Object, kind: str) -> Usage:
    """The `requests` or `limits` of a container as numbers."""
    found = (container.get("resources") or {}).get(kind) or {}
    return {name: quantities.parse(value) for name, value in found.items()}


def pod_resources(spec: Object, kind: str) -> Usage:
    """What a pod asks for: its containers and sidecars together, or its largest init container, whichever is more."""
    total: Usage = {}
    for container in spec.get("containers") or []:
        _add(total, container_requests(container, kind))
    sidecars: Usage = {}
    largest: Usage = {}
    for container in spec.get("initContainers") or []:
        own = container_requests(container, kind)
        if container.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
        else:
            for name, value in own.items():
                largest[name] = max(largest.get(name, Decimal(0)), value + sidecars.get(name, Decimal(0)))
    for name, value in largest.items():
        total[name] = max(total.get(name, Decimal(0)), value)
    return total


def _add(total: Usage, more: Usage) -> None:
    for name, value in more.items():
        total[name] = total.get(name, Decimal(0)) + value


def usage_of(resource: Resource, obj: Object) -> Usage:
    """What one object uses, by quota resource name."""
    count = {f"count/{resource.qualified}": Decimal(1)}
    if resource.plural == "pods":
        return count | ({} if is_finished(obj) else _pod_usage(obj))
    if resource.plural in _COUNTED:
        count[resource.plural] = Decimal(1)
    if resource.plural == "persistentvolumeclaims":
        requests = (spec_of(obj).get("resources") or {}).get("requests") or {}
        count["requests.storage"] = quantities.parse(requests.get("storage", 0))
    if resource.plural == "services":
        kind = spec_of(obj).get("type")
        count["services.loadbalancers"] = Decimal(kind == "LoadBalancer")
        count["services.nodeports"] = Decimal(len(spec_of(obj).get("ports") or []) if kind == "NodePort" else 0)
    return count


def _pod_usage(obj: Object) -> Usage:
    spec = spec_of(obj)
    used: Usage = {"pods": Decimal(1)}
    for name, value in pod_resources(spec, "requests").items():
        used[f"requests.{name}"] = value
        if name in _SHORT:
            used[name] = value
    for name, value in pod_resources(spec, "limits").items():
        used[f"limits.{name}"] = value
    return used


def quota_resources(hard: Iterable[str]) -> set[Resource]:
    """The kinds of object that count against these hard limits."""
    found: set[Resource] = set()
    for name in hard:
        if name.startswith("count/"):
            plural, _, group = name.removeprefix("count/").partition(".")
            found |= {r for (g, _, p), r in BY_PATH.items() if (g, p) == (group, plural) and r.stored}
        elif name in _COUNTED - {"replicationcontrollers"}:
            found.add(named(name))
        elif name.startswith("services."):
            found.add(named("services"))
        elif name == "requests.storage":
            found.add(named("persistentvolumeclaims"))
        else:
            found.add(named("pods"))
    return found


def total_usage(hard: Object, objects: Iterable[tuple[Resource, Object]]) -> dict[str, str]:
    """`status.used` for these hard limits."""
    total: Usage = dict.fromkeys(hard, Decimal(0))
    for resource, obj in objects:
        for name, value in usage_of(resource, obj).items():
            if name in total:
                total[name] += value
    return {n: quantities.render(v, binary=quantities.is_binary(n)) for n, v in total.items()}


def refusal(quota: Object, resource: Resource, obj: Object) -> str:
    """Why this quota refuses a new object, in Kubernetes' words; the empty string if it does not."""
    hard = spec_of(quota).get("hard") or {}
    requested = {n: v for n, v in usage_of(resource, obj).items() if n in hard}
    name = meta(quota).get("name")
    if resource.plural == "pods" and (missing := _unspecified(obj, hard)):
        return f"failed quota: {name}: must specify {missing}"
    if not requested:
        return ""
    status = quota.get("status") or {}
    used = status.get("used") or {}
    if any(n not in used for n in requested):
        return f"status unknown for quota: {name}, resources: {','.join(sorted(requested))}"
    over = sorted(
        n for n, v in requested.items() if v > 0 and v + quantities.parse(used[n]) > quantities.parse(hard[n])
    )
    if not over:
        return ""
    asked = ",".join(f"{n}={quantities.render(requested[n], binary=quantities.is_binary(n))}" for n in over)
    now = ",".join(f"{n}={used[n]}" for n in over)
    limited = ",".join(f"{n}={hard[n]}" for n in over)
    return f"exceeded quota: {name}, requested: {asked}, used: {now}, limited: {limited}"


def _unspecified(pod: Object, hard: Iterable[str]) -> str:
    missing: dict[str, list[str]] = {}
    spec = spec_of(pod)
    for limit in hard:
        kind, _, name = limit.partition(".")
        if limit in {"cpu", "memory"}:
            kind, name = "requests", limit
        if kind not in {"requests", "limits"} or name not in {"cpu", "memory"}:
            continue
        for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
            if name not in ((container.get("resources") or {}).get(kind) or {}):
                missing.setdefault(limit, []).append(str(container.get("name")))
    return "; ".join(f"{limit} for: {','.join(sorted(names))}" for limit, names in sorted(missing.items()))


def charged(quota: Object, resource: Resource, obj: Object) -> dict[str, str]:
    """`status.used` of a quota after this object was admitted."""
    used = dict((quota.get("status") or {}).get("used") or {})
    for name, value in usage_of(resource, obj).items():
        if name in used:
            used[name] = quantities.render(quantities.parse(used[name]) + value, binary=quantities.is_binary(name))
    return used

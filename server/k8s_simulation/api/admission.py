"""Admission: what the cluster's state adds to a new object, and what it refuses.

NamespaceLifecycle, LimitRanger, ServiceAccount, DefaultTolerationSeconds, Priority, PodSecurity and ResourceQuota, in
the order and the words of Kubernetes' plug-ins of these names. Reads the storage; the one write is the charge to a
quota.
"""

from __future__ import annotations

from k8s_simulation.api import podsecurity, quantities, quota
from k8s_simulation.api.defaults import containers_of
from k8s_simulation.api.objects import Object, clone, is_deleting, labels_of, meta, name_of, namespace_of, spec_of
from k8s_simulation.api.problems import forbidden, not_found
from k8s_simulation.api.resources import LIMITRANGES, NAMESPACES, PODS, QUOTAS, SERVICEACCOUNTS, Resource
from k8s_simulation.api.storage import Storage

_TEMPLATES = {"Deployment", "ReplicaSet", "StatefulSet", "Job"}
IMMORTAL = {"default", "kube-system", "kube-public"}
_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def mutate(storage: Storage, resource: Resource, obj: Object) -> None:
    """The mutating part, before defaults are validated. Raises 403 or 404."""
    if resource.namespaced:
        _namespace_lifecycle(storage, resource, obj)
    if resource is PODS:
        _limit_defaults(storage, obj)
        _service_account(storage, obj)
        _tolerations(spec_of(obj))
        spec_of(obj).setdefault("priority", 0)
        spec_of(obj).setdefault("preemptionPolicy", "PreemptLowerPriority")


def validate(storage: Storage, resource: Resource, obj: Object, *, dry_run: bool) -> None:
    """The validating part, after validation; charges quotas unless it is a dry run. Raises 403."""
    if resource is PODS:
        _limit_bounds(storage, obj)
        _pod_security(storage, obj)
    if resource.namespaced:
        _quota(storage, resource, obj, dry_run=dry_run)


def security_warnings(storage: Storage, resource: Resource, obj: Object) -> list[str]:
    """What a template will be refused for later: sent as Warning headers, as PodSecurity does for workloads."""
    namespace = storage.get(NAMESPACES, "", namespace_of(obj))
    if namespace is None or resource.kind not in _TEMPLATES:
        return []
    labels = labels_of(namespace.obj)
    level = labels.get("pod-security.kubernetes.io/warn") or labels.get(podsecurity.ENFORCE, "")
    spec = spec_of(spec_of(obj).get("template") or {})
    broken = podsecurity.violations(level, spec)
    return [f'would violate PodSecurity "{level}:latest": {", ".join(broken)}'] if broken else []


def _namespace_lifecycle(storage: Storage, resource: Resource, obj: Object) -> None:
    name = namespace_of(obj)
    found = storage.get(NAMESPACES, "", name)
    if found is None:
        raise not_found(NAMESPACES, name)
    if is_deleting(found.obj):
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {name} is being terminated",
            "field": "metadata.namespace",
        }
        why = f"unable to create new content in namespace {name} because it is being terminated"
        raise forbidden(resource, name_of(obj), why, [cause])


def _limits(storage: Storage, obj: Object, kind: str) -> list[Object]:
    return [
        item
        for limit_range in storage.objects(LIMITRANGES, namespace_of(obj))
        for item in spec_of(limit_range).get("limits") or []
        if item.get("type") == kind
    ]


def _limit_defaults(storage: Storage, obj: Object) -> None:
    for item in _limits(storage, obj, "Container"):
        for container in containers_of(spec_of(obj)):
            _fill_resources(container.setdefault("resources", {}), item)


def _fill_resources(resources: Object, item: Object) -> None:
    for kind, given in (("limits", item.get("default")), ("requests", item.get("defaultRequest"))):
        if given:
            resources[kind] = {**given, **(resources.get(kind) or {})}


def _limit_bounds(storage: Storage, obj: Object) -> None:
    problems = [
        problem
        for item in _limits(storage, obj, "Container")
        for container in containers_of(spec_of(obj))
        for problem in _bounds(item, container.get("resources") or {}, "Container")
    ]
    spec = spec_of(obj)
    whole = {
        kind: {n: quantities.render(v) for n, v in quota.pod_resources(spec, kind).items()}
        for kind in ("requests", "limits")
    }
    problems += [p for item in _limits(storage, obj, "Pod") for p in _bounds(item, whole, "Pod")]
    if problems:
        words = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        raise forbidden(PODS, name_of(obj), words)


def _bounds(item: Object, resources: Object, kind: str) -> list[str]:
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    problems: list[str] = []
    for name, bound in (item.get("min") or {}).items():
        if name not in requests:
            problems.append(f"minimum {name} usage per {kind} is {bound}.  No request is specified")
        elif quantities.parse(requests[name]) < quantities.parse(bound):
            problems.append(f"minimum {name} usage per {kind} is {bound}, but request is {requests[name]}")
    for name, bound in (item.get("max") or {}).items():
        if name not in limits:
            problems.append(f"maximum {name} usage per {kind} is {bound}.  No limit is specified")
        elif quantities.parse(limits[name]) > quantities.parse(bound):
            problems.append(f"maximum {name} usage per {kind} is {bound}, but limit is {limits[name]}")
    for name, bound in (item.get("maxLimitRequestRatio") or {}).items():
        problems += _ratio(name, bound, requests.get(name), limits.get(name), kind)
    return problems


def _ratio(name: str, bound: str, request: str | None, limit: str | None, kind: str) -> list[str]:
    """plugin/pkg/admission/limitranger, limitRequestRatioConstraint."""
    asked, most = quantities.parse(request or 0), quantities.parse(limit or 0)
    problem = f"{name} max limit to request ratio per {kind} is {bound}, but "
    if not asked:
        return [problem + "no request is specified or request is 0"]
    if not most:
        return [problem + "no limit is specified or limit is 0"]
    ratio = most / asked
    return [f"{problem}provided ratio is {ratio:.6f}"] if ratio > quantities.parse(bound) else []


def _service_account(storage: Storage, obj: Object) -> None:
    spec = spec_of(obj)
    name = spec.get("serviceAccountName") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    namespace = namespace_of(obj)
    account = storage.get(SERVICEACCOUNTS, namespace, name)
    if account is None:
        why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise forbidden(PODS, name_of(obj), why)
    if account.obj.get("imagePullSecrets") and not spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = clone(account.obj["imagePullSecrets"])


def _tolerations(spec: Object) -> None:
    tolerations = spec.setdefault("tolerations", [])
    for key in _TOLERATED:
        covered = any(
            t.get("key") in {key, None} and t.get("effect") in {"NoExecute", None} and t.get("operator") == "Exists"
            for t in tolerations
        )
        if not covered:
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})


def _pod_security(storage: Storage, obj: Object) -> None:
    namespace = storage.get(NAMESPACES, "", namespace_of(obj))
    level = labels_of(namespace.obj).get(podsecurity.ENFORCE, "") if namespace else ""
    version = labels_of(namespace.obj).get(f"{podsecurity.ENFORCE}-version", "latest") if namespace else "latest"
    broken = podsecurity.violations(level, spec_of(obj))
    if broken:
        raise forbidden(PODS, name_of(obj), f'violates PodSecurity "{level}:{version}": {", ".join(broken)}')


def _quota(storage: Storage, resource: Resource, obj: Object, *, dry_run: bool) -> None:
    quotas = list(storage.objects(QUOTAS, namespace_of(obj)))
    for one in quotas:
        if why := quota.refusal(one, resource, obj):
            raise forbidden(resource, name_of(obj), why)
    for one in [] if dry_run else quotas:
        used = quota.charged(one, resource, obj)
        if used != (one.get("status") or {}).get("used"):
            new = clone(one)
            new["status"]["used"] = used
            meta(new).pop("resourceVersion", None)
            storage.put(QUOTAS, new)

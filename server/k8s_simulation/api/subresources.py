"""Subresources with a meaning of their own: scale, binding, eviction, token; and reviews, which are never stored."""

from __future__ import annotations

from secrets import token_urlsafe

from k8s_simulation.api import deletion, shapes
from k8s_simulation.api.objects import (
    Object,
    disrupted,
    labels_of,
    meta,
    name_of,
    namespace_of,
    spec_of,
    status_of,
    timestamp,
)
from k8s_simulation.api.problems import ApiError, bad_request, invalid, invalid_value, method_not_allowed, modified
from k8s_simulation.api.registry import Ref, Registry
from k8s_simulation.api.requests import ApiRequest
from k8s_simulation.api.resources import Resource, named
from k8s_simulation.api.selectors import from_label_selector, labels_match

USER = {"username": "simulated-admin", "groups": ["system:masters", "system:authenticated"]}

SCALE = Resource("autoscaling", "v1", "scales", "Scale")


def scale_of(obj: Object) -> Object:
    """The autoscaling/v1 Scale of a workload."""
    labels = (spec_of(obj).get("selector") or {}).get("matchLabels") or {}
    metadata = {
        k: meta(obj)[k] for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp") if k in meta(obj)
    }
    status = {
        "replicas": status_of(obj).get("replicas", 0),
        "selector": ",".join(f"{k}={v}" for k, v in sorted(labels.items())),
    }
    replicas = spec_of(obj).get("replicas", 0)
    spec = {"replicas": replicas} if replicas else {}  # omitempty
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}


def set_scale(registry: Registry, ref: Ref, scale: Object, *, dry_run: bool) -> Object:
    """Write the replicas of a Scale into its workload. Raises 400, 409 and 422."""
    shapes.check(SCALE, scale)
    if name_of(scale) != ref.name:
        why = f"the name of the object ({name_of(scale)}) does not match the name on the URL ({ref.name})"
        raise bad_request(why)
    old = registry.get(ref).obj
    version = meta(scale).get("resourceVersion")
    if version and version != meta(old)["resourceVersion"]:
        raise modified(ref.resource, ref.name)
    replicas = spec_of(scale).get("replicas", 0)
    if replicas < 0:
        problem = invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise invalid(SCALE, ref.name, [problem])
    new = {**old, "metadata": dict(meta(old)), "spec": {**spec_of(old), "replicas": replicas}}
    return scale_of(registry.update(ref, new, dry_run=dry_run).obj)


def create(registry: Registry, ref: Ref, api: ApiRequest, body: Object) -> Object:
    """POST to a subresource."""
    match api.subresource:
        case "binding":
            registry.bind(ref, str((body.get("target") or {}).get("name") or ""))
            return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        case "eviction":
            return _evict(registry, ref, api, body)
        case "token":
            registry.get(ref)
            expiry = timestamp(registry.clock() + float(spec_of(body).get("expirationSeconds") or 3600))
            return {**body, "status": {"token": token_urlsafe(48), "expirationTimestamp": expiry}}
        case _:
            raise method_not_allowed()


def _evict(registry: Registry, ref: Ref, api: ApiRequest, body: Object) -> Object:
    pod, now = registry.get(ref).obj, timestamp(registry.clock())
    for budget in registry.storage.objects(named("poddisruptionbudgets"), namespace_of(pod)):
        selector = from_label_selector(spec_of(budget).get("selector"))
        allowed = status_of(budget).get("disruptionsAllowed", 0)
        if selector and labels_match(selector, labels_of(pod)) and not allowed:
            cause = {
                "reason": "DisruptionBudget",
                "message": f"The disruption budget {name_of(budget)} needs more healthy pods",
            }
            message = "Cannot evict pod as it would violate the pod's disruption budget."
            raise ApiError(429, "TooManyRequests", message, {"causes": [cause]})
    options = deletion.parse_options(body.get("deleteOptions") or {}, {})
    if not api.dry_run:
        registry.modify(ref, lambda o: disrupted(o, "EvictionByEvictionAPI", "Eviction API: evicting", now), "status")
    registry.delete(ref, options, dry_run=api.dry_run)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def review(resource: Resource, body: Object) -> Object:
    """The answer to a review: whoever has the token may do everything."""
    body = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": {}} | body
    match resource.kind:
        case "SelfSubjectAccessReview" | "SubjectAccessReview":
            return body | {"status": {"allowed": True, "reason": "the simulated cluster has one user"}}
        case "SelfSubjectRulesReview":
            rules = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
            other = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
            return body | {"status": {"resourceRules": rules, "nonResourceRules": other, "incomplete": False}}
        case "SelfSubjectReview":
            return body | {"status": {"userInfo": USER}}
        case "TokenReview":
            if not spec_of(body).get("token"):
                raise bad_request("spec.token: Required value")
            return body | {"status": {"authenticated": False, "error": "this cluster issues no tokens that it checks"}}
        case _:
            raise method_not_allowed()

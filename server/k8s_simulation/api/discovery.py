"""What the API says of itself: versions, groups, resources, in the plain and in the aggregated form.

Made from the table of resources. kubectl asks for the aggregated form by its Accept header and takes the plain one too.
Pure.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from k8s_simulation.api.resources import ALL_VERBS, RESOURCES, Resource

GIT_VERSION = "v1.34.0-simulated"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_SUBRESOURCE_KINDS = {
    "scale": ("autoscaling", "v1", "Scale", ["get", "patch", "update"]),
    "status": None,
    "finalize": None,
    "log": ("", "v1", "Pod", ["get"]),
    "exec": ("", "v1", "PodExecOptions", ["create", "get"]),
    "binding": ("", "v1", "Binding", ["create"]),
    "eviction": ("policy", "v1", "Eviction", ["create"]),
    "token": ("authentication.k8s.io", "v1", "TokenRequest", ["create"]),
}

VERSION: dict[str, str] = {
    "major": "1",
    "minor": "34",
    "gitVersion": GIT_VERSION,
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}


def groups() -> dict[str, str]:
    """Group name to its one version, in the order of the table; the core group is left out."""
    return {r.group: r.version for r in RESOURCES if r.group}


def api_versions() -> dict[str, Any]:
    """`/api`."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def _group(name: str, version: str) -> dict[str, Any]:
    entry = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [entry], "preferredVersion": entry}


def api_groups() -> dict[str, Any]:
    """`/apis`."""
    found = [_group(name, version) for name, version in groups().items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def api_group(name: str) -> dict[str, Any] | None:
    """`/apis/{group}`, or None for an unknown one."""
    version = groups().get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, version)} if version else None


@cache
def resource_list(group: str, version: str) -> dict[str, Any] | None:
    """`/api/v1` and `/apis/{group}/{version}`, or None for an unknown one."""
    rows = [r for r in RESOURCES if (r.group, r.version) == (group, version)]
    if not rows:
        return None
    resources = [entry for row in rows for entry in _plain(row)]
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": resources}


def _plain(resource: Resource) -> list[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    entries = [entry]
    for sub in resource.subresources:
        special = _SUBRESOURCE_KINDS[sub]
        verbs = special[3] if special else ["get", "patch", "update"]
        kind = special[2] if special else resource.kind
        name = f"{resource.plural}/{sub}"
        more: dict[str, Any] = {"name": name, "singularName": "", "namespaced": resource.namespaced, "kind": kind}
        if special and special[0]:
            more |= {"group": special[0], "version": special[1]}
        entries.append({**more, "verbs": verbs})
    return entries


@cache
def aggregated(core: bool) -> dict[str, Any]:
    """`/api` (core) and `/apis` as an APIGroupDiscoveryList."""
    wanted = [("", "v1")] if core else list(groups().items())
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [_aggregated_group(name, version) for name, version in wanted],
    }


def _aggregated_group(name: str, version: str) -> dict[str, Any]:
    rows = [r for r in RESOURCES if (r.group, r.version) == (name, version)]
    metadata: dict[str, Any] = {"name": name} if name else {}
    resources = [_aggregated_resource(r) for r in rows]
    versions = [{"version": version, "resources": resources, "freshness": "Current"}]
    return {"metadata": metadata, "versions": versions}


def _aggregated_resource(resource: Resource) -> dict[str, Any]:
    def kind(group: str, version: str, name: str) -> dict[str, str]:
        return {"group": group, "version": version, "kind": name}

    own = kind(resource.group, resource.version, resource.kind)
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": own,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    subs = []
    for sub in resource.subresources:
        special = _SUBRESOURCE_KINDS[sub]
        subs.append(
            {
                "subresource": sub,
                "responseKind": kind(*special[:3]) if special else own,
                "verbs": special[3] if special else ["get", "patch", "update"],
            }
        )
    if subs:
        entry["subresources"] = subs
    return entry


def openapi_index() -> dict[str, Any]:
    """`/openapi/v3`: where the document of each group is."""
    paths = ["api/v1", *(f"apis/{name}/{version}" for name, version in groups().items())]
    return {"paths": {p: {"serverRelativeURL": f"/openapi/v3/{p}?hash=simulated"} for p in paths}}


@cache
def openapi_document(group: str, version: str) -> dict[str, Any] | None:
    """A tiny document: enough for kubectl's check that the server validates fields; there are no schemas.

    kubectl looks for a `patch` operation of the kind with the query parameter `fieldValidation`
    (k8s.io/cli-runtime/pkg/resource/query_param_verifier_v3.go).
    """
    rows = [r for r in RESOURCES if (r.group, r.version) == (group, version)]
    if not rows:
        return None
    prefix = f"/apis/{group}/{version}" if group else f"/api/{version}"
    paths: dict[str, Any] = {}
    for row in rows:
        space = "/namespaces/{namespace}" if row.namespaced else ""
        operation: dict[str, Any] = {
            "parameters": [
                {"name": name, "in": "query", "schema": {"type": "string"}}
                for name in ("dryRun", "fieldManager", "fieldValidation", "force")
            ],
            "responses": {},
            "x-kubernetes-group-version-kind": {"group": row.group, "version": row.version, "kind": row.kind},
        }
        verb = "patch" if row.verbs == ALL_VERBS or "patch" in row.verbs else "post"
        paths[f"{prefix}{space}/{row.plural}/{{name}}"] = {verb: operation}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": GIT_VERSION}, "paths": paths}

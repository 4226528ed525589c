"""The kinds that the service touches and their paths in the API; pure.

It must not know verbs or bodies. Apart so that an address is made in one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from k8s_execution.ports.cluster import ObjectRef


@dataclass(frozen=True, slots=True)
class Resource:
    """Where a kind lives: API prefix, plural, and whether its objects belong to a namespace."""

    api_version: str
    plural: str
    namespaced: bool = True

    def collection(self, namespace: str = "") -> str:
        """The path of all objects of the kind, in one namespace or in the whole cluster."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        inside = f"/namespaces/{quote(namespace, safe='')}" if namespace and self.namespaced else ""
        return f"{root}{inside}/{self.plural}"

    def item(self, namespace: str, name: str) -> str:
        """The path of one object."""
        return f"{self.collection(namespace)}/{quote(name, safe='')}"


RESOURCES = {
    "Namespace": Resource("v1", "namespaces", namespaced=False),
    "Pod": Resource("v1", "pods"),
    "Service": Resource("v1", "services"),
    "ConfigMap": Resource("v1", "configmaps"),
    "Secret": Resource("v1", "secrets"),
    "ServiceAccount": Resource("v1", "serviceaccounts"),
    "ResourceQuota": Resource("v1", "resourcequotas"),
    "LimitRange": Resource("v1", "limitranges"),
    "PersistentVolumeClaim": Resource("v1", "persistentvolumeclaims"),
    "Event": Resource("v1", "events"),
    "Deployment": Resource("apps/v1", "deployments"),
    "ReplicaSet": Resource("apps/v1", "replicasets"),
    "StatefulSet": Resource("apps/v1", "statefulsets"),
    "Job": Resource("batch/v1", "jobs"),
    "NetworkPolicy": Resource("networking.k8s.io/v1", "networkpolicies"),
    "RoleBinding": Resource("rbac.authorization.k8s.io/v1", "rolebindings"),
}


def resource(kind: str) -> Resource:
    """Where `kind` lives; ValueError for a kind that the service does not use."""
    found = RESOURCES.get(kind)
    if found is None:
        raise ValueError(f"the service does not use objects of kind {kind!r}")
    return found


def item_path(ref: ObjectRef) -> str:
    """The path of the object that `ref` names."""
    return resource(ref.kind).item(ref.namespace, ref.name)

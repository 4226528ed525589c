"""The table of kinds that the simulated API serves.

One row a resource: discovery, routing, storage, tables and printing all read it. What is not in the table is answered
with 404, as a real server answers for a kind it does not know. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind: where it is served, what it is called, which subresources it has.

    `returns_deleted`: a delete answers the object rather than a Status (ReturnDeletedObject in the Kubernetes
    registry). `generation`: metadata.generation counts the changes of the spec.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    returns_deleted: bool = False
    generation: bool = False

    @property
    def qualified(self) -> str:
        """`pods` or `deployments.apps`, as error messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        """`v1` or `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        """The singular name: the kind in lower case."""
        return self.kind.lower()

    @property
    def stored(self) -> bool:
        """False for reviews, which are answered and never kept."""
        return "get" in self.verbs


_CORE = (
    Resource("", "v1", "namespaces", "Namespace", False, ("ns",), ("status", "finalize"),
             verbs=tuple(v for v in ALL_VERBS if v != "deletecollection")),
    Resource("", "v1", "pods", "Pod", True, ("po",),
             ("status", "log", "exec", "binding", "eviction"), ("all",), returns_deleted=True, generation=True),
    Resource("", "v1", "services", "Service", True, ("svc",), ("status",), ("all",), returns_deleted=True),
    Resource("", "v1", "endpoints", "Endpoints", True, ("ep",)),
    Resource("", "v1", "configmaps", "ConfigMap", True, ("cm",)),
    Resource("", "v1", "secrets", "Secret"),
    Resource("", "v1", "serviceaccounts", "ServiceAccount", True, ("sa",), ("token",), returns_deleted=True),
    Resource("", "v1", "resourcequotas", "ResourceQuota", True, ("quota",), ("status",), returns_deleted=True),
    Resource("", "v1", "limitranges", "LimitRange", True, ("limits",)),
    Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True, ("pvc",), ("status",),
             returns_deleted=True),
    Resource("", "v1", "persistentvolumes", "PersistentVolume", False, ("pv",), ("status",), returns_deleted=True),
    Resource("", "v1", "events", "Event", True, ("ev",)),
    Resource("", "v1", "nodes", "Node", False, ("no",), ("status",)),
)  # fmt: skip
_APPS = (
    Resource("apps", "v1", "deployments", "Deployment", True, ("deploy",), ("status", "scale"), ("all",),
             generation=True),
    Resource("apps", "v1", "replicasets", "ReplicaSet", True, ("rs",), ("status", "scale"), ("all",),
             generation=True),
    Resource("apps", "v1", "statefulsets", "StatefulSet", True, ("sts",), ("status", "scale"), ("all",),
             generation=True),
)  # fmt: skip
_RBAC = "rbac.authorization.k8s.io"
_OTHER = (
    Resource("batch", "v1", "jobs", "Job", True, (), ("status",), ("all",), generation=True),
    Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    Resource("coordination.k8s.io", "v1", "leases", "Lease"),
    Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True, ("netpol",), generation=True),
    Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, ("pdb",), ("status",),
             generation=True),
    Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", False, ("sc",)),
    Resource(_RBAC, "v1", "roles", "Role"),
    Resource(_RBAC, "v1", "rolebindings", "RoleBinding"),
    Resource(_RBAC, "v1", "clusterroles", "ClusterRole", False),
    Resource(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", False),
    Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False, verbs=("create",)),
    Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False,
             verbs=("create",)),
    Resource("authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", False,
             verbs=("create",)),
    Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False, verbs=("create",)),
    Resource("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", False, verbs=("create",)),
)  # fmt: skip

RESOURCES: tuple[Resource, ...] = _CORE + _APPS + _OTHER
BY_PATH: dict[tuple[str, str, str], Resource] = {(r.group, r.version, r.plural): r for r in RESOURCES}
BY_KIND: dict[tuple[str, str], Resource] = {(r.api_version, r.kind): r for r in RESOURCES}
STORED: tuple[Resource, ...] = tuple(r for r in RESOURCES if r.stored)


def named(plural: str) -> Resource:
    """The resource with that plural name (they are unique here)."""
    return _BY_PLURAL[plural]


_BY_PLURAL = {r.plural: r for r in RESOURCES}

NAMESPACES, PODS, SERVICES, ENDPOINTS = map(named, ("namespaces", "pods", "services", "endpoints"))
CONFIGMAPS, SECRETS, SERVICEACCOUNTS, EVENTS = map(named, ("configmaps", "secrets", "serviceaccounts", "events"))
QUOTAS, LIMITRANGES, NODES, LEASES = map(named, ("resourcequotas", "limitranges", "nodes", "leases"))
DEPLOYMENTS, REPLICASETS, STATEFULSETS, JOBS = map(named, ("deployments", "replicasets", "statefulsets", "jobs"))
ENDPOINTSLICES = named("endpointslices")

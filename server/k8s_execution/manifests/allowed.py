"""The allow-list: which fields of which kinds an execution may create, and with which values.

Everything that templates make passes `check_object` before it leaves the package; what is not named here cannot be
created, whatever a template or a caller says: no host namespaces, no privilege, no other volume than an empty folder
or our own files, no other account, Secret or ConfigMap than the execution's own, no Service that is reached from
outside. Data and one function, pure. A new field of a template needs its line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from k8s_execution.domain import naming
from k8s_execution.manifests.shapes import Fields, Flag, Items, Only, Shape, Text, Whole, breaches

QUANTITY = Text(r"[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?", 32)
_LABEL = Text(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PORT_NAME = Text(r"[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
_LABEL_VALUE = Text(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_VARIABLE = Text(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PATH = Text(r"/[^\x00:]*", 1024)
_PROCESS_TEXT = Text(r"[^\x00]*")
_PORT = Whole(1, 65535)
_USER = Whole(1, 2**31 - 1)
_SECONDS = Whole(0, 8 * 24 * 3600)
_CIDR = Text(r"[0-9a-f:.]+/[0-9]{1,3}")
_OWN_KEYS = (
    naming.LABEL_EXECUTION, naming.LABEL_INSTALLATION, naming.LABEL_PROJECT, naming.LABEL_STEP_KIND, naming.LABEL_STEP,
    naming.LABEL_SHARD, naming.LABEL_ATTEMPT, naming.LABEL_APPLICATION,
)  # fmt: skip
_OWN = dict.fromkeys(_OWN_KEYS, _LABEL_VALUE)
_FREE_KEY = r"(?!k8s-execution)(?![^/]*(kubernetes|k8s)\.io/)[A-Za-z0-9]([A-Za-z0-9._/-]{0,250}[A-Za-z0-9])?"
"""Keys that an installation's own templates may add: none of ours, none of Kubernetes'."""


def _all(**fields: Shape) -> Fields:
    """A mapping whose every field must be there."""
    return Fields(fields, frozenset(fields))


def _some(fields: Mapping[str, Shape], *required: str) -> Fields:
    return Fields(fields, frozenset(required))


def _labels(fields: Mapping[str, Shape] | None = None) -> Fields:
    known = {**_OWN, naming.LABEL_MANAGED_BY: Only((naming.MANAGED_BY,)), **(fields or {})}
    required = {naming.LABEL_EXECUTION, naming.LABEL_INSTALLATION, naming.LABEL_MANAGED_BY, *(fields or {})}
    return Fields(known, frozenset(required), _LABEL_VALUE, _FREE_KEY)


_SELECTOR_KEYS = (naming.LABEL_EXECUTION, naming.LABEL_APPLICATION)
_SELECTOR = Fields(dict.fromkeys(_SELECTOR_KEYS, _LABEL_VALUE), frozenset(_SELECTOR_KEYS))
_ANNOTATIONS = Fields({}, frozenset(), Text(longest=1024), _FREE_KEY)


def _metadata(name: Shape) -> Fields:
    return _some(
        {"name": name, "namespace": _LABEL, "labels": _labels(), "annotations": _ANNOTATIONS},
        "name", "namespace", "labels",
    )  # fmt: skip


_CONTAINER_SECURITY = _some(
    {
        "allowPrivilegeEscalation": Only((False,)),
        "readOnlyRootFilesystem": Flag(),
        "capabilities": _all(drop=Only((["ALL"],))),
    },
    "allowPrivilegeEscalation", "capabilities",
)  # fmt: skip
_AMOUNTS = Fields({"cpu": QUANTITY, "memory": QUANTITY, "ephemeral-storage": QUANTITY}, frozenset({"cpu", "memory"}))
_ENV = _some(
    {
        "name": _VARIABLE,
        "value": _PROCESS_TEXT,
        "valueFrom": _all(secretKeyRef=_all(name=Only((naming.SECRET_ENV,)), key=_VARIABLE)),
    },
    "name",
)
_PROBE = _some(
    {
        "httpGet": _all(path=Text(r"/[^\x00-\x20\x7f]*", 1024), port=_PORT),
        "tcpSocket": _all(port=_PORT),
        "grpc": _some({"port": _PORT, "service": _PROCESS_TEXT}, "port"),
        "exec": _all(command=Items(_PROCESS_TEXT)),
        "initialDelaySeconds": _SECONDS,
        "periodSeconds": _SECONDS,
        "timeoutSeconds": _SECONDS,
        "failureThreshold": Whole(1, 100_000),
        "successThreshold": Only((1,)),
    }
)
_CONTAINER = _some(
    {
        "name": _LABEL,
        "image": Text(r"[^\s\x00-\x20\x7f]+", 1024),
        "imagePullPolicy": Only(("Always", "IfNotPresent")),
        "command": Items(_PROCESS_TEXT),
        "args": Items(_PROCESS_TEXT),
        "workingDir": _PATH,
        "env": Items(_ENV),
        "ports": Items(_all(name=_PORT_NAME, containerPort=_PORT, protocol=Only(("TCP",)))),
        "resources": _all(requests=_AMOUNTS, limits=_AMOUNTS),
        "securityContext": _CONTAINER_SECURITY,
        "volumeMounts": Items(
            _some({"name": _LABEL, "mountPath": _PATH, "subPath": Text(r"[a-z0-9-]+"), "readOnly": Flag()}, "name")
        ),
        "readinessProbe": _PROBE,
    },
    "name", "image", "resources", "securityContext",
)  # fmt: skip
_POD_SECURITY = _some(
    {
        "runAsNonRoot": Only((True,)),
        "runAsUser": _USER,
        "runAsGroup": _USER,
        "fsGroup": _USER,
        "fsGroupChangePolicy": Only(("OnRootMismatch", "Always")),
        "seccompProfile": _all(type=Only(("RuntimeDefault",))),
    },
    "runAsNonRoot", "runAsUser", "seccompProfile",
)  # fmt: skip
_VOLUME = _some(
    {
        "name": _LABEL,
        "emptyDir": Fields({"medium": Only(("Memory",)), "sizeLimit": QUANTITY}),
        "configMap": _all(name=Only((naming.CONFIG_FILES,))),
    },
    "name",
)
_TOLERATION = _all(
    key=Only(("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")),
    operator=Only(("Exists",)),
    effect=Only(("NoExecute",)),
    tolerationSeconds=Whole(0, 3600),
)
"""How long a lost node is waited for; nothing that would let a pod onto a node which is kept for others."""
POD_SPEC = _some(
    {
        "serviceAccountName": Only((naming.SERVICE_ACCOUNT,)),
        "automountServiceAccountToken": Only((False,)),
        "enableServiceLinks": Only((False,)),
        "tolerations": Items(_TOLERATION),
        "restartPolicy": Only(("Always", "Never")),
        "terminationGracePeriodSeconds": Whole(0, 300),
        "securityContext": _POD_SECURITY,
        "volumes": Items(_VOLUME),
        "initContainers": Items(_CONTAINER),
        "containers": Items(_CONTAINER),
    },
    "serviceAccountName", "automountServiceAccountToken", "enableServiceLinks", "terminationGracePeriodSeconds",
    "securityContext", "containers",
)  # fmt: skip
_SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
_POD_METADATA = _some(
    {
        "labels": _labels(),
        "annotations": Fields({_SAFE_TO_EVICT: Only(("false",))}, frozenset(), Text(longest=1024), _FREE_KEY),
    },
    "labels",
)
_POD_TEMPLATE = _all(metadata=_POD_METADATA, spec=POD_SPEC)
_POLICY_PORTS = Items(_all(port=_PORT, protocol=Only(("TCP", "UDP"))))
_MATCH = Fields({"matchLabels": Fields({}, frozenset(), _LABEL_VALUE)})
_PEER = Fields(
    {
        "podSelector": _MATCH,
        "namespaceSelector": _MATCH,
        "ipBlock": _some({"cidr": _CIDR, "except": Items(_CIDR)}, "cidr"),
    }
)

_NAMESPACE_LABELS = Fields(
    {
        **_labels().fields,
        "pod-security.kubernetes.io/enforce": Only(("restricted",)),
        "pod-security.kubernetes.io/enforce-version": Text(r"latest|v1\.[0-9]{1,3}"),
    },
    _labels().required | {"pod-security.kubernetes.io/enforce"},
    _LABEL_VALUE,
    _FREE_KEY,
)
_EXPIRY = Text(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_NAMESPACE_METADATA = _some(
    {
        "name": _LABEL,
        "labels": _NAMESPACE_LABELS,
        "annotations": Fields({naming.ANNOTATION_EXPIRES_AT: _EXPIRY}, frozenset(), Text(longest=1024), _FREE_KEY),
    },
    "name", "labels",
)  # fmt: skip

KINDS: Mapping[tuple[str, str], Fields] = {
    ("v1", "Namespace"): _all(metadata=_NAMESPACE_METADATA),
    ("v1", "ResourceQuota"): _all(
        metadata=_metadata(_LABEL), spec=_all(hard=Fields({}, frozenset({"pods"}), QUANTITY, r"[a-z0-9./-]+"))
    ),
    ("v1", "LimitRange"): _all(
        metadata=_metadata(_LABEL),
        spec=_all(
            limits=Items(
                _some(
                    {
                        "type": Only(("Container", "Pod")),
                        **{key: Fields({}, frozenset(), QUANTITY, r"[a-z-]+") for key in
                           ("default", "defaultRequest", "max", "min", "maxLimitRequestRatio")},
                    },
                    "type",
                )
            )
        ),
    ),
    ("networking.k8s.io/v1", "NetworkPolicy"): _all(
        metadata=_metadata(_LABEL),
        spec=_all(
            podSelector=Only(({},)),
            policyTypes=Only((["Ingress", "Egress"],)),
            ingress=Items(_some({"from": Items(_PEER), "ports": _POLICY_PORTS}, "from")),
            egress=Items(_some({"to": Items(_PEER), "ports": _POLICY_PORTS}, "to")),
        ),
    ),
    ("v1", "ServiceAccount"): _all(
        metadata=_metadata(Only((naming.SERVICE_ACCOUNT,))), automountServiceAccountToken=Only((False,))
    ),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): _all(
        metadata=_metadata(Only((naming.ROLE_BINDING,))),
        roleRef=_all(
            apiGroup=Only(("rbac.authorization.k8s.io",)), kind=Only(("ClusterRole",)), name=Text(longest=253)
        ),
        subjects=Items(_all(kind=Only(("ServiceAccount",)), namespace=_LABEL, name=Text(longest=253))),
    ),
    ("v1", "Secret"): _all(
        metadata=_metadata(Only((naming.SECRET_ENV,))),
        type=Only(("Opaque",)),
        immutable=Only((True,)),
        data=Fields({}, frozenset(), Text(r"[A-Za-z0-9+/=]*", 2**21), r"[A-Za-z_][A-Za-z0-9_]{0,127}"),
    ),
    ("v1", "ConfigMap"): _all(
        metadata=_metadata(Only((naming.CONFIG_FILES,))),
        immutable=Only((True,)),
        data=Fields({}, frozenset(), Text(longest=2**20), r"[a-z0-9-]+"),
    ),
    ("v1", "Service"): _all(
        metadata=_metadata(_LABEL),
        spec=_all(
            type=Only(("ClusterIP",)),
            selector=_SELECTOR,
            ports=Items(_all(name=_PORT_NAME, port=_PORT, targetPort=_PORT, protocol=Only(("TCP",)))),
        ),
    ),
    ("apps/v1", "Deployment"): _all(
        metadata=_metadata(_LABEL),
        spec=_all(
            replicas=Whole(0, 1_000),
            revisionHistoryLimit=Whole(0, 10),
            progressDeadlineSeconds=_SECONDS,
            strategy=_all(type=Only(("Recreate", "RollingUpdate"))),
            selector=_all(matchLabels=_SELECTOR),
            template=_POD_TEMPLATE,
        ),
    ),
    ("batch/v1", "Job"): _all(
        metadata=_metadata(_LABEL),
        spec=_all(
            backoffLimit=Only((0,)),
            completions=Only((1,)),
            parallelism=Only((1,)),
            podReplacementPolicy=Only(("Failed",)),
            activeDeadlineSeconds=Whole(1, 8 * 24 * 3600),
            template=_POD_TEMPLATE,
        ),
    ),
}  # fmt: skip
"""What may be created, by apiVersion and kind; both fields themselves are added by `check_object`."""


def check_object(body: Mapping[str, Any], namespace: str) -> list[str]:
    """What of an object is not allowed, a sentence each; empty if it may be created in that namespace."""
    identity = (str(body.get("apiVersion")), str(body.get("kind")))
    shape = KINDS.get(identity)
    if shape is None:
        return [f"objects of {identity[0]} {identity[1]} are not allowed"]
    found = list(breaches({k: v for k, v in body.items() if k not in {"apiVersion", "kind"}}, shape))
    metadata = body.get("metadata")
    at = "name" if identity[1] == "Namespace" else "namespace"
    if isinstance(metadata, dict) and metadata.get(at) != namespace:
        found.append(f"metadata.{at} is not {namespace}")
    return found

"""Whether a body has the JSON types that its kind's fields have, by the name of the field.

The real server decodes into Go structs and answers 400 for a number where a string belongs; the rest of this simulation
relies on the shapes checked here. No full schema: unknown fields pass (docs/simulation.md). Pure.
"""

from __future__ import annotations

from typing import Any

from k8s_simulation.api.objects import Object
from k8s_simulation.api.problems import bad_request
from k8s_simulation.api.resources import Resource

_STRING_MAPS = {"labels", "annotations", "matchLabels", "nodeSelector", "stringData"}
_QUANTITY_MAPS = {"requests", "hard", "used", "allocatable", "capacity", "max", "min", "default", "defaultRequest"}
_OBJECT_LISTS = {
    "containers", "initContainers", "ephemeralContainers", "env", "envFrom", "volumes", "volumeMounts", "ports",
    "conditions", "ownerReferences", "imagePullSecrets", "tolerations", "subjects", "rules", "subsets", "endpoints",
    "matchExpressions", "items", "taints", "ingress", "egress", "to", "from", "containerStatuses", "onPodConditions",
    "initContainerStatuses", "volumeClaimTemplates", "hostAliases", "topologySpreadConstraints", "notReadyAddresses",
    "secrets", "sources", "schedulingGates",
}  # fmt: skip
_STRING_LISTS = {"finalizers", "command", "args", "policyTypes", "accessModes", "clusterIPs", "ipFamilies", "add",
                 "drop", "verbs", "apiGroups", "resourceNames", "nonResourceURLs"}  # fmt: skip
_OBJECTS = {
    "metadata", "spec", "template", "selector", "data", "binaryData", "securityContext", "strategy", "valueFrom",
    "secretKeyRef", "configMapKeyRef", "fieldRef", "resourceFieldRef", "emptyDir", "readinessProbe", "livenessProbe",
    "startupProbe", "httpGet", "exec", "tcpSocket", "grpc", "capabilities", "seccompProfile", "podSelector",
    "namespaceSelector", "rollingUpdate", "updateStrategy", "roleRef", "involvedObject", "source", "affinity",
    "podFailurePolicy", "onExitCodes", "labelSelector", "secret", "configMap", "projected", "downwardAPI", "hostPath",
    "persistentVolumeClaim", "lifecycle", "preStop", "postStart", "loadBalancer", "ipBlock", "targetRef", "nodeInfo",
    "daemonEndpoints", "kubeletEndpoint", "state", "lastState", "waiting", "running", "terminated",
    "uncountedTerminatedPods", "serviceAccountToken", "secretRef", "configMapRef",
}  # fmt: skip
_STRINGS = {
    "name", "namespace", "image", "value", "generateName", "serviceAccountName", "nodeName", "restartPolicy", "key",
    "mountPath", "kind", "apiVersion", "type", "uid", "resourceVersion", "imagePullPolicy", "workingDir", "hostname",
    "subPath", "propagationPolicy", "clusterIP", "operator", "effect", "schedulerName", "message", "reason", "path",
    "claimName", "secretName", "storageClassName", "podManagementPolicy", "completionMode", "podReplacementPolicy",
    "serviceName", "externalName", "protocol", "action", "phase", "podIP", "hostIP", "startTime", "completionTime",
    "renewTime", "creationTimestamp", "deletionTimestamp", "holderIdentity", "component", "fieldPath", "cidr",
    "lastTransitionTime", "lastUpdateTime", "firstTimestamp", "lastTimestamp", "completedIndexes", "volumeName",
    "containerName", "provisioner", "addressType", "dnsPolicy", "subdomain", "terminationMessagePolicy",
}  # fmt: skip
_INTEGERS = {
    "replicas", "containerPort", "backoffLimit", "completions", "parallelism", "activeDeadlineSeconds", "runAsUser",
    "terminationGracePeriodSeconds", "runAsGroup", "fsGroup", "ttlSecondsAfterFinished", "periodSeconds", "nodePort",
    "timeoutSeconds", "initialDelaySeconds", "failureThreshold", "successThreshold", "progressDeadlineSeconds",
    "minReadySeconds", "restartCount", "exitCode", "observedGeneration", "defaultMode", "mode", "generation",
    "revisionHistoryLimit", "deletionGracePeriodSeconds", "tolerationSeconds", "active", "succeeded", "failed",
    "readyReplicas", "availableReplicas", "updatedReplicas", "unavailableReplicas", "count", "hostPort", "Port",
    "priority", "leaseDurationSeconds",
}  # fmt: skip
_LONG = {"runAsUser", "runAsGroup", "fsGroup", "activeDeadlineSeconds", "terminationGracePeriodSeconds", "generation",
         "tolerationSeconds", "observedGeneration", "deletionGracePeriodSeconds"}  # fmt: skip
_BOOLEANS = {"runAsNonRoot", "privileged", "readOnlyRootFilesystem", "allowPrivilegeEscalation", "hostNetwork",
             "hostPID", "hostIPC", "readOnly", "enableServiceLinks", "automountServiceAccountToken", "suspend",
             "immutable", "optional", "stdin", "tty", "shareProcessNamespace", "manualSelector", "paused",
             "controller", "blockOwnerDeletion", "unschedulable", "publishNotReadyAddresses"}  # fmt: skip
_INT_OR_STRING = {"maxSurge", "maxUnavailable", "targetPort"}
_GO_TYPES: dict[type, str] = {dict: "object", list: "[]object", str: "string", int: "int32"}
_OPAQUE = {"managedFields", "fieldsV1", "parameters", "options", "details"}
_HANDLED_APART = {"status", "resources", "limits", "conditions", "uncountedTerminatedPods", "targetRef", "failed",
                  "succeeded", "values", "addresses"}  # fmt: skip


class _WrongShape(Exception):
    def __init__(self, value: object, path: str, wanted: str) -> None:
        super().__init__(f"json: cannot unmarshal {_json_type(value)} into Go struct field {path} of type {wanted}")


def without_nulls(value: Any) -> Any:
    """A copy without the fields that are null: for Kubernetes null means absent."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(v) for v in value]
    return value


def check(resource: Resource, body: Object) -> None:
    """Raises 400 for a body that names another kind or has a field of the wrong JSON type."""
    kind, version = body.setdefault("kind", resource.kind), body.setdefault("apiVersion", resource.api_version)
    if (kind, version) != (resource.kind, resource.api_version):
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({resource.api_version}), or its kind ({kind}) not the expected kind ({resource.kind})"
        )
    if body.get("metadata") is None:
        body["metadata"] = {}
    try:
        _walk(body, resource.kind)
    except _WrongShape as problem:
        raise bad_request(
            f'{kind} in version "{resource.version}" cannot be handled as a {kind}: {problem}'
        ) from problem


def _walk(value: Object, path: str) -> None:
    for field, inner in value.items():
        if inner is None or field in _OPAQUE:
            continue
        at = f"{path}.{field}"
        if field in _HANDLED_APART:
            _check_homonym(field, inner, at)
        else:
            _check_field(field, inner, at)
        if isinstance(inner, dict) and field not in _STRING_MAPS and field not in {"data", "binaryData"}:
            _walk(inner, at)
        elif isinstance(inner, list):
            for item in (i for i in inner if isinstance(i, dict)):
                _walk(item, at)


def _check_field(field: str, value: Any, at: str) -> None:
    if field in _STRING_MAPS or field in {"data", "binaryData"}:
        _map_of_strings(value, at)
    elif field in _QUANTITY_MAPS:
        _map_of_quantities(value, at)
    elif field in _OBJECT_LISTS:
        _list_of(value, dict, at, "object")
    elif field in _STRING_LISTS:
        _list_of(value, str, at, "string")
    elif field in _OBJECTS and not isinstance(value, dict):
        raise _WrongShape(value, at, "object")
    elif field in _STRINGS and not isinstance(value, str):
        raise _WrongShape(value, at, "string")
    elif field in _INTEGERS and not (_is_integer(value) and (field in _LONG or abs(value) < 2**31)):
        raise _WrongShape(value, at, "int64" if field in _LONG else "int32")
    elif field in _BOOLEANS and not isinstance(value, bool):
        raise _WrongShape(value, at, "bool")
    elif field in _INT_OR_STRING and not isinstance(value, str) and not _is_integer(value):
        raise _WrongShape(value, at, "intstr.IntOrString")


def _check_homonym(field: str, value: Any, at: str) -> None:
    """Fields whose name means one thing in one kind and another in the next."""
    match field:
        case "status" if at.count(".") > 1:
            wanted: type = str  # of a condition
        case "resources" if ".rules." in at:
            wanted = list  # of an RBAC rule
        case "limits" if at == "LimitRange.spec.limits":
            wanted = list
        case "conditions" if not at.endswith(".endpoints.conditions"):
            wanted = list
        case "values" | "addresses":
            wanted = list
        case "failed" | "succeeded":
            wanted = list if ".uncountedTerminatedPods." in at else int
        case _:
            wanted = dict
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise _WrongShape(value, at, _GO_TYPES[wanted])
    if field == "addresses":
        _list_of(value, str if ".endpoints." in at else dict, at, "object")
    elif wanted is list and field in {"limits", "conditions"}:
        _list_of(value, dict, at, "object")
    elif field == "limits":
        _map_of_quantities(value, at)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _map_of_quantities(value: Any, at: str) -> None:
    if not isinstance(value, dict):
        raise _WrongShape(value, at, "core.ResourceList")
    for inner in value.values():
        if isinstance(inner, bool) or not isinstance(inner, (str, int, float)):
            raise _WrongShape(inner, at, "resource.Quantity")


def _map_of_strings(value: Any, at: str) -> None:
    if not isinstance(value, dict):
        raise _WrongShape(value, at, "map[string]string")
    for inner in value.values():
        if not isinstance(inner, str) and inner is not None:
            raise _WrongShape(inner, at, "string")


def _list_of(value: Any, kind: type, at: str, wanted: str) -> None:
    if not isinstance(value, list):
        raise _WrongShape(value, at, f"[]{wanted}")
    for item in value:
        if not isinstance(item, kind):
            raise _WrongShape(item, at, wanted)


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"

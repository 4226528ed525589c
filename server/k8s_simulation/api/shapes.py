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
_OBJECT_LISTS = {
    "containers", "initContainers", "ephemeralContainers", "env", "envFrom", "volumes", "volumeMounts", "ports",
    "conditions", "ownerReferences", "imagePullSecrets", "tolerations", "subjects", "rules", "subsets", "endpoints",
    "matchExpressions", "items", "taints",
}  # fmt: skip
_STRING_LISTS = {"finalizers", "command", "args", "policyTypes", "accessModes", "clusterIPs", "ipFamilies"}
_OBJECTS = {
    "metadata", "spec", "template", "selector", "requests", "hard", "data", "securityContext",
    "strategy", "valueFrom", "secretKeyRef", "configMapKeyRef", "fieldRef", "emptyDir", "readinessProbe",
    "livenessProbe", "startupProbe", "httpGet", "exec", "tcpSocket", "grpc", "capabilities", "seccompProfile",
}  # fmt: skip
_STRINGS = {
    "name", "namespace", "image", "value", "generateName", "serviceAccountName", "nodeName", "restartPolicy",
    "mountPath", "kind", "apiVersion", "type", "uid", "resourceVersion", "imagePullPolicy", "workingDir", "hostname",
    "subPath", "propagationPolicy", "clusterIP",
}  # fmt: skip
_INTEGERS = {
    "replicas", "containerPort", "backoffLimit", "completions", "parallelism", "activeDeadlineSeconds",
    "terminationGracePeriodSeconds", "runAsUser", "runAsGroup", "fsGroup", "ttlSecondsAfterFinished",
    "periodSeconds", "timeoutSeconds", "initialDelaySeconds", "failureThreshold", "successThreshold",
    "progressDeadlineSeconds", "minReadySeconds",
}  # fmt: skip
_BOOLEANS = {"runAsNonRoot", "privileged", "readOnlyRootFilesystem", "allowPrivilegeEscalation", "hostNetwork",
             "hostPID", "hostIPC", "readOnly", "enableServiceLinks", "automountServiceAccountToken", "suspend",
             "immutable", "optional", "stdin", "tty", "shareProcessNamespace"}  # fmt: skip
_OPAQUE = {"managedFields", "fieldsV1", "parameters", "options", "details"}


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
        _check_field(field, inner, at)
        if isinstance(inner, dict) and field not in _STRING_MAPS and field != "data":
            _walk(inner, at)
        elif isinstance(inner, list):
            for item in (i for i in inner if isinstance(i, dict)):
                _walk(item, at)


def _check_field(field: str, value: Any, at: str) -> None:
    if field in _STRING_MAPS:
        _map_of_strings(value, at)
    elif field in _OBJECT_LISTS and not (field == "conditions" and at.endswith(".endpoints.conditions")):
        _list_of(value, dict, at, "object")
    elif field in _STRING_LISTS:
        _list_of(value, str, at, "string")
    elif field in _OBJECTS and not isinstance(value, dict):
        # a Service's selector and data are maps too; `limits` is a map in a container and a list in a LimitRange
        raise _WrongShape(value, at, "object")
    elif field in _STRINGS and not isinstance(value, str):
        raise _WrongShape(value, at, "string")
    elif field in _INTEGERS and (isinstance(value, bool) or not isinstance(value, int)):
        raise _WrongShape(value, at, "int32")
    elif field in _BOOLEANS and not isinstance(value, bool):
        raise _WrongShape(value, at, "bool")
    if field == "data":
        _map_of_strings(value, at)
    # two names that mean something else elsewhere: the status of a condition, the resources of an RBAC rule
    elif (
        (field == "status" and at.count(".") == 1) or (field == "resources" and ".rules." not in at)
    ) and not isinstance(value, dict):
        raise _WrongShape(value, at, "object")


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

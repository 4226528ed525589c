"""Which objects the API refuses as invalid, with Kubernetes' words; and which fields may not change.

A part of pkg/apis/*/validation: what a client of this simulation is likely to get wrong. All problems of an object are
found at once. Rules about pod specs are in `pod_validation`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from k8s_simulation.api.objects import Object, clone, labels_of, meta, name_of, spec_of, status_of
from k8s_simulation.api.pod_validation import pod_spec_problems, quantity_problems
from k8s_simulation.api.problems import FieldProblem, forbidden_field, invalid_value, required, unsupported
from k8s_simulation.api.resources import NODES, Resource
from k8s_simulation.api.secrets_validation import type_problems
from k8s_simulation.api.selectors import from_label_selector, labels_match

LABEL_1123 = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
LABEL_1035 = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_QUALIFIED = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")
_CONFIG_KEY = re.compile(r"^[-._a-zA-Z0-9]+$")

_LABEL_1123_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_1035_WORDS = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_VALUE_WORDS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_QUALIFIED_WORDS = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_MAX_ANNOTATIONS = 256 * 1024
_MAX_DATA = 1024 * 1024


def name_problems(resource: Resource, name: str, field: str = "metadata.name") -> list[FieldProblem]:
    """What is wrong with an object's name, by the rule of its kind."""
    if resource.group == "rbac.authorization.k8s.io":
        bad = name in {".", ".."} or "/" in name or "%" in name
        return [invalid_value(field, name, "may not be '.' or '..' or contain '/' or '%'")] if bad else []
    if resource.plural == "services":
        pattern, words, longest = LABEL_1035, _LABEL_1035_WORDS, 63
    elif resource.plural == "namespaces":
        pattern, words, longest = LABEL_1123, _LABEL_1123_WORDS, 63
    else:
        pattern, words, longest = SUBDOMAIN, _SUBDOMAIN_WORDS, 253
    problems = [] if pattern.match(name) else [invalid_value(field, name, words)]
    if len(name) > longest:
        problems.append(invalid_value(field, name, f"must be no more than {longest} characters"))
    return problems


def label_problems(labels: dict[str, str], field: str) -> list[FieldProblem]:
    """What is wrong with label keys and values."""
    problems: list[FieldProblem] = []
    for key, value in labels.items():
        problems += _key_problems(key, field)
        if len(value) > 63:
            problems.append(invalid_value(field, value, "must be no more than 63 characters"))
        if not _LABEL_VALUE.match(value):
            problems.append(invalid_value(field, value, _LABEL_VALUE_WORDS))
    return problems


def _key_problems(key: str, field: str) -> list[FieldProblem]:
    prefix, _, name = key.rpartition("/")
    problems = []
    if "/" in key and not SUBDOMAIN.match(prefix):
        problems.append(invalid_value(field, key, f"prefix part {_SUBDOMAIN_WORDS}"))
    if not _QUALIFIED.match(name):
        problems.append(invalid_value(field, key, _QUALIFIED_WORDS))
    if len(name) > 63:
        problems.append(invalid_value(field, key, "name part must be no more than 63 characters"))
    return problems


def create_problems(resource: Resource, obj: Object) -> list[FieldProblem]:
    """All that is wrong with a new object."""
    name = name_of(obj)
    problems = (
        name_problems(resource, name) if name else [required("metadata.name", "name or generateName is required")]
    )
    return [*problems, *_common(obj), *_kind(resource, obj)]


def update_problems(resource: Resource, obj: Object, old: Object) -> list[FieldProblem]:
    """All that is wrong with a new state of an existing object."""
    problems = [*_common(obj), *_kind(resource, obj)]
    if resource.kind in _IMMUTABLE:
        problems += _IMMUTABLE[resource.kind](obj, old)
    return problems


def _common(obj: Object) -> list[FieldProblem]:
    problems = label_problems(labels_of(obj), "metadata.labels")
    annotations: dict[str, str] = meta(obj).get("annotations") or {}
    for key in annotations:
        problems += _key_problems(key.lower(), "metadata.annotations")
    size = sum(len(k) + len(v) for k, v in annotations.items())
    if size > _MAX_ANNOTATIONS:
        problems.append(
            FieldProblem(
                "metadata.annotations", "FieldValueTooLong", f"Too long: may not be more than {_MAX_ANNOTATIONS} bytes"
            )
        )
    for index, finalizer in enumerate(meta(obj).get("finalizers") or []):
        if "/" not in finalizer and finalizer not in {"orphan", "foregroundDeletion", "kubernetes"}:
            words = "name is neither a standard finalizer name nor is it fully qualified"
            problems.append(invalid_value(f"metadata.finalizers[{index}]", finalizer, words))
    for owner in meta(obj).get("ownerReferences") or []:
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                place = f"metadata.ownerReferences.{'version' if field == 'apiVersion' else field}"
                problems.append(invalid_value(place, "", "must not be empty"))
    return problems


def _kind(resource: Resource, obj: Object) -> list[FieldProblem]:
    check = _KINDS.get(resource.kind)
    return check(obj) if check else []


def _pod(obj: Object) -> list[FieldProblem]:
    return pod_spec_problems(spec_of(obj), "spec")


def _template(obj: Object) -> list[FieldProblem]:
    template = spec_of(obj).get("template") or {}
    return [
        *label_problems(labels_of(template), "spec.template.labels"),
        *pod_spec_problems(spec_of(template), "spec.template.spec"),
    ]


def _workload(obj: Object) -> list[FieldProblem]:
    spec = spec_of(obj)
    problems = []
    selector = spec.get("selector")
    labels = labels_of(spec.get("template") or {})
    if not selector:
        problems.append(required("spec.selector"))
    if not selector or not labels_match(from_label_selector(selector), labels):
        words = "`selector` does not match template `labels`"
        problems.append(invalid_value("spec.template.metadata.labels", labels, words))
    problems += _not_negative(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    problems += _rolling(spec)
    problems += _template(obj)
    policy = spec_of(spec.get("template") or {}).get("restartPolicy")
    if policy != "Always":
        problems.append(unsupported("spec.template.spec.restartPolicy", policy, ["Always"]))
    return problems


def _rolling(spec: Object) -> list[FieldProblem]:
    """maxSurge and maxUnavailable are numbers or percentages."""
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    words = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%')"
    return [
        invalid_value(f"spec.strategy.rollingUpdate.{name}", value, words)
        for name, value in rolling.items()
        if isinstance(value, str) and not re.fullmatch(r"[0-9]+%", value)
    ]


def _quantities(found: Object, at: str) -> list[FieldProblem]:
    return [p for name, value in found.items() for p in quantity_problems(value, f"{at}[{name}]")]


def _quota(obj: Object) -> list[FieldProblem]:
    return _quantities(spec_of(obj).get("hard") or {}, "spec.hard")


def _limit_range(obj: Object) -> list[FieldProblem]:
    fields = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
    return [
        problem
        for index, item in enumerate(spec_of(obj).get("limits") or [])
        for field in fields
        for problem in _quantities(item.get(field) or {}, f"spec.limits[{index}].{field}")
    ]


def _claim(obj: Object) -> list[FieldProblem]:
    spec = spec_of(obj)
    requests = (spec.get("resources") or {}).get("requests") or {}
    problems = [] if spec.get("accessModes") else [required("spec.accessModes", "at least 1 access mode is required")]
    if "storage" not in requests:
        problems.append(required("spec.resources[storage]"))
    return [*problems, *_quantities(requests, "spec.resources.requests")]


def _node(obj: Object) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    for index, taint in enumerate(spec_of(obj).get("taints") or []):
        at, effects = f"spec.taints[{index}]", ["NoExecute", "NoSchedule", "PreferNoSchedule"]
        if not taint.get("key"):
            problems.append(required(f"{at}.key"))
        if taint.get("effect") not in effects:
            problems.append(unsupported(f"{at}.effect", taint.get("effect"), effects))
    return [*problems, *status_problems(NODES, obj)]


def status_problems(resource: Resource, obj: Object) -> list[FieldProblem]:
    """What is wrong with a status: of a node, what the scheduler reckons with."""
    if resource is not NODES:
        return []
    fields = ("allocatable", "capacity")
    return [p for f in fields for p in _quantities(status_of(obj).get(f) or {}, f"status.{f}")]


def _binding(obj: Object) -> list[FieldProblem]:
    role = obj.get("roleRef") or {}
    problems = [] if role.get("name") else [required("roleRef.name")]
    if role.get("kind") not in {"Role", "ClusterRole"}:
        problems.append(unsupported("roleRef.kind", role.get("kind"), ["ClusterRole", "Role"]))
    return problems


def _not_negative(spec: Object, *fields: str) -> list[FieldProblem]:
    words = "must be greater than or equal to 0"
    return [invalid_value(f"spec.{f}", spec[f], words) for f in fields if isinstance(spec.get(f), int) and spec[f] < 0]


def _job(obj: Object) -> list[FieldProblem]:
    spec = spec_of(obj)
    fields = ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished")
    problems = [*_not_negative(spec, *fields), *_template(obj)]
    policy = spec_of(spec.get("template") or {}).get("restartPolicy")
    field = "spec.template.spec.restartPolicy"
    if policy == "Always":
        problems.append(required(field, 'valid values: "OnFailure", "Never"'))
    elif policy not in {"OnFailure", "Never"}:
        problems.append(unsupported(field, policy, ["OnFailure", "Never"]))
    if spec.get("podFailurePolicy") and policy != "Never":
        problems.append(invalid_value(field, policy, 'only "Never" is supported when podFailurePolicy is specified'))
    if spec.get("podFailurePolicy") and spec.get("podReplacementPolicy") not in {None, "Failed"}:
        problems.append(unsupported("spec.podReplacementPolicy", spec["podReplacementPolicy"], ["Failed"]))
    if spec.get("podReplacementPolicy") not in {None, "Failed", "TerminatingOrFailed"}:
        allowed = ["Failed", "TerminatingOrFailed"]
        problems.append(unsupported("spec.podReplacementPolicy", spec["podReplacementPolicy"], allowed))
    return problems


def _service(obj: Object) -> list[FieldProblem]:
    spec = spec_of(obj)
    ports = spec.get("ports") or []
    kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]
    if spec.get("type") not in kinds:
        return [unsupported("spec.type", spec.get("type"), kinds)]
    problems: list[FieldProblem] = []
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        problems.append(required("spec.ports"))
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        if len(ports) > 1 and not port.get("name"):
            problems.append(required(f"{at}.name"))
        if port.get("name") and not LABEL_1123.match(port["name"]):
            problems.append(invalid_value(f"{at}.name", port["name"], _LABEL_1123_WORDS))
        number = port.get("port")
        if not isinstance(number, int) or not 1 <= number <= 65535:
            problems.append(invalid_value(f"{at}.port", number, "must be between 1 and 65535, inclusive"))
        if port.get("protocol") not in {"TCP", "UDP", "SCTP"}:
            problems.append(unsupported(f"{at}.protocol", port.get("protocol"), ["SCTP", "TCP", "UDP"]))
    return problems


def _data(obj: Object) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    size = 0
    for part in ("data", "binaryData"):
        for key, value in (obj.get(part) or {}).items():
            size += len(value or "")
            if not _CONFIG_KEY.match(key) or len(key) > 253:
                words = (
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
                    "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                )
                problems.append(invalid_value(f"{part}[{key}]", key, words))
    if size > _MAX_DATA * (4 / 3 if obj.get("kind") == "Secret" else 1):
        problems.append(FieldProblem("data", "FieldValueTooLong", f"Too long: may not be more than {_MAX_DATA} bytes"))
    return problems


def _secret(obj: Object) -> list[FieldProblem]:
    return [*_data(obj), *type_problems(obj)]


_KINDS: dict[str, Callable[[Object], list[FieldProblem]]] = {
    "Pod": _pod,
    "Deployment": _workload,
    "ReplicaSet": _workload,
    "StatefulSet": _workload,
    "Job": _job,
    "Service": _service,
    "ResourceQuota": _quota,
    "LimitRange": _limit_range,
    "PersistentVolumeClaim": _claim,
    "Node": _node,
    "RoleBinding": _binding,
    "ClusterRoleBinding": _binding,
    "ConfigMap": _data,
    "Secret": _secret,
}


def _immutable(old: Object, new: Object, field: str) -> list[FieldProblem]:
    before, after = spec_of(old).get(field), spec_of(new).get(field)
    return [] if before == after else [invalid_value(f"spec.{field}", after, "field is immutable")]


def _job_update(new: Object, old: Object) -> list[FieldProblem]:
    fields = ("completions", "selector", "template", "completionMode", "podFailurePolicy", "manualSelector")
    return [p for f in fields for p in _immutable(old, new, f)]


def _workload_update(new: Object, old: Object) -> list[FieldProblem]:
    return _immutable(old, new, "selector")


def _statefulset_update(new: Object, old: Object) -> list[FieldProblem]:
    mutable = {"replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds",
               "persistentVolumeClaimRetentionPolicy"}  # fmt: skip
    before = {k: v for k, v in spec_of(old).items() if k not in mutable}
    after = {k: v for k, v in spec_of(new).items() if k not in mutable}
    if before == after:
        return []
    return [
        forbidden_field(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        )
    ]


def _service_update(new: Object, old: Object) -> list[FieldProblem]:
    before, after = spec_of(old).get("clusterIP"), spec_of(new).get("clusterIP")
    if before == after or spec_of(new).get("type") == "ExternalName":
        return []
    return [invalid_value("spec.clusterIPs[0]", [after], "may not change once set")]


def _pod_update(new: Object, old: Object) -> list[FieldProblem]:
    if _pod_frozen(spec_of(new)) == _pod_frozen(spec_of(old)):
        return []
    return [
        forbidden_field(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        )
    ]


def _pod_frozen(spec: Object) -> Object:
    frozen: Object = clone(spec)
    for field in ("activeDeadlineSeconds", "tolerations", "ephemeralContainers"):
        frozen.pop(field, None)
    for kind in ("containers", "initContainers"):
        for container in frozen.get(kind) or []:
            container.pop("image", None)
    return frozen


def _data_update(new: Object, old: Object) -> list[FieldProblem]:
    if not old.get("immutable"):
        return []
    words = "field is immutable when `immutable` is set"
    return [forbidden_field(f, words) for f in ("data", "binaryData", "immutable") if old.get(f) != new.get(f)]


def _secret_update(new: Object, old: Object) -> list[FieldProblem]:
    problems = _data_update(new, old)
    if new.get("type") != old.get("type"):
        problems.append(invalid_value("type", new.get("type"), "field is immutable"))
    return problems


def _binding_update(new: Object, old: Object) -> list[FieldProblem]:
    if new.get("roleRef") == old.get("roleRef"):
        return []
    return [invalid_value("roleRef", new.get("roleRef"), "cannot change roleRef")]


_IMMUTABLE: dict[str, Callable[[Object, Object], list[FieldProblem]]] = {
    "Job": _job_update,
    "Deployment": _workload_update,
    "ReplicaSet": _workload_update,
    "StatefulSet": _statefulset_update,
    "Service": _service_update,
    "Pod": _pod_update,
    "ConfigMap": _data_update,
    "Secret": _secret_update,
    "RoleBinding": _binding_update,
    "ClusterRoleBinding": _binding_update,
}

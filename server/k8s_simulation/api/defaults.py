"""What Kubernetes fills in when a field is left out, for the kinds of this simulation.

Values of pkg/apis/*/v1/defaults.go and of the create strategies (initial status, cleared status). Each function changes
the object it is given, which the registry has just decoded or cloned. Pure.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator

from k8s_simulation.api import quantities
from k8s_simulation.api.objects import Object, clone, labels_of, meta, name_of, spec_of, uid_of


def containers_of(spec: Object) -> Iterator[Object]:
    """Init containers, then containers, of a pod spec."""
    yield from spec.get("initContainers") or []
    yield from spec.get("containers") or []


def set_defaults(kind: str, obj: Object) -> None:
    """Fill in what the kind's defaults say."""
    if kind in _DEFAULTS:
        _DEFAULTS[kind](obj)


def pod_spec_defaults(spec: Object) -> None:
    """Defaults of a pod spec, also inside templates."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for container in containers_of(spec):
        _container(container)
    for volume in spec.get("volumes") or []:
        _volume(volume)


def _container(container: Object) -> None:
    image = str(container.get("image") or "")
    last = image.rsplit("/", 1)[-1]
    latest = "@" not in last and (":" not in last or last.endswith(":latest"))
    container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for entry in container.get("env") or []:
        field = (entry.get("valueFrom") or {}).get("fieldRef")
        if field is not None:
            field.setdefault("apiVersion", "v1")
    for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
        if container.get(kind):
            _probe(container[kind])
    limits = container["resources"].get("limits") or {}
    if limits:
        container["resources"]["requests"] = {**limits, **(container["resources"].get("requests") or {})}


def _probe(probe: Object) -> None:
    for field, value in (
        ("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)
    ):  # fmt: skip
        if not probe.get(field):
            probe[field] = value
    if probe.get("httpGet") is not None:
        probe["httpGet"].setdefault("scheme", "HTTP")
        probe["httpGet"].setdefault("path", "/")
    if probe.get("grpc") is not None:
        probe["grpc"].setdefault("service", "")


def _volume(volume: Object) -> None:
    if len(volume) <= 1:
        volume["emptyDir"] = {}
    for kind in ("secret", "configMap", "projected", "downwardAPI"):
        if volume.get(kind) is not None:
            volume[kind].setdefault("defaultMode", 0o644)


def quality_of_service(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, by pkg/apis/core/v1/helper/qos."""
    requests = [(c.get("resources") or {}).get("requests") or {} for c in containers_of(spec)]
    limits = [(c.get("resources") or {}).get("limits") or {} for c in containers_of(spec)]
    if not any(requests) and not any(limits):
        return "BestEffort"
    for asked, limit in zip(requests, limits, strict=True):
        for kind in ("cpu", "memory"):
            if kind not in limit or quantities.parse(asked.get(kind, limit[kind])) != quantities.parse(limit[kind]):
                return "Burstable"
    return "Guaranteed"


def _pod(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("enableServiceLinks", True)
    pod_spec_defaults(spec)
    if spec.get("hostNetwork"):
        for container in containers_of(spec):
            for port in container.get("ports") or []:
                port.setdefault("hostPort", port.get("containerPort"))


def _template(obj: Object) -> None:
    template = obj.setdefault("spec", {}).setdefault("template", {})
    template.setdefault("metadata", {})
    pod_spec_defaults(template.setdefault("spec", {}))


def _deployment(obj: Object) -> None:
    _template(obj)
    spec = obj["spec"]
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def _replicaset(obj: Object) -> None:
    _template(obj)
    obj["spec"].setdefault("replicas", 1)
    labels = labels_of(obj["spec"]["template"])
    if labels and not labels_of(obj):
        obj["metadata"]["labels"] = dict(labels)


def _statefulset(obj: Object) -> None:
    _template(obj)
    spec = obj["spec"]
    spec.setdefault("replicas", 1)
    spec.setdefault("serviceName", "")
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Retain", "whenScaled": "Retain"})


def _job(obj: Object) -> None:
    _template(obj)
    spec = obj["spec"]
    if not meta(obj).get("labels") and meta(spec["template"]).get("labels"):
        meta(obj)["labels"] = dict(meta(spec["template"])["labels"])
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    policy = "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"
    spec.setdefault("podReplacementPolicy", policy)


def job_selector(obj: Object) -> None:
    """The labels and the selector a Job gets from its uid (pkg/registry/batch/job/strategy.go)."""
    spec = obj["spec"]
    if spec.get("manualSelector"):
        return
    uid, name = uid_of(obj), name_of(obj)
    labels = meta(spec["template"]).setdefault("labels", {})
    generated = {
        "controller-uid": uid,
        "job-name": name,
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
    }
    if meta(obj).get("labels") == labels:  # defaulted from the template: in Kubernetes it is the same map
        meta(obj)["labels"] = labels | generated
    labels |= generated
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}


def _service(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] == "ExternalName":
        return
    spec.setdefault("internalTrafficPolicy", "Cluster")
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))


def _secret(obj: Object) -> None:
    obj.setdefault("type", "Opaque")
    plain = obj.pop("stringData", None)
    if plain:
        data = obj.get("data") or {}
        obj["data"] = data | {k: b64encode(str(v).encode()).decode() for k, v in plain.items()}


def _namespace(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    labels = meta(obj).get("labels") or {}
    if name_of(obj):
        meta(obj)["labels"] = labels | {"kubernetes.io/metadata.name": name_of(obj)}


def _networkpolicy(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in [*(spec.get("ingress") or []), *(spec.get("egress") or [])]:
        for port in rule.get("ports") or []:
            port.setdefault("protocol", "TCP")


def _limitrange(obj: Object) -> None:
    for item in spec_of(obj).get("limits") or []:
        if item.get("type") != "Container":
            continue
        default = {**(item.get("max") or {}), **(item.get("default") or {})}
        request = {**(item.get("min") or {}), **default, **(item.get("defaultRequest") or {})}
        if default:
            item["default"] = default
        if request:
            item["defaultRequest"] = request


def _binding(obj: Object) -> None:
    obj.setdefault("roleRef", {}).setdefault("apiGroup", "rbac.authorization.k8s.io")
    for subject in obj.get("subjects") or []:
        group = "" if subject.get("kind") == "ServiceAccount" else "rbac.authorization.k8s.io"
        if group:
            subject.setdefault("apiGroup", group)


def _claim(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


_DEFAULTS: dict[str, Callable[[Object], None]] = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _replicaset,
    "StatefulSet": _statefulset,
    "Job": _job,
    "Service": _service,
    "Secret": _secret,
    "Namespace": _namespace,
    "NetworkPolicy": _networkpolicy,
    "LimitRange": _limitrange,
    "RoleBinding": _binding,
    "ClusterRoleBinding": _binding,
    "PersistentVolumeClaim": _claim,
}


def set_status_defaults(kind: str, obj: Object) -> None:
    """What a written status gets: a pod's conditions show `lastProbeTime` also when it is empty (PodCondition)."""
    if kind == "Pod":
        for found in (obj.get("status") or {}).get("conditions") or []:
            found.setdefault("lastProbeTime", None)


def initial_status(kind: str, obj: Object) -> Object | None:
    """The status an object starts with, whatever the request said; None for kinds without one."""
    match kind:
        case "Pod":
            return {"phase": "Pending", "qosClass": quality_of_service(spec_of(obj))}
        case "Namespace":
            return {"phase": "Active"}
        case "Service":
            return {"loadBalancer": {}}
        case "PersistentVolumeClaim" | "PersistentVolume":
            return {"phase": "Pending"}
        case "ReplicaSet" | "StatefulSet":
            return {"replicas": 0}
        case "Node":
            return clone(obj.get("status") or {})  # type: ignore[no-any-return]
        case "Deployment" | "Job" | "ResourceQuota" | "PodDisruptionBudget":
            return {}
        case _:
            return None

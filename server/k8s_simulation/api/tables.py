"""Columns of `kubectl get`: meta.k8s.io/v1 Tables, made by the server as Kubernetes does.

Columns and cells follow pkg/printers/internalversion for the kinds that people look at; every other kind has its name
and its age. Pure: the caller says what time it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from k8s_simulation.api.objects import Object, labels_of, meta, name_of, seconds_of, spec_of, status_of
from k8s_simulation.api.pod_table import pod_cells
from k8s_simulation.api.resources import Resource

Cells = Callable[[Object, float], list[Any]]


@dataclass(frozen=True, slots=True)
class Layout:
    """Column names (a leading `~` marks those of `-o wide`) and the function that fills them."""

    columns: tuple[str, ...]
    cells: Cells


def age(obj: Object, now: float) -> str:
    """How old the object is, as kubectl writes it."""
    created = seconds_of(meta(obj).get("creationTimestamp"))
    return "<unknown>" if created is None else human_duration(now - created)


def human_duration(seconds: float) -> str:
    """k8s.io/apimachinery/pkg/util/duration.HumanDuration."""
    whole = max(int(seconds), 0)
    if whole < 120:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 8:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h" if days < 8 and hours else f"{days}d"


def selector_text(selector: dict[str, str] | None) -> str:
    """`a=b,c=d`, or `<none>`."""
    return ",".join(f"{k}={v}" for k, v in sorted((selector or {}).items())) or "<none>"


def _images(obj: Object) -> list[str]:
    containers = spec_of(spec_of(obj).get("template") or {}).get("containers") or []
    selector = (spec_of(obj).get("selector") or {}).get("matchLabels")
    return [
        ",".join(str(c.get("name")) for c in containers),
        ",".join(str(c.get("image")) for c in containers),
        selector_text(selector),
    ]


def _namespace(obj: Object, now: float) -> list[Any]:
    return [name_of(obj), status_of(obj).get("phase", ""), age(obj, now)]


def _node(obj: Object, now: float) -> list[Any]:
    ready: Object = next((c for c in status_of(obj).get("conditions") or [] if c.get("type") == "Ready"), {})
    text = {"True": "Ready", "False": "NotReady"}.get(str(ready.get("status")), "NotReady" if ready else "Unknown")
    if spec_of(obj).get("unschedulable"):
        text += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = ",".join(sorted(k.removeprefix(prefix) for k in labels_of(obj) if k.startswith(prefix))) or "<none>"
    info = status_of(obj).get("nodeInfo") or {}
    address = next(
        (a.get("address") for a in status_of(obj).get("addresses") or [] if a.get("type") == "InternalIP"), ""
    )
    wide = [address or "<none>", "<none>", info.get("osImage", "<unknown>"), info.get("kernelVersion", "<unknown>"),
            info.get("containerRuntimeVersion", "<unknown>")]  # fmt: skip
    return [name_of(obj), text, roles, age(obj, now), info.get("kubeletVersion", ""), *wide]


def _deployment(obj: Object, now: float) -> list[Any]:
    status, wanted = status_of(obj), spec_of(obj).get("replicas", 0)
    ready = f"{status.get('readyReplicas', 0)}/{wanted}"
    counts = [status.get("updatedReplicas", 0), status.get("availableReplicas", 0)]
    return [name_of(obj), ready, *counts, age(obj, now), *_images(obj)]


def _replicaset(obj: Object, now: float) -> list[Any]:
    status = status_of(obj)
    counts = [spec_of(obj).get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [name_of(obj), *counts, age(obj, now), *_images(obj)]


def _statefulset(obj: Object, now: float) -> list[Any]:
    ready = f"{status_of(obj).get('readyReplicas', 0)}/{spec_of(obj).get('replicas', 0)}"
    return [name_of(obj), ready, age(obj, now), *_images(obj)[:2]]


def _job(obj: Object, now: float) -> list[Any]:
    status, spec = status_of(obj), spec_of(obj)
    true = {c["type"] for c in status.get("conditions") or [] if c.get("status") == "True"}
    names = ("Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet")
    text = next((name for name in names if name in true), "Running")
    if meta(obj).get("deletionTimestamp"):
        text = "Terminating"
    done = f"{status.get('succeeded', 0)}/{spec.get('completions') or spec.get('parallelism', 1)}"
    started, ended = seconds_of(status.get("startTime")), seconds_of(status.get("completionTime"))
    duration = "" if started is None else human_duration((ended or now) - started)
    return [name_of(obj), text, done, duration, age(obj, now), *_images(obj)]


def _service(obj: Object, now: float) -> list[Any]:
    spec = spec_of(obj)
    ports = ",".join(
        f"{p.get('port')}{':' + str(p['nodePort']) if p.get('nodePort') else ''}/{p.get('protocol')}"
        for p in spec.get("ports") or []
    )
    external = spec.get("externalName") or ("<pending>" if spec.get("type") == "LoadBalancer" else "<none>")
    address = spec.get("clusterIP") or "<none>"
    wide = selector_text(spec.get("selector"))
    return [name_of(obj), spec.get("type"), address, external, ports or "<none>", age(obj, now), wide]


def _configmap(obj: Object, now: float) -> list[Any]:
    return [name_of(obj), len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), age(obj, now)]


def _secret(obj: Object, now: float) -> list[Any]:
    return [name_of(obj), obj.get("type", ""), len(obj.get("data") or {}), age(obj, now)]


def _event(obj: Object, now: float) -> list[Any]:
    involved = obj.get("involvedObject") or {}
    first, last = (seconds_of(obj.get(f) or obj.get("eventTime")) or now for f in ("firstTimestamp", "lastTimestamp"))
    subject = f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"
    count = obj.get("count") or 1
    component = (obj.get("source") or {}).get("component") or obj.get("reportingComponent") or ""
    host = (obj.get("source") or {}).get("host")
    seen = human_duration(now - last)
    if count > 1:
        seen = f"{seen} (x{count} over {human_duration(now - first)})"
    wide = [involved.get("fieldPath", ""), f"{component}, {host}" if host else component, human_duration(now - first),
            count, name_of(obj)]  # fmt: skip
    message = str(obj.get("message", "")).strip()
    return [seen, obj.get("type", ""), obj.get("reason", ""), subject, message, *wide]


def _quota(obj: Object, now: float) -> list[Any]:
    status = status_of(obj)
    hard, used = status.get("hard") or {}, status.get("used") or {}

    def text(limits: bool) -> str:
        names = sorted(n for n in hard if n.startswith("limits.") is limits)
        return ", ".join(f"{n}: {used.get(n, '0')}/{hard[n]}" for n in names)

    return [name_of(obj), text(False), text(True), age(obj, now)]


def _endpoints(obj: Object, now: float) -> list[Any]:
    found = [
        f"{a.get('ip')}:{p.get('port')}"
        for s in obj.get("subsets") or []
        for a in s.get("addresses") or []
        for p in s.get("ports") or []
    ]
    shown = ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "")
    return [name_of(obj), shown or "<none>", age(obj, now)]


def _slice(obj: Object, now: float) -> list[Any]:
    ports = ",".join(str(p.get("port")) for p in obj.get("ports") or []) or "<unset>"
    found = [a for e in obj.get("endpoints") or [] for a in e.get("addresses") or []]
    return [name_of(obj), obj.get("addressType", ""), ports, ",".join(found[:3]) or "<unset>", age(obj, now)]


def _policy(obj: Object, now: float) -> list[Any]:
    return [name_of(obj), selector_text((spec_of(obj).get("podSelector") or {}).get("matchLabels")), age(obj, now)]


def _claim(obj: Object, now: float) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    capacity = (status.get("capacity") or {}).get("storage", "")
    modes = ",".join({"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
                     .get(m, m) for m in status.get("accessModes") or [])  # fmt: skip
    return [name_of(obj), status.get("phase", ""), spec.get("volumeName", ""), capacity, modes,
            spec.get("storageClassName", ""), "<unset>", age(obj, now), spec.get("volumeMode", "")]  # fmt: skip


def _lease(obj: Object, now: float) -> list[Any]:
    return [name_of(obj), spec_of(obj).get("holderIdentity", ""), age(obj, now)]


def _role_binding(obj: Object, now: float) -> list[Any]:
    role = obj.get("roleRef") or {}
    return [name_of(obj), f"{role.get('kind')}/{role.get('name')}", age(obj, now)]


def _created(obj: Object, now: float) -> list[Any]:
    del now
    return [name_of(obj), meta(obj).get("creationTimestamp", "")]


def _plain(obj: Object, now: float) -> list[Any]:
    return [name_of(obj), age(obj, now)]


def _account(obj: Object, now: float) -> list[Any]:
    return [name_of(obj), age(obj, now)]


_WORKLOAD_WIDE = ("~Containers", "~Images", "~Selector")
_LAYOUTS: dict[str, Layout] = {
    "Pod": Layout(("Name", "Ready", "Status", "Restarts", "Age", "~IP", "~Node", "~Nominated Node",
                   "~Readiness Gates"), lambda o, now: pod_cells(o, age(o, now), human_duration, now)),
    "Namespace": Layout(("Name", "Status", "Age"), _namespace),
    "Node": Layout(("Name", "Status", "Roles", "Age", "Version", "~Internal-IP", "~External-IP", "~OS-Image",
                    "~Kernel-Version", "~Container-Runtime"), _node),
    "Deployment": Layout(("Name", "Ready", "Up-to-date", "Available", "Age", *_WORKLOAD_WIDE), _deployment),
    "ReplicaSet": Layout(("Name", "Desired", "Current", "Ready", "Age", *_WORKLOAD_WIDE), _replicaset),
    "StatefulSet": Layout(("Name", "Ready", "Age", "~Containers", "~Images"), _statefulset),
    "Job": Layout(("Name", "Status", "Completions", "Duration", "Age", *_WORKLOAD_WIDE), _job),
    "Service": Layout(("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "~Selector"), _service),
    "ConfigMap": Layout(("Name", "Data", "Age"), _configmap),
    "Secret": Layout(("Name", "Type", "Data", "Age"), _secret),
    "ServiceAccount": Layout(("Name", "Age"), _account),
    "Event": Layout(("Last Seen", "Type", "Reason", "Object", "Message", "~Subobject", "~Source", "~First Seen",
                     "~Count", "~Name"), _event),
    "ResourceQuota": Layout(("Name", "Request", "Limit", "Age"), _quota),
    "Endpoints": Layout(("Name", "Endpoints", "Age"), _endpoints),
    "EndpointSlice": Layout(("Name", "AddressType", "Ports", "Endpoints", "Age"), _slice),
    "NetworkPolicy": Layout(("Name", "Pod-Selector", "Age"), _policy),
    "PersistentVolumeClaim": Layout(("Name", "Status", "Volume", "Capacity", "Access Modes", "StorageClass",
                                     "VolumeAttributesClass", "Age", "~VolumeMode"), _claim),
    "Lease": Layout(("Name", "Holder", "Age"), _lease),
    "LimitRange": Layout(("Name", "Created At"), _created),
    "Role": Layout(("Name", "Created At"), _created),
    "ClusterRole": Layout(("Name", "Created At"), _created),
    "RoleBinding": Layout(("Name", "Role", "Age"), _role_binding),
    "ClusterRoleBinding": Layout(("Name", "Role", "Age"), _role_binding),
}  # fmt: skip
_DEFAULT = Layout(("Name", "Age"), _plain)


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What the request said of its table: which object goes into each row, and whether it names the columns."""

    include_object: str = "Metadata"
    headers: bool = True


def table(resource: Resource, objects: list[Object], now: float, options: TableOptions) -> Object:
    """The Table of these objects; the caller sets its metadata."""
    layout = _LAYOUTS.get(resource.kind, _DEFAULT)
    columns = [
        {
            "name": name.lstrip("~"),
            "type": "string",
            "format": "name" if name == "Name" else "",
            "description": "",
            "priority": 1 if name.startswith("~") else 0,
        }
        for name in layout.columns
    ]
    rows = [_row(layout, obj, now, options.include_object) for obj in objects]
    body: Object = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}}
    return body | {"columnDefinitions": columns if options.headers else None, "rows": rows}


def _row(layout: Layout, obj: Object, now: float, include: str) -> Object:
    row: Object = {"cells": layout.cells(obj, now)}
    match include:
        case "Object":
            row["object"] = obj
        case "None":
            pass
        case _:
            row["object"] = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta(obj)}
    return row

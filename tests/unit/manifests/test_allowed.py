"""The allow-list: nothing that is not named passes."""

from __future__ import annotations

import copy
import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from k8s_execution.manifests.allowed import KINDS, POD_SPEC, check_object
from k8s_execution.manifests.shapes import Fields, Items, Shape, breaches
from unit.manifests.samples import NAMESPACE, everything, of_kind

OBJECTS = everything()
LIST_PATHS = """
import json, re, sys
from kubernetes_asyncio.client import models

def paths(kind, at, seen):
    model = getattr(models, kind)
    for name, declared in model.openapi_types.items():
        path = at + [model.attribute_map[name]]
        yield path
        inner = re.fullmatch(r"(?:list|dict)\\[(?:str, ?)?(\\w+)\\]", declared)
        below = inner.group(1) if inner else declared
        if hasattr(models, below) and below not in seen:
            yield from paths(below, path, seen | {below})

print(json.dumps({kind: list(paths(kind, [], {kind})) for kind in sys.argv[1:]}))
"""
"""Lists the field paths of Kubernetes' own description; a process of its own, because it loads every model."""


@functools.cache
def described() -> dict[str, list[list[str]]]:
    """The paths of a pod spec and of every kind on the list, through lists and mappings."""
    kinds = ["V1PodSpec", *(f"V1{kind}" for _, kind in KINDS)]
    command = [sys.executable, "-c", LIST_PATHS, *kinds]
    listing = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, list[list[str]]] = json.loads(listing.stdout)
    return found


def named(shape: Shape, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths that the allow-list names."""
    if isinstance(shape, Items):
        yield from named(shape.shape, at)
    if isinstance(shape, Fields):
        for name, inner in shape.fields.items():
            yield (*at, name)
            yield from named(inner, (*at, name))


def job() -> dict[str, Any]:
    return copy.deepcopy(dict(of_kind(OBJECTS, "Job")))


def holds(shape: Shape, path: list[str]) -> bool:
    """Whether the allow-list names a path (through lists)."""
    if not path:
        return True
    if isinstance(shape, Items):
        return holds(shape.shape, path)
    if isinstance(shape, Fields):
        inner = shape.fields.get(path[0])
        return inner is not None and holds(inner, path[1:])
    return False


def example(path: list[str]) -> Any:
    """A value that reaches down a path: lists of one where the pod spec has lists does not matter to a refusal."""
    return {path[0]: example(path[1:])} if path else "x"


@pytest.mark.parametrize("body", OBJECTS, ids=lambda b: f"{b['kind']}-{b['metadata']['name'][:12]}")
def test_everything_that_is_rendered_is_allowed(body: dict[str, Any]) -> None:
    assert check_object(body, NAMESPACE) == []


def test_every_path_of_a_pod_spec_that_is_not_on_the_list_is_refused() -> None:
    paths = described()["V1PodSpec"]
    refused = [p for p in paths if not holds(POD_SPEC, p)]
    assert len(paths) > 800
    assert len(refused) > 700
    for path in refused:
        assert any("is not allowed" in b or "is no" in b or "is n" in b for b in breaches(example(path), POD_SPEC)), (
            path
        )


@pytest.mark.parametrize(("version", "kind"), list(KINDS))
def test_every_path_on_the_list_is_one_that_kubernetes_knows(version: str, kind: str) -> None:
    known = {tuple(path) for path in described()[f"V1{kind}"]}
    fields = {path for path in named(KINDS[version, kind]) if "/" not in path[-1]}  # a slash: the key of a label
    amounts = {path for path in fields if path[-2:-1] in {("hard",), ("requests",), ("limits",)}}
    assert fields - amounts <= known


POD_ATTACKS: list[tuple[str, Any]] = [
    ("hostNetwork", True), ("hostPID", True), ("hostIPC", True), ("shareProcessNamespace", True),
    ("nodeName", "node-1"), ("nodeSelector", {}), ("priorityClassName", "system-node-critical"),
    ("tolerations", [{"key": "dedicated", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}]),
    ("tolerations", [{"operator": "Exists"}]),
    ("runtimeClassName", "x"), ("ephemeralContainers", []), ("hostAliases", []), ("dnsConfig", {}),
    ("serviceAccountName", "default"), ("automountServiceAccountToken", True), ("enableServiceLinks", True),
    ("imagePullSecrets", [{"name": "other"}]), ("hostUsers", True), ("schedulerName", "x"), ("affinity", {}),
    ("volumes", [{"name": "v", "hostPath": {"path": "/"}}]), ("volumes", [{"name": "v", "gitRepo": {}}]),
    ("volumes", [{"name": "v", "nfs": {}}]), ("volumes", [{"name": "v", "csi": {}}]),
    ("volumes", [{"name": "v", "flexVolume": {}}]), ("volumes", [{"name": "v", "secret": {"secretName": "other"}}]),
    ("volumes", [{"name": "v", "configMap": {"name": "other"}}]), ("volumes", [{"name": "v", "projected": {}}]),
    ("volumes", [{"name": "v", "persistentVolumeClaim": {"claimName": "other"}}]),
]  # fmt: skip
CONTAINER_ATTACKS: list[tuple[str, Any]] = [
    ("lifecycle", {"postStart": {"httpGet": {"host": "169.254.169.254"}}}), ("stdin", True), ("tty", True),
    ("volumeDevices", []), ("livenessProbe", {}), ("startupProbe", {}), ("restartPolicy", "Always"),
    ("envFrom", [{"secretRef": {"name": "other"}}]), ("ports", [{"name": "a", "containerPort": 1, "hostPort": 1}]),
    ("env", [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "other", "key": "A"}}}]),
    ("env", [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "other", "key": "A"}}}]),
    ("env", [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}]),
    ("readinessProbe", {"httpGet": {"path": "/", "port": 1, "host": "169.254.169.254"}}),
    ("volumeMounts", [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]),
    ("volumeMounts", [{"name": "v", "mountPath": "/v", "subPath": "../x"}]),
    ("volumeMounts", [{"name": "v", "mountPath": "/v", "subPathExpr": "$(X)"}]),
]  # fmt: skip
SECURITY_ATTACKS: list[tuple[str, Any]] = [
    ("privileged", True), ("privileged", False), ("allowPrivilegeEscalation", True), ("procMount", "Unmasked"),
    ("capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}), ("capabilities", {"drop": []}), ("runAsUser", 0),
    ("runAsNonRoot", False), ("seccompProfile", {"type": "Unconfined"}), ("seLinuxOptions", {}),
    ("appArmorProfile", {"type": "Unconfined"}), ("windowsOptions", {}),
]  # fmt: skip
POD_SECURITY_ATTACKS: list[tuple[str, Any]] = [
    ("runAsUser", 0), ("runAsNonRoot", False), ("sysctls", []), ("seccompProfile", {"type": "Unconfined"}),
    ("supplementalGroups", [0]), ("fsGroup", 0), ("runAsUser", True), ("runAsUser", "1000"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), POD_ATTACKS)
def test_a_pod_spec_with_a_forbidden_field_is_refused(field: str, value: object) -> None:
    body = job()
    body["spec"]["template"]["spec"][field] = value
    assert check_object(body, NAMESPACE)


@pytest.mark.parametrize("container", ["initContainers", "containers"])
@pytest.mark.parametrize(("field", "value"), CONTAINER_ATTACKS)
def test_a_container_with_a_forbidden_field_is_refused(container: str, field: str, value: object) -> None:
    body = job()
    body["spec"]["template"]["spec"][container][0][field] = value
    assert check_object(body, NAMESPACE)


@pytest.mark.parametrize(("field", "value"), SECURITY_ATTACKS)
def test_a_container_with_a_loose_security_context_is_refused(field: str, value: object) -> None:
    body = job()
    body["spec"]["template"]["spec"]["containers"][0]["securityContext"][field] = value
    assert check_object(body, NAMESPACE)


@pytest.mark.parametrize(("field", "value"), POD_SECURITY_ATTACKS)
def test_a_pod_with_a_loose_security_context_is_refused(field: str, value: object) -> None:
    body = job()
    body["spec"]["template"]["spec"]["securityContext"][field] = value
    assert check_object(body, NAMESPACE)


@pytest.mark.parametrize("field", ["securityContext", "serviceAccountName", "automountServiceAccountToken"])
def test_a_pod_without_what_restricts_it_is_refused(field: str) -> None:
    body = job()
    del body["spec"]["template"]["spec"][field]
    assert check_object(body, NAMESPACE) == [f"spec.template.spec.{field} is missing"]


SERVICE_ATTACKS: list[tuple[str, Any]] = [
    ("type", "NodePort"), ("type", "LoadBalancer"), ("type", "ExternalName"), ("externalName", "example.org"),
    ("externalIPs", ["203.0.113.1"]), ("loadBalancerIP", "203.0.113.1"), ("selector", {"app": "other"}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), SERVICE_ATTACKS)
def test_a_service_that_leaves_the_environment_is_refused(field: str, value: object) -> None:
    body = copy.deepcopy(dict(of_kind(OBJECTS, "Service")))
    body["spec"][field] = value
    assert check_object(body, NAMESPACE)


def test_an_object_of_another_namespace_is_refused() -> None:
    body = job()
    body["metadata"]["namespace"] = "kube-system"
    assert check_object(body, NAMESPACE) == [f"metadata.namespace is not {NAMESPACE}"]


@pytest.mark.parametrize("label", ["pod-security.kubernetes.io/enforce", "k8s-execution.maestro/execution-id"])
def test_a_namespace_without_its_restriction_or_identity_is_refused(label: str) -> None:
    body = copy.deepcopy(dict(of_kind(OBJECTS, "Namespace")))
    del body["metadata"]["labels"][label]
    assert check_object(body, NAMESPACE) == [f"metadata.labels.{label} is missing"]


@pytest.mark.parametrize(
    "key", ["kubernetes.io/x", "a.kubernetes.io/x", "pod-security.kubernetes.io/enforce", "k8s-execution.other/x"]
)
def test_reserved_labels_on_other_objects_are_refused(key: str) -> None:
    body = job()
    body["metadata"]["labels"][key] = "x"
    assert check_object(body, NAMESPACE) == [f"metadata.labels.{key} is not allowed"]


@pytest.mark.parametrize("kind", ["Pod", "ClusterRole", "RoleBinding", "Ingress", "PersistentVolume"])
def test_other_kinds_are_refused(kind: str) -> None:
    assert check_object({"apiVersion": "v1", "kind": kind, "metadata": {"namespace": NAMESPACE}}, NAMESPACE)


def test_no_kind_lets_unknown_fields_through_at_its_top() -> None:
    assert all(shape.other is None and "status" not in shape.fields for shape in KINDS.values())

"""The cluster's own names: CoreDNS as an ordinary Deployment behind the service `kube-dns`.

It answers for services and pods only; it has no upstream, since nothing here may leave the machine.
"""

from __future__ import annotations

from typing import Any

from cluster import controlplane
from cluster.configs import CLUSTER_DOMAIN
from cluster.daemons import Daemons
from cluster.images import COREDNS
from cluster.layout import Layout
from cluster.processes import Process

READY_SECONDS = 120.0
NAME, NAMESPACE = "coredns", "kube-system"
LABELS = {"k8s-app": "kube-dns"}  # what network policies everywhere select DNS by
COREFILE = f"""\
.:53 {{
  errors
  health
  ready
  kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{
    pods insecure
    ttl 5
  }}
  cache 5
}}
"""


def _object(api: str, kind: str, name: str, **rest: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "labels": LABELS}
    if not kind.startswith("Cluster"):
        metadata["namespace"] = NAMESPACE
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


def _rights() -> list[dict[str, Any]]:
    """What CoreDNS may read."""
    role = f"system:{NAME}"
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    reference = {"apiGroup": group, "kind": "ClusterRole", "name": role}
    return [
        _object("v1", "ServiceAccount", NAME),
        _object(f"{group}/v1", "ClusterRole", role, rules=rules),
        _object(f"{group}/v1", "ClusterRoleBinding", role, roleRef=reference, subjects=[subject]),
    ]


def _deployment() -> dict[str, Any]:
    container = {
        "name": NAME,
        "image": COREDNS,
        "args": ["-conf", "/etc/coredns/Corefile"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
    }
    pod = {
        "serviceAccountName": NAME,
        "dnsPolicy": "Default",
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}],
    }
    template = {"metadata": {"labels": LABELS}, "spec": pod}
    return _object("apps/v1", "Deployment", NAME, spec={"selector": {"matchLabels": LABELS}, "template": template})


def manifest(layout: Layout) -> list[dict[str, Any]]:
    """All objects."""
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    service = {"clusterIP": layout.dns_service, "selector": LABELS, "ports": ports}
    return [
        *_rights(),
        _object("v1", "ConfigMap", NAME, data={"Corefile": COREFILE}),
        _object("v1", "Service", "kube-dns", spec=service),
        _deployment(),
    ]


def apply(daemons: Daemons) -> None:
    """Create the objects. Raises ClusterFault if the API server refuses them."""
    controlplane.apply(daemons, manifest(daemons.layout), "CoreDNS")


def wait_ready(daemons: Daemons, kubelet: Process) -> None:
    """Wait until a pod of CoreDNS is ready."""
    words = ("-n", NAMESPACE, "get", f"deployment/{NAME}", "-o=jsonpath={.status.readyReplicas}")
    daemons.wait(
        lambda: controlplane.kubectl(daemons, *words).stdout == "1", "a ready pod of CoreDNS", READY_SECONDS, kubelet
    )

"""Configuration files of the cluster's components, rendered from its layout: values in, text out, no file touched.

Every setting that is not the default has its reason beside it; most were found by a component that would not start.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import yaml

from cluster.layout import Layout
from cluster.pki import Pair

CLUSTER_DOMAIN = "cluster.local"
PAUSE_IMAGE = "docker.io/k8s-execution/pause:1"
CNI_PROGRAMS = "/usr/lib/cni"  # where Debian's containernetworking-plugins are
NRI_SOCKET = "/var/run/nri/nri.sock"  # compiled into the policy agent
LOG_MAX_SIZE = "10Mi"


def _yaml(value: dict[str, Any]) -> str:
    return yaml.safe_dump(value, sort_keys=False)


def _inline(data: bytes) -> str:
    return base64.b64encode(data).decode()


def kubeconfig(layout: Layout, address: str, authority: bytes, client: Pair) -> str:
    """A kubeconfig that is complete in itself, for a client that reaches the API server at `address`."""
    name = layout.context
    cluster = {"server": f"https://{address}:{layout.api_port}", "certificate-authority-data": _inline(authority)}
    user = {"client-certificate-data": _inline(client.certificate), "client-key-data": _inline(client.key)}
    return _yaml(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
    )


def audit_policy() -> str:
    """Every request once, when it is answered, without bodies; leases are left out, they are half of all requests."""
    rules = [{"level": "None", "resources": [{"group": "coordination.k8s.io"}]}, {"level": "Metadata"}]
    return _yaml({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules})


def containerd(layout: Layout) -> str:
    """The container runtime (version 3 of its configuration)."""
    folder = layout.folder
    return f"""\
version = 3
root = "{folder}/containerd"
state = "/run/containerd"  # the node's own /run
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.blockfile"]

[grpc]
  address = "{layout.containerd_socket}"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE_IMAGE}"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "{folder}/registries"

[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true  # without CAP_SYS_RESOURCE runc may not lower it, and dies with an unrelated message
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{CNI_PROGRAMS}"]
    conf_dir = "{folder}/cni/conf"

[plugins."io.containerd.nri.v1.nri"]
  disable = false  # tells the policy agent a pod's address before its first packet
  socket_path = "{NRI_SOCKET}"
  plugin_path = "{folder}/nri/plugins"
  plugin_config_path = "{folder}/nri/conf"
"""


def registry_hosts(layout: Layout, address: str) -> str:
    """How containerd reaches a registry (`hosts.toml`): over TLS, by the cluster's own authority."""
    return f"""\
server = "https://{address}"

[host."https://{address}"]
  capabilities = ["pull", "resolve"]
  ca = "{layout.pki}/ca.crt"
"""


def registry(layout: Layout, address: str, storage: Path, passwords: Path | None) -> str:
    """A registry at `address` that keeps its images in `storage`; with a file of `passwords` only for who knows one."""
    basic = {"auth": {"htpasswd": {"realm": "k8s-execution tests", "path": str(passwords)}}}
    return _yaml(
        {
            "version": "0.1",
            "log": {"level": "warn"},  # requests are logged all the same
            "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
            "http": {
                "addr": address,
                "tls": {"certificate": f"{layout.pki}/registry.crt", "key": f"{layout.pki}/registry.key"},
            },
            **(basic if passwords else {}),
        }
    )


def pod_network(layout: Layout) -> str:
    """CNI: a point-to-point link for each pod, so that every packet is routed and passes the policy agent.

    A bridge would carry packets between pods past it, and masquerading would hide who sent them.
    """
    addresses = {
        "type": "host-local",
        "dataDir": "/run/cni",  # the node's own /run
        "ranges": [[{"subnet": layout.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}, indent=1)


def kubelet(layout: Layout) -> str:
    """The kubelet."""
    return _yaml(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": layout.node_address,
            "healthzBindAddress": "127.0.0.1",
            "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{layout.cgroup}",  # below its own group, so that all of them can be removed
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [layout.dns_service],
            "clusterDomain": CLUSTER_DOMAIN,
            "resolvConf": f"{layout.folder}/kubelet/resolv.conf",  # empty: pods know only the cluster's names
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{layout.pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{layout.pki}/node.crt",
            "tlsPrivateKeyFile": f"{layout.pki}/node.key",
            "imageGCHighThresholdPercent": 100,  # or it deletes images that no registry can bring back
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "syncFrequency": "10s",
            "nodeStatusUpdateFrequency": "5s",
            "serializeImagePulls": False,
            "maxPods": 250,
            "podLogsDir": f"{layout.folder}/kubelet/logs",
            "containerLogMaxSize": LOG_MAX_SIZE,
            "seccompDefault": True,
        }
    )


def proxy(layout: Layout) -> str:
    """kube-proxy. `maxPerCore: 0` leaves the host's connection tracking as it is."""
    return _yaml(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": f"{layout.pki}/proxy.kubeconfig"},
            "clusterCIDR": layout.pods,
            "hostnameOverride": layout.node_name,
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
    )

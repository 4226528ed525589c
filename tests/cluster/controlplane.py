"""etcd and the control plane, as processes of the host; writes their certificates and kubeconfigs.

They keep to loopback, except the API server, which the node reaches at the host's end of the link. Nothing is tuned
beyond what one machine needs, so that tests see the behaviour of an ordinary cluster; benchmarks may ask for raised
limits (`RAISED`), as large clusters have them, so that they measure work and not the controllers' rate limits.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster import configs, pki
from cluster.daemons import Daemons
from cluster.faults import ClusterFault
from cluster.layout import Layout
from cluster.processes import Process

LOOPBACK = "127.0.0.1"
READY_SECONDS = 120.0
AUDIT_MAX_MEGABYTES = 200

_SYNCS = ("deployment", "replicaset", "job", "resource-quota", "namespace", "service-endpoint", "endpoint", "gc")
_RATES = ("--kube-api-qps=1000", "--kube-api-burst=2000")
RAISED: dict[str, tuple[str, ...]] = {
    "kube-apiserver": ("--max-requests-inflight=3000", "--max-mutating-requests-inflight=1500"),
    "kube-controller-manager": (*_RATES, *(f"--concurrent-{kind}-syncs=50" for kind in _SYNCS)),
    "kube-scheduler": _RATES,
}
"""Flags beside the ordinary ones; the defaults are 400 and 200, 20 and 30 for each controller, 5 to 20, 50 and 100."""


def _secret(path: Path, data: bytes) -> None:
    """Write a file that only root can read."""
    path.touch(mode=0o600)
    path.write_bytes(data)


def write_credentials(layout: Layout) -> None:
    """Make the authority, all certificates, and a kubeconfig for every client; the administrator's among them."""
    layout.pki.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = pki.Authority(layout.name)
    (layout.pki / "ca.crt").write_bytes(authority.certificate)
    pairs = {name: authority.issue(subject) for name, subject in pki.subjects(layout).items()}
    pairs["service-accounts"] = pki.service_account_pair()
    for name, pair in pairs.items():
        _secret(layout.pki / f"{name}.key", pair.key)
        (layout.pki / f"{name}.crt").write_bytes(pair.certificate)
    addresses = dict.fromkeys(("controller-manager", "scheduler", "process-node"), LOOPBACK)
    addresses |= dict.fromkeys(("node", "proxy", "policies"), layout.host_address)
    for name, address in addresses.items():
        text = configs.kubeconfig(layout, address, authority.certificate, pairs[name])
        _secret(layout.pki / f"{name}.kubeconfig", text.encode())
    admin = configs.kubeconfig(layout, LOOPBACK, authority.certificate, pairs["admin"])
    _secret(layout.kubeconfig, admin.encode())
    (layout.folder / "audit-policy.yaml").write_text(configs.audit_policy(), encoding="utf-8")


def start_etcd(daemons: Daemons) -> Process:
    """The store; without fsync, since it ends with the tests."""
    layout = daemons.layout
    client, peer = f"https://{LOOPBACK}:{layout.etcd_port}", f"https://{LOOPBACK}:{layout.etcd_port + 1}"
    own = [f"--{side}{kind}-file={layout.pki}/etcd.{suffix}"
           for side in ("", "peer-") for kind, suffix in (("cert", "crt"), ("key", "key"))]  # fmt: skip
    trusted = [f"--{side}trusted-ca-file={layout.pki}/ca.crt" for side in ("", "peer-")]
    return daemons.start(
        "etcd",
        [
            daemons.programs["etcd"],
            f"--data-dir={layout.folder}/etcd",
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--client-cert-auth",
            "--peer-client-cert-auth",
            *own,
            *trusted,
            "--log-level=warn",
        ],
    )


def _raised(daemons: Daemons, name: str) -> tuple[str, ...]:
    return RAISED[name] if daemons.fast else ()


def start_api_server(daemons: Daemons) -> Process:
    """The API server, with an audit log and the restriction of nodes to their own objects."""
    layout, own = daemons.layout, daemons.layout.pki
    return daemons.start(
        "kube-apiserver",
        [
            daemons.programs["kube-apiserver"],
            f"--etcd-servers=https://{LOOPBACK}:{layout.etcd_port}",
            f"--etcd-cafile={own}/ca.crt",
            f"--etcd-certfile={own}/etcd.crt",
            f"--etcd-keyfile={own}/etcd.key",
            f"--secure-port={layout.api_port}",
            "--bind-address=0.0.0.0",
            f"--advertise-address={layout.host_address}",
            f"--service-cluster-ip-range={layout.services}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--client-ca-file={own}/ca.crt",
            f"--tls-cert-file={own}/apiserver.crt",
            f"--tls-private-key-file={own}/apiserver.key",
            f"--service-account-key-file={own}/service-accounts.crt",
            f"--service-account-signing-key-file={own}/service-accounts.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--kubelet-client-certificate={own}/apiserver-kubelet.crt",
            f"--kubelet-client-key={own}/apiserver-kubelet.key",
            f"--kubelet-certificate-authority={own}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            f"--audit-log-path={layout.audit_log}",
            f"--audit-policy-file={layout.folder}/audit-policy.yaml",
            f"--audit-log-maxsize={AUDIT_MAX_MEGABYTES}",
            "--profiling=false",
            "--v=1",
            *_raised(daemons, "kube-apiserver"),
        ],
    )


def kubectl(daemons: Daemons, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run kubectl as the administrator; the caller judges the result."""
    command = [daemons.programs["kubectl"], f"--kubeconfig={daemons.layout.kubeconfig}", *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def apply(daemons: Daemons, objects: Sequence[dict[str, Any]], what: str) -> None:
    """Create objects as the administrator. Raises ClusterFault if the API server refuses them."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    done = kubectl(daemons, "apply", "-f", "-", stdin=text)
    if done.returncode != 0:
        raise ClusterFault(f"{what} cannot be created: {done.stderr}")


def wait_ready(daemons: Daemons, server: Process) -> None:
    """Wait until the API server says that it is ready, its RBAC bootstrap included."""
    daemons.wait(
        lambda: kubectl(daemons, "get", "--raw", "/readyz").returncode == 0,
        "the API server's /readyz",
        READY_SECONDS,
        server,
    )


def start_controllers(daemons: Daemons) -> None:
    """Controllers and scheduler. Only after `wait_ready`: before the RBAC bootstrap they are refused and exit."""
    layout, own = daemons.layout, daemons.layout.pki

    def identity(name: str) -> list[str]:
        kinds = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        return [*(f"--{kind}={own}/{name}.kubeconfig" for kind in kinds), f"--bind-address={LOOPBACK}"]

    daemons.start(
        "kube-controller-manager",
        [
            daemons.programs["kube-controller-manager"],
            *identity("controller-manager"),
            f"--secure-port={layout.manager_port}",
            f"--service-account-private-key-file={own}/service-accounts.key",
            f"--root-ca-file={own}/ca.crt",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--controllers=*,-bootstrap-signer-controller,-token-cleaner-controller",
            *_raised(daemons, "kube-controller-manager"),
        ],
    )
    daemons.start(
        "kube-scheduler",
        [
            daemons.programs["kube-scheduler"],
            *identity("scheduler"),
            f"--secure-port={layout.manager_port + 1}",
            "--leader-elect=false",
            *_raised(daemons, "kube-scheduler"),
        ],
    )

"""Names, addresses, ports and folders of one cluster, all derived from its name and its slot.

A slot is a small number that only one cluster of the machine holds at a time, so that several can run side by side.
Pure values: nothing here looks at the machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cluster.faults import ClusterFault

ROOT = Path("/var/lib/k8s-execution/clusters")  # short: the path of a Unix socket has 107 bytes at most
SLOTS = 16
NAME_PATTERN = r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?"


@dataclass(frozen=True, slots=True)
class Layout:
    """One cluster. `root` holds a folder for each cluster."""

    name: str
    slot: int
    root: Path = ROOT

    def __post_init__(self) -> None:
        """Refuse names that cannot be part of a host name, and slots that have no addresses."""
        if not re.fullmatch(NAME_PATTERN, self.name):
            raise ClusterFault(f"{self.name!r} is no name for a cluster: at most 20 of a-z, 0-9 and -, a letter first")
        if not 0 <= self.slot < SLOTS:
            raise ClusterFault(f"there is no slot {self.slot}: at most {SLOTS} clusters run at once")

    @property
    def folder(self) -> Path:
        """All files of the cluster."""
        return self.root / self.name

    @property
    def pki(self) -> Path:
        """Keys, certificates and the components' kubeconfigs."""
        return self.folder / "pki"

    @property
    def logs(self) -> Path:
        """One log for each process, and the audit log."""
        return self.folder / "logs"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, complete in itself."""
        return self.folder / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, one JSON object a line."""
        return self.logs / "audit.log"

    @property
    def tests(self) -> Path:
        """There while tests use the cluster, and after a run of tests that was killed."""
        return self.folder / "tests"

    @property
    def containerd_socket(self) -> Path:
        """Where containerd answers."""
        return self.folder / "containerd.sock"

    @property
    def node_name(self) -> str:
        """The only real node."""
        return f"{self.name}-node"

    @property
    def context(self) -> str:
        """The name of the kubeconfig's context."""
        return f"k8s-execution-{self.name}"

    @property
    def cgroup(self) -> str:
        """The control group, in each hierarchy, below which the kubelet makes those of the pods."""
        return f"k8s-execution-{self.name}"

    @property
    def host_link(self) -> str:
        """The host's end of the link to the node (15 characters at most)."""
        return f"kx{self.slot}-host"

    @property
    def node_link(self) -> str:
        """The node's end of the link."""
        return f"kx{self.slot}-node"

    @property
    def host_address(self) -> str:
        """The host's end: the API server and the package relay answer here."""
        return f"192.168.77.{4 * self.slot + 1}"

    @property
    def node_address(self) -> str:
        """The node's end."""
        return f"192.168.77.{4 * self.slot + 2}"

    @property
    def pods(self) -> str:
        """Addresses of pods."""
        return f"10.244.{self.slot}.0/24"

    @property
    def services(self) -> str:
        """Addresses of services."""
        return f"10.{96 + self.slot}.0.0/16"

    @property
    def api_service(self) -> str:
        """The service `kubernetes`: always the range's first address."""
        return f"10.{96 + self.slot}.0.1"

    @property
    def dns_service(self) -> str:
        """The service that answers names."""
        return f"10.{96 + self.slot}.0.10"

    def port(self, index: int) -> int:
        """The host's ports of this cluster, ten to a slot."""
        return 26440 + 10 * self.slot + index

    @property
    def api_port(self) -> int:
        """The API server's port."""
        return self.port(0)

    @property
    def etcd_port(self) -> int:
        """The port of etcd for clients; the next is that for its peers."""
        return self.port(1)

    @property
    def manager_port(self) -> int:
        """The port of kube-controller-manager; the next is that of the scheduler."""
        return self.port(3)

    @property
    def relay_port(self) -> int:
        """The package relay's port, on `host_address`."""
        return self.port(5)

    @property
    def package_index(self) -> str:
        """What PIP_INDEX_URL must be in a pod."""
        return f"http://{self.host_address}:{self.relay_port}/simple/"

    @property
    def registry(self) -> str:
        """The registry that anybody may read and write, as the first part of an image's name."""
        return f"{self.host_address}:{self.port(7)}"

    @property
    def private_registry(self) -> str:
        """The registry that wants a user and a password."""
        return f"{self.host_address}:{self.port(8)}"

    @property
    def registry_password(self) -> Path:
        """The file with the password of the private registry, made anew for each cluster."""
        return self.pki / "registry-password"

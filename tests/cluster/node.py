"""The node: containerd, kubelet, kube-proxy and the policy agent in network, mount and process namespaces of its own.

Its first process only holds the namespaces. When it ends the kernel ends everything in them: runtime shims, pods,
mounts, the pods' network namespaces. That is what makes removal complete, also after a harness was killed. /run is the
node's own, since containerd, the policy agent and the pods' namespaces meet at fixed paths there.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cluster import configs, controlplane, network, processes
from cluster.daemons import Daemons
from cluster.faults import ClusterFault
from cluster.processes import Process

CGROUP_ROOT = Path("/sys/fs/cgroup")
POLICY_QUEUE = 98
SOCKET_SECONDS = 30.0
IMPORT_SECONDS = 300
READY_SECONDS = 120.0


def inside(holder: Process) -> list[str]:
    """The prefix that runs a command in the node's namespaces."""
    return ["nsenter", f"--target={holder.pid}", "--mount", "--net", "--pid"]


def start_holder(daemons: Daemons) -> Process:
    """Make the namespaces, with the pause program as their first process, and give them mounts and the link."""
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    holder = daemons.start_below("node", [*command, "--propagation", "private", daemons.programs["pause"]])
    enter = inside(holder)
    # unshare forks before the child has its own /proc; the name of the program tells that it got there.
    pause = Path(f"/proc/{holder.pid}/comm")
    daemons.wait(lambda: pause.read_text(encoding="utf-8").strip() == "pause", "the node's namespaces", 10, holder)
    network.run([*enter, "mount", "--make-rshared", "/"])  # shared within the node: volumes reach running pods
    network.run([*enter, "mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"])
    network.connect(daemons.layout, holder.pid, enter, daemons.journal)
    return holder


def cgroup_hierarchies() -> list[Path]:
    """The roots of the control group hierarchies that pods use: one with version 2, one a controller with version 1."""
    if (CGROUP_ROOT / "cgroup.controllers").exists():
        return [CGROUP_ROOT]
    return sorted(p for p in CGROUP_ROOT.iterdir() if p.is_dir() and not p.is_symlink() and os.path.ismount(p))


def make_cgroups(daemons: Daemons) -> None:
    """Make the group below which the kubelet keeps its pods; it refuses to start without it."""
    for hierarchy in cgroup_hierarchies():
        path = hierarchy / daemons.layout.cgroup
        daemons.journal.cgroup(path)
        path.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # version 1 starts a group without any, and then nothing may join
            if (path / name).exists():
                (path / name).write_text((hierarchy / name).read_text(encoding="ascii"), encoding="ascii")


def remove_cgroup(path: Path) -> bool:
    """Remove a group and all below it; False while the kernel still counts an ended process in one of them."""
    try:
        for folder, _, _ in os.walk(path, topdown=False):
            Path(folder).rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def write_configs(daemons: Daemons) -> None:
    """All configuration files of the node's processes."""
    layout = daemons.layout
    files = {
        "containerd.toml": configs.containerd(layout),
        "cni/conf/10-pods.conflist": configs.pod_network(layout),
        "kubelet/config.yaml": configs.kubelet(layout),
        "kubelet/resolv.conf": "",
        "proxy.yaml": configs.proxy(layout),
    }
    for name, text in files.items():
        path = layout.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def start_containerd(daemons: Daemons, holder: Process) -> Process:
    """The container runtime, until it answers on its socket."""
    layout = daemons.layout
    command = [daemons.programs["containerd"], f"--config={layout.folder}/containerd.toml"]
    process = daemons.start_below("containerd", [*inside(holder), *command])
    daemons.wait(layout.containerd_socket.is_socket, "containerd's socket", SOCKET_SECONDS, process)
    return process


def import_images(daemons: Daemons, holder: Process, archives: Sequence[Path]) -> None:
    """Give containerd the images that it does not have yet; inside the node, since unpacking mounts."""
    record = daemons.layout.folder / "images"
    record.touch()
    known = record.read_text(encoding="utf-8").splitlines()
    runtime = [daemons.programs["ctr"], f"--address={daemons.layout.containerd_socket}", "--namespace=k8s.io"]
    for archive in [archive for archive in archives if archive.name not in known]:
        command = [*inside(holder), *runtime, "images", "import", "--local", str(archive)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_SECONDS, check=False)
        if done.returncode != 0:
            end = processes.tail(daemons.log("containerd"))
            raise ClusterFault(f"the image {archive.name} cannot be imported: {done.stderr}\n{end}")
        with record.open("a", encoding="utf-8") as file:
            file.write(f"{archive.name}\n")


def start_kubelet(daemons: Daemons, holder: Process) -> Process:
    """The kubelet. Only after containerd's socket is there: it exits otherwise."""
    layout = daemons.layout
    return daemons.start_below(
        "kubelet",
        [
            *inside(holder),
            daemons.programs["kubelet"],
            f"--config={layout.folder}/kubelet/config.yaml",
            f"--kubeconfig={layout.pki}/node.kubeconfig",
            f"--root-dir={layout.folder}/kubelet/root",
            f"--hostname-override={layout.node_name}",
            f"--node-ip={layout.node_address}",
            "--v=2",
        ],
    )


def start_networking(daemons: Daemons, holder: Process) -> None:
    """Service addresses and network policies."""
    layout, enter = daemons.layout, inside(holder)
    network.queue_to_policy_agent(enter, POLICY_QUEUE)
    daemons.start_below(
        "kube-network-policies",
        [
            *enter,
            daemons.programs["kube-network-policies"],
            f"--kubeconfig={layout.pki}/policies.kubeconfig",
            f"--hostname-override={layout.node_name}",
            f"--nfqueue-id={POLICY_QUEUE}",
            "--netfilter-bug-1766-fix=false",  # its own rules need `nft … queue`, see network.queue_to_policy_agent
            "--metrics-bind-address=127.0.0.1:9080",
            "--v=2",
        ],
    )
    daemons.start_below("kube-proxy", [*enter, daemons.programs["kube-proxy"], f"--config={layout.folder}/proxy.yaml"])


def wait_answers(daemons: Daemons, kubelet: Process) -> None:
    """Wait until the kubelet itself answers; the node's condition stays Ready for a while without it."""
    path = f"/api/v1/nodes/{daemons.layout.node_name}/proxy/healthz"
    daemons.wait(
        lambda: controlplane.kubectl(daemons, "get", "--raw", path).stdout == "ok",
        "an answer of the kubelet",
        READY_SECONDS,
        kubelet,
    )


def wait_ready(daemons: Daemons, kubelet: Process) -> None:
    """Wait until the API server lists the node as Ready."""
    wanted = f"node/{daemons.layout.node_name}"
    condition = '-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    daemons.wait(
        lambda: controlplane.kubectl(daemons, "get", wanted, condition).stdout == "True",
        f"the readiness of {wanted}",
        READY_SECONDS,
        kubelet,
    )

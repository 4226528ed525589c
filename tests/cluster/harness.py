"""Brings a cluster up, takes it down, says how it is: the order of things, and nothing of how each is done.

Whatever an earlier harness left of a cluster of the same name is removed first. A failed start removes what it made.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster import (
    builds,
    controlplane,
    dns,
    fakenodes,
    host,
    images,
    network,
    node,
    processes,
    registry,
    relay,
    service_image,
    state,
    storage,
)
from cluster.builds import Programs, Say
from cluster.daemons import Daemons
from cluster.faults import ClusterFault
from cluster.layout import ROOT, Layout
from cluster.processes import Process
from cluster.state import Journal, State

STOP_SECONDS = 2.0  # then SIGKILL: nothing of the cluster is kept, and an API server would take a minute to leave
REMOVE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Status:
    """One cluster as it is now."""

    layout: Layout
    ready: bool
    ended: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """True if it came up and all its processes run."""
        return self.ready and not self.ended


def status(name: str, root: Path = ROOT) -> Status | None:
    """The state of a cluster, None if there is none of this name."""
    found = state.read(root / name)
    if found is None:
        return None
    ended = tuple(dict.fromkeys(p.name for p in found.processes if not processes.alive(p)))
    return Status(Layout(name, found.slot, root), found.ready, ended)


def up(name: str, say: Say, root: Path = ROOT, *, fake_nodes: int = 0, fast: bool = False) -> Layout:
    """Bring a cluster up, or find it up.

    Where it was not up before: with `fake_nodes` besides the real one; `fast` raises the control plane's limits.

    Raises ClusterFault with the end of the right log if it does not come up; then nothing is left of it.
    """
    started = time.monotonic()
    host.prepare(say)
    programs = builds.build_all(say)
    archives = images.make_all(programs, say)
    with state.cluster_lock(name):
        found = status(name, root)
        if found is not None and found.healthy:
            say(f"the cluster {name} is up already")
            _renew_images(found.layout, programs, archives)
            return found.layout
        if (root / name).exists():
            say(f"removing what is left of an earlier cluster {name}")
            _remove(name, root)
        with state.machine_lock():
            layout = Layout(name, state.free_slot(root), root)
            journal = Journal(layout.folder, State(layout.slot, fast=fast))
        try:
            daemons = Daemons(layout, programs, journal)
            _start(daemons, archives, say)
            if fake_nodes:
                fakenodes.start(daemons, fake_nodes, say)
        except BaseException:
            _remove(name, root)
            raise
        journal.ready()
    say(f"the cluster {name} is up after {time.monotonic() - started:.1f} s")
    return layout


def _start(daemons: Daemons, archives: Sequence[Path], say: Say) -> None:
    """Start everything; images are imported while the control plane comes up."""
    say("starting the node's container runtime and the control plane")
    controlplane.write_credentials(daemons.layout)
    node.write_configs(daemons)
    registry.write_configs(daemons)
    node.make_cgroups(daemons)
    holder = node.start_holder(daemons)
    registry.start(daemons)
    node.start_containerd(daemons, holder)
    with ThreadPoolExecutor(2) as background:
        imported = background.submit(node.import_images, daemons, holder, archives)
        pushed = background.submit(registry.fill, daemons.layout, archives)
        controlplane.start_etcd(daemons)
        controlplane.wait_ready(daemons, controlplane.start_api_server(daemons))
        controlplane.start_controllers(daemons)
        dns.apply(daemons)
        storage.start(daemons)
        relay.start(daemons, builds.cache_folder() / "packages")
        say("importing images")
        imported.result()
        pushed.result()
    kubelet = node.start_kubelet(daemons, holder)
    node.start_networking(daemons, holder)
    say("waiting for the node and for CoreDNS")
    node.wait_ready(daemons, kubelet)
    dns.wait_ready(daemons, kubelet)


def add_service_image(name: str, say: Say, root: Path = ROOT) -> str:
    """Give a cluster the image of the service as it is in the checkout; the image's name.

    Not part of `up`: only who runs the service in the cluster needs it, and it changes with every source.
    """
    programs = builds.build_all(say)
    archive = service_image.make(programs, say)
    with state.cluster_lock(name):
        found = status(name, root)
        if found is None:
            raise ClusterFault(f"there is no cluster {name}")
        _renew_images(found.layout, programs, [archive])
    return service_image.NAME


def _renew_images(layout: Layout, programs: Programs, archives: Sequence[Path]) -> None:
    """Import what was made anew since the cluster came up: the agent, when its sources changed."""
    found = state.read(layout.folder)
    assert found is not None, "a healthy cluster has a state"
    node.import_images(Daemons(layout, programs, Journal(layout.folder, found)), found.process("node"), archives)


def restart(name: str, process: str, say: Say, root: Path = ROOT) -> None:
    """Kill a process as a crash would, and start it again, until it answers.

    Raises ClusterFault if there is no such cluster or process, or if it does not come back.
    """
    stop(name, process, say, root)
    start(name, process, say, root)


def stop(name: str, process: str, say: Say, root: Path = ROOT) -> None:
    """Kill a process as a crash would, and leave it so. Fine if it does not run; ClusterFault as for `restart`."""
    with _working_on(name, process, root) as found:
        processes.stop([p for p in found.processes if p.name == process], 0.0)
        Journal(root / name, found).forget(process)
    say(f"{process} of the cluster {name} is down")


def start(name: str, process: str, say: Say, root: Path = ROOT) -> None:
    """Start a process that was stopped, until it answers. Fine if it runs; ClusterFault as for `restart`."""
    with _working_on(name, process, root) as found:
        if any(processes.alive(p) for p in found.processes if p.name == process):
            return
        journal = Journal(root / name, found)
        journal.forget(process)
        RESTARTABLE[process](
            Daemons(Layout(name, found.slot, root), builds.build_all(say), journal), found.process("node")
        )
    say(f"{process} of the cluster {name} is back")


@contextmanager
def _working_on(name: str, process: str, root: Path) -> Iterator[State]:
    """The state of a cluster whose process is about to be stopped or started, while nobody else works on it."""
    host.check()
    with state.cluster_lock(name):
        found = state.read(root / name)
        if found is None:
            raise ClusterFault(f"there is no cluster {name}")
        if process not in RESTARTABLE:
            raise ClusterFault(f"{process} cannot be restarted; what can: {', '.join(RESTARTABLE)}")
        yield found


def cut_off(name: str, root: Path = ROOT) -> None:
    """Let nothing pass between host and node, in silence, as an unplugged cable would. Ended by `rejoin`."""
    with state.cluster_lock(name):
        found = state.read(root / name)
        if found is None:
            raise ClusterFault(f"there is no cluster {name}")
        network.cut(Layout(name, found.slot, root), node.inside(found.process("node")))


def rejoin(name: str, root: Path = ROOT) -> None:
    """End what `cut_off` began; fine if there is nothing to end."""
    with state.cluster_lock(name):
        found = state.read(root / name)
        if found is not None:
            network.mend(Layout(name, found.slot, root), node.inside(found.process("node")))


def _restart_api_server(daemons: Daemons, _: Process) -> None:
    controlplane.wait_ready(daemons, controlplane.start_api_server(daemons))


def _restart_kubelet(daemons: Daemons, holder: Process) -> None:
    node.wait_answers(daemons, node.start_kubelet(daemons, holder))


def _restart_containerd(daemons: Daemons, holder: Process) -> None:
    daemons.layout.containerd_socket.unlink(missing_ok=True)  # or the old one would pass for an answer
    node.start_containerd(daemons, holder)


RESTARTABLE: dict[str, Callable[[Daemons, Process], None]] = {
    "kube-apiserver": _restart_api_server,
    "kubelet": _restart_kubelet,
    "containerd": _restart_containerd,
}


def down(name: str, say: Say, root: Path = ROOT) -> bool:
    """Remove a cluster, whatever state it is in; False if there is nothing of it."""
    host.check()
    started = time.monotonic()
    with state.cluster_lock(name):
        if not (root / name).exists():
            return False
        _remove(name, root)
    say(f"the cluster {name} is gone after {time.monotonic() - started:.1f} s")
    return True


def _remove(name: str, root: Path) -> None:
    """End all processes, recorded or only marked, then remove links, control groups and files."""
    folder = root / name
    found = state.read(folder) or State(0)
    # The node's first process takes everything in its namespaces along.
    nodes = [process for process in found.processes if process.name == "node"]
    processes.stop(nodes, STOP_SECONDS)
    processes.stop(found.processes, STOP_SECONDS)
    processes.stop(processes.marked(folder), STOP_SECONDS)
    network.disconnect(found.links)
    groups = [Path(group) for group in found.cgroups]
    processes.wait_for(
        lambda: all(node.remove_cgroup(group) for group in groups),
        "the end of the last process in the pods' control groups",
        REMOVE_SECONDS,
        folder / "logs" / "kubelet.log",
    )
    shutil.rmtree(folder)
    for parent in (root, root.parent):
        if not any(parent.iterdir()):
            parent.rmdir()


def describe(found: Status) -> str:
    """A status for a person: what to set, where to look."""
    layout = found.layout
    condition = "up" if found.healthy else f"broken: {', '.join(found.ended)} ended" if found.ended else "half started"
    lines = {
        "cluster": f"{layout.name}: {condition}",
        "kubernetes": builds.KUBERNETES_VERSION,
        "kubeconfig": str(layout.kubeconfig),
        "context": layout.context,
        "node": f"{layout.node_name} ({layout.node_address})",
        "package index": layout.package_index,
        "registry": layout.registry,
        "private one": f"{layout.private_registry} (user {registry.USER}, password in {layout.registry_password})",
        "authority": f"{layout.pki}/ca.crt",
        "audit log": str(layout.audit_log),
        "logs": str(layout.logs),
        "programs": str(_folder_of_kubectl()),
    }
    return "\n".join(f"{name + ':':<15}{value}" for name, value in lines.items())


def _folder_of_kubectl() -> Path:
    return next(builds.folder(module) for module in builds.ALL if module.name == "kubernetes")

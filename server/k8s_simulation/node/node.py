"""What everything that runs pods shares: one value with the node's parts, its times, and the faults scripted for it.

Must not do anything itself; the composition root (`__main__`, tests) fills it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from k8s_simulation.faults import EvictPod, Fault, ImagePullError, LogRotation, OutOfMemory, matches
from k8s_simulation.node.events import EventRecorder
from k8s_simulation.node.images import Catalogue
from k8s_simulation.node.kube import KubeClient
from k8s_simulation.node.logs import DEFAULT_ROTATION, Rotation
from k8s_simulation.node.memory import MemoryWatch
from k8s_simulation.node.network import HostNetwork, PodNetwork
from k8s_simulation.node.sandbox import Sandbox
from k8s_simulation.node.services import ServiceTable


@dataclass(frozen=True, slots=True)
class Times:
    """Waiting times in seconds: kubelet's where it has one, shortened where it only waits for itself."""

    back_off: float = 10.0  # first wait of a crash loop or failed pull; doubles
    back_off_limit: float = 300.0
    back_off_reset: float = 600.0  # a container that ran this long starts its back-off anew
    back_off_word: float = 1.0  # after this, ErrImagePull is called ImagePullBackOff (kubelet: its next sync)
    retry: float = 1.0  # volumes, configuration: how soon to look again (kubelet: its next sync, up to minutes)


class NodeFaults:
    """The scripted faults that concern the node; `update` takes the whole script."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._used: dict[Fault, int] = {}

    def update(self, faults: list[Fault]) -> None:
        """Take the present script."""
        self._faults = faults
        self._used = {fault: count for fault, count in self._used.items() if fault in faults}

    def pull_error(self, image: str) -> str:
        """The message with which pulling this image must fail now, or an empty text."""
        for fault in self._faults:
            if isinstance(fault, ImagePullError) and matches(fault.image, image):
                used = self._used[fault] = self._used.get(fault, 0) + 1
                if fault.times == 0 or used <= fault.times:
                    return fault.message
        return ""

    def out_of_memory(self, namespace: str, pod: str, container: str) -> float | None:
        """After how many seconds this container must be killed for memory, or None."""
        for fault in self._faults:
            if not isinstance(fault, OutOfMemory) or not matches(fault.namespace, namespace):
                continue
            if matches(fault.pod, pod) and matches(fault.container, container):
                return fault.after_seconds
        return None

    def eviction(self, namespace: str, pod: str) -> str:
        """The message with which this pod must be evicted, or an empty text."""
        for fault in self._faults:
            if isinstance(fault, EvictPod) and matches(fault.namespace, namespace) and matches(fault.pod, pod):
                return fault.message
        return ""

    @property
    def rotation(self) -> Rotation | None:
        """When log files are rotated, if scripted."""
        scripted = (f for f in self._faults if isinstance(f, LogRotation))
        return next((Rotation(f.max_bytes, f.max_files, f.interval_seconds) for f in scripted), None)


@dataclass(frozen=True, slots=True)
class Taint:
    """What keeps pods without a matching toleration away."""

    key: str
    value: str
    effect: str


@dataclass(slots=True)
class Node:
    """The parts of one node."""

    name: str
    address: str
    data: Path
    client: KubeClient
    events: EventRecorder
    catalogue: Catalogue
    sandbox: Sandbox
    network: PodNetwork | HostNetwork
    services: ServiceTable
    memory: MemoryWatch
    allocatable: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)  # beside those that every node has
    taints: Sequence[Taint] = ()
    index_url: str = ""  # of the package relay, as pods reach it
    rotation: Rotation = DEFAULT_ROTATION
    times: Times = field(default_factory=Times)
    faults: NodeFaults = field(default_factory=NodeFaults)

    @property
    def pods_folder(self) -> Path:
        """Where the folders of all pods are."""
        return self.data / "pods"

    @property
    def names_file(self) -> Path:
        """Where service names are written for programs, when pods have no network of their own."""
        return self.data / "names.json"

"""The adapters that the engine works with, as one value for the composition root to make."""

from __future__ import annotations

from dataclasses import dataclass

from k8s_execution.engine.maskers import Maskers
from k8s_execution.ports.cluster import ClusterPort
from k8s_execution.ports.evidence import EvidenceKeeper, StepCollector
from k8s_execution.ports.logs import LogCollector
from k8s_execution.ports.manifests import ManifestSource
from k8s_execution.ports.store import Store
from k8s_execution.runtime.threads import Threads


@dataclass(frozen=True, slots=True)
class Tools:
    """What actions need of the world. `threads` take what would hold the event loop, such as rendering manifests;
    `most_held` is how many environments may be held at once.
    """

    store: Store
    cluster: ClusterPort
    manifests: ManifestSource
    collector: StepCollector
    keeper: EvidenceKeeper
    logs: LogCollector
    maskers: Maskers
    threads: Threads
    most_held: int

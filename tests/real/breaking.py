"""The harness's cluster as something to break: its processes, its link, its store, and what its API server was asked.

For tests of the service on a cluster that fails. Whatever is broken here is mended by the same object (`mend`), and a
test ends only when the node is Ready again. It must not look at the service.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from cluster import harness
from cluster.layout import ROOT, Layout
from support.kubeapi import Kube, Object
from support.kubeobjects import has_condition

HEAL_SECONDS = 120.0
PROCESSES = ("kube-apiserver", "containerd", "kubelet")
"""In the order in which they must be started: each needs those before it."""

USER_AGENT = "k8s-execution"


@dataclass(frozen=True, slots=True)
class Machine:
    """One cluster of the harness; every method but the look-ups takes seconds and lets others run meanwhile."""

    layout: Layout

    @classmethod
    def of(cls, kubeconfig: Path) -> Machine:
        """The cluster of this kubeconfig; the test fails where the harness did not make it."""
        status = harness.status(kubeconfig.parent.name) if kubeconfig.parent.parent == ROOT else None
        if status is None or not status.healthy:
            pytest.fail(f"{kubeconfig} is not of a healthy cluster of the harness; `make test-cluster` brings one up")
        return cls(status.layout)

    async def stop(self, process: str) -> None:
        """Kill a process, as a crash would."""
        await asyncio.to_thread(harness.stop, self.layout.name, process, _hush)

    async def start(self, process: str) -> None:
        """Start it again, until it answers."""
        await asyncio.to_thread(harness.start, self.layout.name, process, _hush)

    async def restart(self, process: str) -> None:
        """Both, one right after the other."""
        await self.stop(process)
        await self.start(process)

    @asynccontextmanager
    async def without(self, process: str) -> AsyncIterator[None]:
        """The cluster without this process."""
        await self.stop(process)
        try:
            yield
        finally:
            await self.start(process)

    @asynccontextmanager
    async def without_link(self) -> AsyncIterator[None]:
        """The node cut off from everybody, without a word to anybody."""
        await asyncio.to_thread(harness.cut_off, self.layout.name)
        try:
            yield
        finally:
            await asyncio.to_thread(harness.rejoin, self.layout.name)

    @asynccontextmanager
    async def kubelet_with(self, **settings: Any) -> AsyncIterator[None]:
        """The kubelet with other settings."""
        path = self.layout.folder / "kubelet" / "config.yaml"
        usual = path.read_text(encoding="utf-8")
        try:
            path.write_text(yaml.safe_dump(yaml.safe_load(usual) | settings), encoding="utf-8")
            await self.restart("kubelet")
            yield
        finally:
            path.write_text(usual, encoding="utf-8")
            await self.restart("kubelet")

    async def mend(self, kube: Kube) -> None:
        """Everything runs, the link carries, and the node is Ready."""
        await asyncio.to_thread(harness.rejoin, self.layout.name)
        for process in PROCESSES:
            await self.start(process)
        node = self.layout.node_name
        await kube.until("nodes", "", node, _usable, HEAL_SECONDS)

    async def compact(self) -> int:
        """Let etcd forget all history up to now, on disk too; the revision up to which it did."""
        revision = int((await self._etcd("maintenance/status", {}))["header"]["revision"])
        await self._etcd("kv/compaction", {"revision": str(revision), "physical": True})
        return revision

    async def _etcd(self, call: str, body: Object) -> Object:
        """One call of etcd's JSON gateway (etcd.io/docs, dev-guide/api_grpc_gateway); forgotten already is fine."""
        own = self.layout.pki
        trusted = ssl.create_default_context(cafile=str(own / "ca.crt"))
        trusted.load_cert_chain(own / "etcd.crt", own / "etcd.key")
        address = f"https://127.0.0.1:{self.layout.etcd_port}/v3/{call}"
        async with aiohttp.ClientSession() as session, session.post(address, json=body, ssl=trusted) as answer:
            found: Object = await answer.json(content_type=None)
            assert answer.status == 200 or "has been compacted" in found["message"], found
            return found

    def rotated_logs(self, namespace: str, container: str) -> list[Path]:
        """What the kubelet keeps of earlier files of a container's log."""
        return sorted((self.layout.folder / "kubelet" / "logs").glob(f"{namespace}_*/{container}/*.log.*"))

    def audit(self) -> Audit:
        """The requests from now on."""
        return Audit(self.layout.audit_log, self.layout.audit_log.stat().st_size)


def _usable(node: Object) -> bool:
    """Ready, and without the taints by which the node controller keeps pods away."""
    return bool(has_condition("Ready")(node)) and not node["spec"].get("taints")


def _hush(_: str) -> None:
    """The harness's progress, which a test has no use for."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What the API server was asked by the service since a moment."""

    log: Path
    begin: int

    def requests(self) -> list[tuple[float, str]]:
        """Each request once: when it came (seconds since the epoch) and what it was."""
        found: dict[str, tuple[float, str]] = {}
        with self.log.open("rb") as file:
            file.seek(self.begin)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written
                event = json.loads(line)
                if str(event.get("userAgent", "")).startswith(USER_AGENT):
                    at = datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
                    what = f"{event['verb']} {event['requestURI'].partition('?')[0]}"
                    found.setdefault(event["auditID"], (at, what))
        return sorted(found.values())

    def busiest(self) -> tuple[int, int]:
        """The most requests of one second, and of ten seconds."""
        times = [at for at, _ in self.requests()]
        return tuple(  # type: ignore[return-value] # one number for each of the two widths
            max((sum(at <= other < at + width for other in times) for at in times), default=0) for width in (1, 10)
        )

    def repeated(self) -> Counter[str]:
        """How often each verb came on each path."""
        return Counter(what for _, what in self.requests())

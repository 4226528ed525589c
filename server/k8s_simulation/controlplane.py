"""The control plane of a simulated cluster in one process: storage, API server and controllers, wired together.

The composition root of `api` and `controllers`; `cluster` adds the node and the command line. Tests use it in their own
event loop.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import IO

from k8s_simulation.api.audit import AuditLog
from k8s_simulation.api.certificates import Authority, make_authority
from k8s_simulation.api.objects import Object, condition_is
from k8s_simulation.api.registry import Registry
from k8s_simulation.api.resources import NAMESPACES, NODES, SERVICES, named
from k8s_simulation.api.server import ApiServer, Tokens
from k8s_simulation.api.storage import Change, Storage
from k8s_simulation.controllers.accounts import AccountsController
from k8s_simulation.controllers.claims import CLASSES, DEFAULT_CLASS, ClaimController
from k8s_simulation.controllers.deployment import DeploymentController
from k8s_simulation.controllers.endpoints import EndpointsController
from k8s_simulation.controllers.framework import Controller, run_controllers
from k8s_simulation.controllers.garbage import GarbageCollector
from k8s_simulation.controllers.job import JobController
from k8s_simulation.controllers.namespace import NamespaceController
from k8s_simulation.controllers.nodes import NodeController
from k8s_simulation.controllers.quota import QuotaController
from k8s_simulation.controllers.replicaset import ReplicaSetController
from k8s_simulation.controllers.scheduler import Scheduler
from k8s_simulation.controllers.statefulset import StatefulSetController
from k8s_simulation.faults import FaultBook

CONTEXT = "simulated"


@dataclass(frozen=True, slots=True)
class Delays:
    """How long the cluster takes over what takes time in life; seconds."""

    service_account: float = 0.05  # until a new namespace has its ServiceAccount
    quota_status: float = 0.02  # until a new quota has a status
    namespace: float = 0.0  # before a deleted namespace is emptied (5 s in kube-controller-manager)
    node_lease: float = 40.0  # without a renewed lease a node is unreachable


class ControlPlane:
    """API server and controllers. `start`, use `port`, `kubeconfig` and `registry`, `stop`."""

    def __init__(
        self,
        faults: FaultBook | None = None,
        delays: Delays | None = None,
        clock: Callable[[], float] = time.time,
        *,
        tls: bool = True,
        audit: IO[bytes] | None = None,
    ) -> None:
        """An empty cluster with its four namespaces. Without `tls` it speaks plain HTTP, for quick unit tests.

        `audit` is an unbuffered file for the audit log.
        """
        self.faults = faults or FaultBook()
        self.token = token_urlsafe(32)
        self.node_token = token_urlsafe(32)
        self.kubelet_token = token_urlsafe(32)
        self.registry = Registry(Storage(), clock)
        self._delays = delays or Delays()
        self._authority: Authority | None = make_authority() if tls else None
        tokens = Tokens((self.token, self.node_token), self.kubelet_token)
        self._server = ApiServer(self.registry, tokens, self.faults, AuditLog(audit, clock) if audit else None)
        self._controllers: asyncio.Task[None] | None = None
        self._host = "127.0.0.1"
        _bootstrap(self.registry)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    @property
    def url(self) -> str:
        """The server's address as kubeconfigs have it."""
        return f"{'https' if self._authority else 'http'}://{self._host}:{self.port}"

    @property
    def ca_pem(self) -> bytes:
        """The certificate of its authority; empty without TLS."""
        return self._authority.ca_pem if self._authority else b""

    async def start(self, port: int = 0, *, controllers: bool = True) -> None:
        """Listen on loopback and start the controllers. Raises OSError if the port is taken."""
        context: ssl.SSLContext | None = None
        if self._authority:
            context = self._authority.server_context([self._host, "localhost", "kubernetes.default.svc"])
        await self._server.start(self._host, port, context)
        if controllers:
            work = run_controllers(self.registry, self._make_controllers())
            self._controllers = asyncio.create_task(work, name="controllers")

    async def stop(self) -> None:
        """Stop everything; the cluster is gone. May be called twice."""
        if self._controllers is not None:
            self._controllers.cancel()
            with suppress(asyncio.CancelledError):
                await self._controllers
            self._controllers = None
        await self._server.stop()

    async def controllers_ended(self) -> None:
        """Return never; raises what ended the controllers, which is a defect."""
        if self._controllers is not None:
            await asyncio.shield(self._controllers)

    async def node_ready(self) -> None:
        """Wait until a node is Ready."""
        ready = asyncio.Event()

        def look(change: Change) -> None:
            if condition_is(change.entry.obj, "Ready"):
                ready.set()

        end = self.registry.storage.subscribe(NODES, look)
        try:
            if any(condition_is(n, "Ready") for n in self.registry.storage.objects(NODES)):
                return
            await ready.wait()
        finally:
            end()

    def kubeconfig(self) -> str:
        """A kubeconfig whose current context is this cluster. Contains the token."""
        from base64 import b64encode

        ca = f"\n    certificate-authority-data: {b64encode(self.ca_pem).decode()}" if self.ca_pem else ""
        return (
            f"apiVersion: v1\nkind: Config\ncurrent-context: {CONTEXT}\npreferences: {{}}\n"
            f"clusters:\n- name: {CONTEXT}\n  cluster:\n    server: {self.url}{ca}\n"
            f"contexts:\n- name: {CONTEXT}\n  context:\n    cluster: {CONTEXT}\n    user: {CONTEXT}\n"
            f"users:\n- name: {CONTEXT}\n  user:\n    token: {self.token}\n"
        )

    def _make_controllers(self) -> list[Controller]:
        registry, faults, delays = self.registry, self.faults, self._delays
        return [
            NamespaceController(registry, faults, delays.namespace),
            AccountsController(registry, faults, delays.service_account, self.ca_pem.decode()),
            QuotaController(registry, faults, delays.quota_status),
            Scheduler(registry),
            ReplicaSetController(registry),
            DeploymentController(registry),
            JobController(registry, faults),
            StatefulSetController(registry),
            EndpointsController(registry),
            ClaimController(registry),
            NodeController(registry, delays.node_lease),
            GarbageCollector(registry),
        ]


def _bootstrap(registry: Registry) -> None:
    for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
        registry.create(NAMESPACES, {"metadata": {"name": name}})
    service: Object = {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": "10.96.0.1",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
        },
    }
    registry.create(SERVICES, service)
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    storage = {"provisioner": "simulated.example.com/folder", "reclaimPolicy": "Delete"}
    registry.create(CLASSES, {"metadata": {"name": DEFAULT_CLASS, "annotations": default}, **storage})
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]
    for name, rules in (("cluster-admin", everything), ("admin", []), ("edit", []), ("view", [])):
        registry.create(named("clusterroles"), {"metadata": {"name": name}, "rules": rules})

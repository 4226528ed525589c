"""Services as pods reach them: cluster addresses that forward to ready endpoints, and the facts names are made from.

Each Service's cluster address is an address of the holder's namespace; a listening socket per TCP port forwards every
connection, in turn, to a ready endpoint (what kube-proxy's first mode did). A port without a ready endpoint is not
listened on, so a connection is refused, as kube-proxy refuses it. UDP is not forwarded. Without namespaces, service
names mean the loopback address, and only a port that differs from its target port needs forwarding.

Must not know names or pods: it is fed objects and opens sockets.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from k8s_simulation.node.network import HostNetwork, NetworkFault, PodNetwork

Object = dict[str, Any]
Address = tuple[str, int]
_CHUNK = 64 * 1024
_LABEL = "kubernetes.io/service-name"

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ServiceTable:
    """The Services and EndpointSlices of the cluster, kept by two watches."""

    services: dict[tuple[str, str], Object] = field(default_factory=dict)
    slices: dict[tuple[str, str], Object] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def replace(self, kind: dict[tuple[str, str], Object], items: list[Object]) -> None:
        """Take a whole list."""
        kind.clear()
        kind.update({_key(item): item for item in items})
        self.changed.set()

    def change(self, kind: dict[tuple[str, str], Object], event: str, item: Object) -> None:
        """Take one watch event."""
        if event == "DELETED":
            kind.pop(_key(item), None)
        else:
            kind[_key(item)] = item
        self.changed.set()

    def endpoints(self, namespace: str, name: str, port: str = "") -> list[Address]:
        """Ready endpoints of a service's port, by the port's name, in a stable order."""
        found: set[Address] = set()
        for (space, _), piece in self.slices.items():
            if space == namespace and (piece["metadata"].get("labels") or {}).get(_LABEL) == name:
                found.update(_ready(piece, port))
        return sorted(found)

    def addresses(self, namespace: str, name: str) -> list[str]:
        """What the service's name stands for: its cluster address, or for a headless one its ready endpoints."""
        service = self.services.get((namespace, name))
        if service is None:
            return []
        cluster_ip = service["spec"].get("clusterIP") or "None"
        if cluster_ip != "None":
            return [cluster_ip]
        return sorted({a for s in self._of(namespace, name) for a in _ready_addresses(s)})

    def _of(self, namespace: str, name: str) -> Iterator[Object]:
        for (space, _), piece in self.slices.items():
            if space == namespace and (piece["metadata"].get("labels") or {}).get(_LABEL) == name:
                yield piece

    def links(self, namespace: str, host: str | None = None) -> dict[str, str]:
        """The Docker-links variables of a namespace's services (pkg/kubelet/envvars); `host` replaces addresses."""
        variables: dict[str, str] = {}
        for (space, name), service in self.services.items():
            address = service["spec"].get("clusterIP") or "None"
            ports = service["spec"].get("ports") or []
            if space != namespace or address == "None" or not ports:
                continue
            variables |= _link_variables(name.upper().replace("-", "_"), host or address, ports)
        return variables


def _link_variables(prefix: str, address: str, ports: list[Object]) -> dict[str, str]:
    first = ports[0]
    variables = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(first["port"])}
    variables[f"{prefix}_PORT"] = f"{first.get('protocol', 'TCP').lower()}://{address}:{first['port']}"
    for port in ports:
        protocol = port.get("protocol", "TCP")
        if port.get("name"):
            variables[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
        stem = f"{prefix}_PORT_{port['port']}_{protocol}"
        variables[stem] = f"{protocol.lower()}://{address}:{port['port']}"
        variables |= {f"{stem}_PROTO": protocol.lower(), f"{stem}_PORT": str(port["port"]), f"{stem}_ADDR": address}
    return variables


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _ready_addresses(piece: Object) -> list[str]:
    found: list[str] = []
    for endpoint in piece.get("endpoints") or []:
        if (endpoint.get("conditions") or {}).get("ready") is not False:
            found += endpoint.get("addresses") or []
    return found


def _ready(piece: Object, port: str) -> list[Address]:
    numbers = [p["port"] for p in piece.get("ports") or [] if (p.get("name") or "") == port]
    return [(address, number) for address in _ready_addresses(piece) for number in numbers]


@dataclass(slots=True)
class _Listener:
    socket: socket.socket
    task: asyncio.Task[None]


class ServiceProxy:
    """Keeps one listening socket per reachable service port and forwards its connections."""

    def __init__(
        self, table: ServiceTable, network: PodNetwork | HostNetwork, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._table = table
        self._on_change = on_change
        self._network = network
        self._listeners: dict[tuple[str, int], _Listener] = {}
        self._addresses: set[str] = set()
        self._turn = itertools.count()

    async def run(self) -> None:
        """Follow the table until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self._table.changed.wait()
                    self._table.changed.clear()
                    self._on_change()
                    await self._reconcile(tasks)
        finally:
            for listener in self._listeners.values():
                listener.socket.close()

    async def _reconcile(self, tasks: asyncio.TaskGroup) -> None:
        wanted = self._wanted()
        for key in self._listeners.keys() - wanted.keys():
            listener = self._listeners.pop(key)
            listener.task.cancel()
            listener.socket.close()
        if isinstance(self._network, PodNetwork):
            await self._reconcile_addresses(self._network)
        for key, (namespace, name, port) in wanted.items():
            if key in self._listeners:
                continue
            try:
                made = await self._network.listen(*key)
            except NetworkFault as fault:
                log.warning("service %s/%s: %s", namespace, name, fault)
                continue
            task = tasks.create_task(self._accept(made, namespace, name, port))
            self._listeners[key] = _Listener(made, task)

    def _wanted(self) -> dict[Address, tuple[str, str, str]]:
        wanted: dict[Address, tuple[str, str, str]] = {}
        for (namespace, name), service in self._table.services.items():
            address = service["spec"].get("clusterIP") or "None"
            for port in service["spec"].get("ports") or []:
                ends = self._table.endpoints(namespace, name, port.get("name") or "")
                if address == "None" or port.get("protocol", "TCP") != "TCP" or not ends:
                    continue
                if isinstance(self._network, PodNetwork):
                    wanted[address, port["port"]] = (namespace, name, port.get("name") or "")
                elif all(number != port["port"] for _, number in ends):
                    wanted[self._network.gateway, port["port"]] = (namespace, name, port.get("name") or "")
        return wanted

    async def _reconcile_addresses(self, network: PodNetwork) -> None:
        wanted = {str(s["spec"].get("clusterIP") or "None") for s in self._table.services.values()} - {"None", ""}
        for address in self._addresses - wanted:
            await network.remove_address(address)
        for address in wanted - self._addresses:
            await network.add_address(address)
        self._addresses = wanted

    async def _accept(self, listener: socket.socket, namespace: str, name: str, port: str) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as connections:
            while True:
                client, _ = await loop.sock_accept(listener)
                client.setblocking(False)
                ends = self._table.endpoints(namespace, name, port)
                connections.create_task(self._forward(client, ends))

    async def _forward(self, client: socket.socket, ends: list[Address]) -> None:
        """One connection to the next endpoint that takes it; closed when none does."""
        with client:
            start = next(self._turn)
            for step in range(len(ends)):
                try:
                    server = await self._network.connect(*ends[(start + step) % len(ends)])
                except (OSError, NetworkFault):
                    continue
                with server:
                    await asyncio.gather(_copy(client, server), _copy(server, client))
                return


async def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy until the end of one direction, then half-close the other side."""
    loop = asyncio.get_running_loop()
    try:
        while chunk := await loop.sock_recv(source, _CHUNK):
            await loop.sock_sendall(target, chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # A reset of either side ends both directions.
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # already gone

"""Cluster addresses of Services: one from 10.96.0.0/16 each, or the one asked for.

Apart because it is the one piece of allocation with state of its own; freed when the Service is removed.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address

from k8s_simulation.api.objects import Object, name_of
from k8s_simulation.api.problems import invalid, invalid_value
from k8s_simulation.api.resources import SERVICES
from k8s_simulation.api.storage import Change, ChangeType, Storage

NETWORK = IPv4Network("10.96.0.0/16")
_FIRST_NODE_PORT = 30000


class ServiceAddresses:
    """Which cluster addresses are taken."""

    def __init__(self, storage: Storage) -> None:
        """Follow the removal of Services to free their addresses."""
        self._taken: set[str] = set()
        self._next = 2  # the first belongs to the API server's own Service, which asks for it
        self._next_port = _FIRST_NODE_PORT
        storage.subscribe(SERVICES, self._free)

    def assign(self, service: Object, *, dry_run: bool) -> None:
        """Give the Service its address and node ports. Raises 422 for an address that is taken or foreign."""
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            spec.pop("clusterIP", None)
            spec.pop("clusterIPs", None)
            return
        asked = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or []), "")
        if asked != "None" and not dry_run:
            asked = self._reserve(service, str(asked))
        elif not asked:
            asked = str(NETWORK[self._next])
        spec["clusterIP"], spec["clusterIPs"] = asked, [asked]
        if spec.get("type") in {"NodePort", "LoadBalancer"}:
            for port in spec.get("ports") or []:
                if not port.get("nodePort"):
                    port["nodePort"] = self._next_port
                    self._next_port += 1

    def _reserve(self, service: Object, asked: str) -> str:
        if not asked:
            while str(NETWORK[self._next]) in self._taken:
                self._next = self._next % (NETWORK.num_addresses - 2) + 1
            asked = str(NETWORK[self._next])
        elif (problem := self._problem(asked)) is not None:
            raise invalid(SERVICES, name_of(service), [invalid_value("spec.clusterIPs", [asked], problem)])
        self._taken.add(asked)
        return asked

    def _problem(self, asked: str) -> str | None:
        try:
            address = ip_address(asked)
        except ValueError:
            return "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        if not isinstance(address, IPv4Address) or address not in NETWORK:
            return f"failed to allocate IP {asked}: the provided network does not match the current range"
        return f"failed to allocate IP {asked}: provided IP is already allocated" if asked in self._taken else None

    def _free(self, change: Change) -> None:
        if change.type is ChangeType.DELETED:
            self._taken.discard(str((change.entry.obj.get("spec") or {}).get("clusterIP")))

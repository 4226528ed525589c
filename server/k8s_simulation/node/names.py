"""The pod network's name server: service names to addresses, and nothing else.

Answers A queries for `<service>.<namespace>.svc.cluster.local`; short names arrive complete through the search list of
the pods' resolv.conf, as in life. Names outside cluster.local do not exist here, since pods have no route out.
`answer` is pure. Format: RFC 1035.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import cast

DOMAIN = "cluster.local"
_TTL = 5
_A, _AAAA = 1, 28
_NO_ERROR, _NO_NAME, _NOT_IMPLEMENTED = 0, 3, 4

Lookup = Callable[[str, str], list[str] | None]


def resolv_conf(namespace: str, server: str) -> str:
    """The /etc/resolv.conf of a pod (dnsPolicy ClusterFirst)."""
    search = f"{namespace}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}"
    return f"search {search}\nnameserver {server}\noptions ndots:5\n"


def answer(query: bytes, lookup: Lookup, turn: int = 0) -> bytes | None:
    """The reply to one query, or None for what is no query. `lookup(service, namespace)` is None for an unknown name.

    `turn` rotates the addresses of a name with several.
    """
    if len(query) < 12:
        return None
    identifier, flags, questions = struct.unpack("!HHH", query[:6])
    if flags & 0x8000 or questions < 1:
        return None
    name, end = _name(query, 12)
    if name is None or end + 4 > len(query):
        return None
    kind = struct.unpack("!H", query[end : end + 2])[0]
    question = query[12 : end + 4]
    if flags & 0x7800:
        return _reply(identifier, flags, _NOT_IMPLEMENTED, question, [])
    addresses = _addresses(name, lookup)
    if addresses is None:
        return _reply(identifier, flags, _NO_NAME, question, [])
    if kind != _A or not addresses:
        return _reply(identifier, flags, _NO_ERROR, question, [])
    first = turn % len(addresses)
    return _reply(identifier, flags, _NO_ERROR, question, addresses[first:] + addresses[:first])


def _addresses(name: str, lookup: Lookup) -> list[str] | None:
    parts = name.lower().rstrip(".").split(".")
    if len(parts) == 5 and parts[2:] == ["svc", "cluster", "local"]:
        return lookup(parts[0], parts[1])
    return None


def _name(query: bytes, at: int) -> tuple[str | None, int]:
    """A domain name without compression, and where it ends."""
    labels: list[str] = []
    while at < len(query):
        length = query[at]
        if length == 0:
            return ".".join(labels), at + 1
        if length > 63:
            break
        labels.append(query[at + 1 : at + 1 + length].decode("latin-1"))
        at += 1 + length
    return None, at


def _reply(identifier: int, flags: int, code: int, question: bytes, addresses: list[str]) -> bytes:
    # QR, AA, the query's opcode and RD, RA, code.
    head = struct.pack("!HHHHHH", identifier, 0x8480 | (flags & 0x7900) | code, 1, len(addresses), 0, 0)
    records = b"".join(
        struct.pack("!HHHIH", 0xC00C, _A, 1, _TTL, 4) + bytes(int(part) for part in address.split("."))
        for address in addresses
    )
    return head + question + records


class NameServer(asyncio.DatagramProtocol):
    """`answer` on a UDP socket."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._turn = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one query."""
        self._turn += 1
        reply = answer(data, self._lookup, self._turn)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)

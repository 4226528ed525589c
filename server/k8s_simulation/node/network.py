"""The rootless pod network as the node sees it: addresses, namespaces and sockets, got from the `holder` process.

The node itself stays in the host's namespaces; the holder owns the user and network namespace, and its sockets come
over as descriptors, so that names, proxies, probes and the package relay are ordinary code on the node's event loop.
Must not know pods beyond their address.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from k8s_simulation.node.holder import GATEWAY

__all__ = ["GATEWAY", "HostNetwork", "NetworkFault", "PodNetwork"]


class NetworkFault(Exception):
    """The pod network could not do what was asked."""


class HostNetwork:
    """The fallback: pods share the host's loopback. Sockets are the host's own."""

    gateway = "127.0.0.1"

    async def connect(self, address: str, port: int) -> socket.socket:
        """A non-blocking TCP socket connected to an address of the pods."""
        made = socket.socket()
        return await _connected(made, address, port)

    async def listen(self, address: str, port: int) -> socket.socket:
        """A listening TCP socket."""
        made = socket.socket()
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, port))
            made.listen(512)
        except OSError as error:
            made.close()
            raise NetworkFault(f"cannot listen on {address}:{port}: {error}") from error
        made.setblocking(False)
        return made


class PodNetwork:
    """Client of one holder process. `start` and `close` bracket its life; it also ends when this process dies."""

    gateway = GATEWAY

    def __init__(self) -> None:
        self._holder: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lock = asyncio.Lock()
        self._hosts = itertools.cycle(range(10, 65534))
        self._used: set[str] = set()

    @property
    def holder_pid(self) -> int:
        """The process whose user namespace everything of the pods is below."""
        if self._holder is None:
            raise RuntimeError("the pod network is not started")
        return self._holder.pid

    async def start(self) -> None:
        """Start the holder. Raises NetworkFault with the reason when this machine does not allow it."""
        for tool in ("unshare", "nsenter", "ip"):
            if shutil.which(tool) is None:
                raise NetworkFault(f"the program {tool} is missing")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        script = Path(__file__).with_name("holder.py")
        with theirs:
            self._holder = subprocess.Popen(  # noqa: ASYNC220 - once, at the start
                [
                    "unshare",
                    "--user",
                    "--map-root-user",
                    "--net",
                    sys.executable,
                    "-I",
                    "-S",
                    str(script),
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        self._control = ours
        try:
            await self._ask(op="start")
        except NetworkFault as fault:
            words = await self._last_words()
            raise NetworkFault(f"user and network namespaces are not available ({words or fault})") from fault

    async def close(self) -> None:
        """End the holder, and with it the network."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._holder is not None:
            holder, self._holder = self._holder, None
            await asyncio.to_thread(_reap, holder)

    async def _last_words(self) -> str:
        """End a holder that could not start; what it, or `unshare`, had to say."""
        holder = self._holder
        if self._control is not None:
            self._control.close()
            self._control = None
        words = b""
        if holder is not None and holder.stderr is not None:
            words = await asyncio.to_thread(holder.stderr.read)
        await self.close()
        return words.decode("utf-8", "replace").strip()

    async def add_pod(self) -> tuple[str, int]:
        """A new pod's address and the descriptor of its network namespace, which the caller closes."""
        address = self._free_address()
        try:
            return address, await self._ask_descriptor(op="pod", address=address)
        except NetworkFault:
            self._used.discard(address)
            raise

    async def remove_pod(self, address: str) -> None:
        """Take a pod's link away; its address may be given out again."""
        try:
            await self._ask(op="release", address=address)
        finally:
            self._used.discard(address)

    async def connect(self, address: str, port: int) -> socket.socket:
        """A non-blocking TCP socket connected from the node to an address of the pod network."""
        made = socket.socket(fileno=await self._ask_descriptor(op="socket", kind="tcp"))
        return await _connected(made, address, port)

    async def listen(self, address: str, port: int) -> socket.socket:
        """A listening TCP socket on an address of the holder's namespace."""
        found = await self._ask_descriptor(op="socket", kind="tcp", bind=[address, port], listen=True)
        made = socket.socket(fileno=found)
        made.setblocking(False)
        return made

    async def datagrams(self, port: int) -> socket.socket:
        """A UDP socket bound on the gateway."""
        made = socket.socket(fileno=await self._ask_descriptor(op="socket", kind="udp", bind=[GATEWAY, port]))
        made.setblocking(False)
        return made

    async def add_address(self, address: str) -> None:
        """Give the holder's namespace one more address (of a service)."""
        await self._ask(op="address", do="add", address=address)

    async def remove_address(self, address: str) -> None:
        """Take an added address away."""
        await self._ask(op="address", do="del", address=address)

    def _free_address(self) -> str:
        for _ in range(65524):
            host = next(self._hosts)
            address = f"10.244.{host >> 8}.{host & 255}"
            if address not in self._used and host & 255 not in {0, 255}:
                self._used.add(address)
                return address
        raise NetworkFault("no pod address is free")

    async def _ask(self, **request: Any) -> None:
        if (descriptor := await self._exchange(request)) is not None:
            os.close(descriptor)

    async def _ask_descriptor(self, **request: Any) -> int:
        descriptor = await self._exchange(request)
        if descriptor is None:
            raise NetworkFault(f"the pod network gave no descriptor for {request['op']}")
        return descriptor

    async def _exchange(self, request: dict[str, Any]) -> int | None:
        async with self._lock:
            control = self._control
            if control is None:
                raise NetworkFault("the pod network is closed")
            # A thread, since receiving descriptors has no asyncio form; shielded so that a cancelled caller cannot
            # leave its answer for the next one.
            job = asyncio.ensure_future(asyncio.to_thread(_round_trip, control, request))
            try:
                reply, descriptors = await asyncio.shield(job)
            except asyncio.CancelledError:
                _, descriptors = await job
                for descriptor in descriptors:
                    os.close(descriptor)
                raise
        if error := reply.get("error"):
            raise NetworkFault(str(error))
        return descriptors[0] if descriptors else None


def _round_trip(control: socket.socket, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    try:
        control.send(json.dumps(request).encode())
        packet, descriptors, _, _ = socket.recv_fds(control, 65536, 1)
    except OSError as error:
        return {"error": f"the pod network's holder is gone: {error}"}, []
    if not packet:
        return {"error": "the pod network's holder has ended"}, []
    return json.loads(packet), list(descriptors)


def _reap(holder: subprocess.Popen[bytes]) -> None:
    try:
        holder.wait(2)
    except subprocess.TimeoutExpired:
        holder.kill()
        holder.wait()
    if holder.stderr is not None:
        holder.stderr.close()


async def _connected(made: socket.socket, address: str, port: int) -> socket.socket:
    """Connect without blocking the loop. Raises OSError as `connect` does."""
    made.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    return made

"""The package relay of a cluster, a process of its own: `python -m cluster.relay ADDRESS PORT CACHE`.

Pods have no route out; at the host's end of the link they find a package index that passes on what the host's pip is
configured for. The index is the simulated node's, so both kinds of cluster serve packages alike.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path

from cluster.daemons import Daemons
from cluster.processes import Process
from k8s_simulation.node.python_image import HostPython, find_python
from k8s_simulation.node.relay import Relay

READY_SECONDS = 30.0
TESTS = Path(__file__).resolve().parent.parent


def start(daemons: Daemons, cache: Path) -> Process:
    """Start the relay of a cluster and wait until it listens."""
    layout = daemons.layout
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from cluster.relay import main; main(sys.argv[1:])"
    arguments = [layout.host_address, str(layout.relay_port), str(cache)]
    process = daemons.start("package-relay", [sys.executable, "-c", program, str(TESTS), *arguments])

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((layout.host_address, layout.relay_port)) == 0

    daemons.wait(listens, "the package relay", READY_SECONDS, process)
    return process


async def serve(address: str, port: int, cache: Path) -> None:
    """Serve until SIGTERM or SIGINT."""

    async def python() -> HostPython:
        return await asyncio.to_thread(find_python, cache)

    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    relay = Relay(python, cache)
    listener = socket.create_server((address, port))
    try:
        await relay.start(listener)
        await stopped.wait()
    finally:
        await relay.close()


def main(arguments: list[str]) -> None:
    """The process's entry."""
    address, port, cache = arguments
    asyncio.run(serve(address, int(port), Path(cache)))

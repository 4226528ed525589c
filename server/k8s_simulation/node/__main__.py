"""`python -m k8s_simulation.node`: the composition root of the node process.

Decides between the two sandboxes, starts the pod network, the package relay and the kubelet server, and runs the agent
until SIGTERM or SIGINT. The only place that reads the command line. Everything of the pods ends with this process,
however it ends. A simulated cluster starts it with tokens in files; with `--kubeconfig` it joins any other cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import shutil
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from k8s_simulation.node import access, images, isolated, names, relay
from k8s_simulation.node.access import Access, BadAccess
from k8s_simulation.node.agent import Agent, CannotJoin, machine_capacity
from k8s_simulation.node.callers import Callers, ReviewedCertificates, SharedToken
from k8s_simulation.node.events import EventRecorder
from k8s_simulation.node.images import Catalogue
from k8s_simulation.node.kube import KubeClient
from k8s_simulation.node.logs import Rotation
from k8s_simulation.node.memory import MemoryWatch
from k8s_simulation.node.network import HostNetwork, PodNetwork
from k8s_simulation.node.node import Node, Taint
from k8s_simulation.node.relay import Relay
from k8s_simulation.node.sandbox import Sandbox, SandboxFault
from k8s_simulation.node.server import CERTIFICATE, KubeletServer
from k8s_simulation.node.services import ServiceTable
from k8s_simulation.node.unisolated import Unisolated
from k8s_simulation.signals import until_signalled

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")

log = logging.getLogger("k8s_simulation.node")


class CannotStart(Exception):
    """The node refuses to start; the message says what is missing and the way out."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m k8s_simulation.node", description="The simulated cluster's node.")
    made.add_argument("--kubeconfig", type=Path, metavar="FILE", help="join the cluster of its current context")
    made.add_argument("--client-ca", type=Path, metavar="FILE", help="whose client certificates may ask for logs and "
                      "commands, if the API server lets them use nodes/proxy (with --kubeconfig)")  # fmt: skip
    made.add_argument("--certificate", type=Path, metavar="FILE", help="what logs and commands are served with: "
                      "certificate and key, one PEM file; by default self-signed")  # fmt: skip
    made.add_argument("--address", default="127.0.0.1", help="where logs and commands are served, the InternalIP")
    made.add_argument("--port", type=int, default=0, help="its port; 0 picks one")
    made.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="label of the Node")
    made.add_argument("--taint", action="append", default=[], metavar="KEY=VALUE:EFFECT", help="taint of the Node")
    made.add_argument("--api", metavar="URL", help="address of the API server (without --kubeconfig)")
    made.add_argument("--token-file", type=Path, help="file with its bearer token")
    made.add_argument("--ca", type=Path, help="its CA certificate")
    made.add_argument("--kubelet-token-file", type=Path, help="token that the API server presents to the node")
    made.add_argument("--name", default="simulated", help="name of the Node object")
    made.add_argument("--data", required=True, type=Path, help="folder for pods, volumes and logs; owned by this node")
    made.add_argument("--image", action="append", default=[], metavar="REF=DIR", help="run an image from a folder")
    made.add_argument("--agent", type=Path, help="the k8s-execution-agent program, for images of that name")
    made.add_argument("--allow-unisolated", action="store_true", help="run pods as plain processes if need be")
    made.add_argument("--pods", type=int, default=110, help="how many pods fit")
    made.add_argument("--cpu", default="", help="CPU capacity, default the machine's")
    made.add_argument("--memory", default="", help="memory capacity, default the machine's")
    made.add_argument("--log-rotation", type=int, default=10 << 20, metavar="BYTES", help="size of a log file")
    made.add_argument("--verbose", action="store_true")
    return made


def image_folders(pairs: list[str]) -> dict[str, Path]:
    """`REF=DIR` pairs. Raises CannotStart."""
    found = {}
    for pair in pairs:
        reference, equals, folder = pair.partition("=")
        if not equals or not Path(folder).is_dir():
            raise CannotStart(f"--image {pair}: REF=DIR is needed, and DIR must be a folder")
        found[reference] = Path(folder).resolve()
    return found


def labels_and_taints(options: argparse.Namespace) -> tuple[dict[str, str], tuple[Taint, ...]]:
    """What the Node object is marked with. Raises CannotStart."""
    labels, taints = {}, []
    for text in options.label:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise CannotStart(f"--label {text}: KEY=VALUE is needed")
        labels[key] = value
    for text in options.taint:
        marked, _, effect = text.rpartition(":")
        key, _, value = marked.partition("=")
        if not key or effect not in EFFECTS:
            raise CannotStart(f"--taint {text}: KEY=VALUE:EFFECT is needed, EFFECT one of {', '.join(EFFECTS)}")
        taints.append(Taint(key, value, effect))
    return labels, tuple(taints)


def chosen_access(options: argparse.Namespace) -> Access:
    """How the API server is reached. Raises CannotStart or BadAccess."""
    if options.kubeconfig:
        return access.from_kubeconfig(options.kubeconfig)
    if not (options.api and options.token_file and options.ca):
        raise CannotStart("--kubeconfig is needed, or all of --api, --token-file and --ca")
    return access.from_files(options.api, options.token_file, options.ca)


def chosen_callers(options: argparse.Namespace, client: KubeClient) -> Callers:
    """Who may ask for logs and commands. Raises CannotStart."""
    if options.kubelet_token_file:
        return SharedToken(options.kubelet_token_file.read_text().strip())
    if options.client_ca:
        return ReviewedCertificates(client, options.name, options.client_ca)
    raise CannotStart("--client-ca is needed: the authority of the API server's client certificate; or, for an API "
                      "server that presents a token, --kubelet-token-file")  # fmt: skip


async def choose_sandbox(stack: AsyncExitStack, *, allow_unisolated: bool) -> tuple[Sandbox, PodNetwork | HostNetwork]:
    """Isolation if this machine allows it, else plain processes if the user does. Raises CannotStart."""
    network = PodNetwork()
    reason = await isolated.unavailable(network)
    if not reason:
        stack.push_async_callback(network.close)
        return isolated.Isolated(network), network
    if not allow_unisolated:
        raise CannotStart(
            f"pods cannot be isolated on this machine: {reason}. Needed are bubblewrap, iproute2 and user namespaces; "
            "or start with --allow-unisolated to run pods as plain processes that share the host's network"
        )
    log.warning("pods run unisolated: %s", reason)
    sandbox = Unisolated()
    sandbox.start()
    stack.callback(sandbox.close)
    return sandbox, HostNetwork()


async def start_pod_services(
    stack: AsyncExitStack, network: PodNetwork | HostNetwork, table: ServiceTable, found: Relay
) -> str:
    """The name server and the package relay; the relay's index URL, empty without one."""
    loop = asyncio.get_running_loop()
    if isinstance(network, PodNetwork):
        datagrams = await network.datagrams(53)
        transport, _ = await loop.create_datagram_endpoint(
            lambda: names.NameServer(lambda name, space: table.addresses(space, name) or None), sock=datagrams
        )
        stack.callback(transport.close)
    listener = await network.listen(network.gateway, relay.PORT if isinstance(network, PodNetwork) else 0)
    await found.start(listener)
    stack.push_async_callback(found.close)
    return f"http://{network.gateway}:{listener.getsockname()[1]}/simple/"


async def run(options: argparse.Namespace) -> None:
    """Compose and run until cancelled. Raises CannotStart."""
    data: Path = options.data.resolve()
    cache = images.cache_folder()
    reached, (labels, taints) = chosen_access(options), labels_and_taints(options)
    catalogue = Catalogue(image_folders(options.image), options.agent and options.agent.resolve(), cache)
    _prepare_folder(data)
    table = ServiceTable()
    capacity = machine_capacity(options.pods, options.cpu, options.memory)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, data / "pods", ignore_errors=True)
        stack.callback(shutil.rmtree, data / "claims", ignore_errors=True)
        stack.callback(_remove, data / "names.json", data / CERTIFICATE)
        sandbox, network = await choose_sandbox(stack, allow_unisolated=options.allow_unisolated)
        index_url = await start_pod_services(stack, network, table, Relay(catalogue.host_python, cache))
        client = await stack.enter_async_context(KubeClient(reached))
        callers = chosen_callers(options, client)
        node = Node(
            name=options.name,
            address=options.address,
            data=data,
            client=client,
            events=EventRecorder(client, options.name),
            catalogue=catalogue,
            sandbox=sandbox,
            network=network,
            services=table,
            memory=MemoryWatch(),
            allocatable=capacity,
            labels=labels,
            taints=taints,
            index_url=index_url,
            rotation=Rotation(max_bytes=options.log_rotation),
        )
        server = KubeletServer(node, callers, options.certificate)
        await server.start(options.port)
        stack.push_async_callback(server.close)
        agent = Agent(node, server.port, capacity)
        server.serve(agent)
        await agent.run()


def _prepare_folder(data: Path) -> None:
    """An empty folder for pods; what an earlier node left is removed."""
    for leftover in (data / "pods", data / "claims"):
        shutil.rmtree(leftover, ignore_errors=True)
    data.mkdir(parents=True, exist_ok=True)
    (data / "pods").mkdir(mode=0o700)  # Secrets of pods are files in there


def _remove(*files: Path) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def main() -> int:
    """Parse, run, and say in one sentence why not."""
    options = parser().parse_args()
    level = logging.DEBUG if options.verbose else logging.INFO
    # Every container costs a few descriptors; the usual soft limit of 1024 is for programs that use select().
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    logging.basicConfig(level=level, format="node %(levelname)s %(message)s", stream=sys.stderr)
    try:
        asyncio.run(until_signalled(run(options)))
    except (CannotStart, CannotJoin, BadAccess, SandboxFault, OSError, ValueError) as error:
        sys.stderr.write(f"the simulated node cannot start: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The link between host and node, and the routes on both sides. Nothing a pod sends can leave the machine.

The node has no default route: it knows its pods, its services and the host's end of the link. So an image that is not
there fails at once, whatever a test does. Only `ip` commands; what was made is in the journal before it is made.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from cluster.faults import ClusterFault
from cluster.layout import Layout
from cluster.state import Journal

COMMAND_SECONDS = 30


def run(command: Sequence[str]) -> str:
    """Run a short command; its output. Raises ClusterFault with what it said if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterFault(f"`{' '.join(command)}`: {error}") from error
    if done.returncode != 0:
        raise ClusterFault(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def link_exists(name: str) -> bool:
    """True if the host has this link."""
    return Path(f"/sys/class/net/{name}").exists()


def connect(layout: Layout, node_pid: int, inside: Sequence[str], journal: Journal) -> None:
    """Join host and node. `inside` is the prefix that runs a command in the node's namespaces."""
    host, node = layout.host_link, layout.node_link
    journal.link(host)
    run(["ip", "link", "add", host, "type", "veth", "peer", "name", node, "netns", str(node_pid)])
    run(["ip", "address", "add", f"{layout.host_address}/30", "dev", host])
    run(["ip", "link", "set", host, "up"])
    run([*inside, "ip", "address", "add", f"{layout.node_address}/30", "dev", node])
    run([*inside, "ip", "link", "set", node, "up"])
    run([*inside, "ip", "link", "set", "lo", "up"])
    run([*inside, "sysctl", "-qw", "net.ipv4.ip_forward=1"])
    run(["ip", "route", "replace", layout.pods, "via", layout.node_address, "dev", host])
    # The first look-up of a route comes before the service's address is translated, so it needs a route of its own.
    run([*inside, "ip", "route", "add", layout.services, "via", layout.host_address])


def queue_to_policy_agent(inside: Sequence[str], queue: int) -> None:
    """Let the policy agent judge the first packet of every forwarded connection.

    By iptables, since the agent's own nftables rules need `nft … queue`, which not every kernel has.
    """
    forward = [*inside, "iptables", "-w", "-A", "FORWARD", "-m", "conntrack"]
    run([*forward, "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"])
    run([*forward, "--ctstate", "NEW", "-j", "NFQUEUE", "--queue-num", str(queue)])


def _silence(layout: Layout) -> list[list[str]]:
    """The rules that drop all traffic over the link, at the node's end: they vanish with the node."""
    link = layout.node_link
    return [["INPUT", "-i", link], ["FORWARD", "-i", link], ["FORWARD", "-o", link], ["OUTPUT", "-o", link]]


def cut(layout: Layout, inside: Sequence[str]) -> None:
    """Drop everything between host and node without a word: connections stay open and silent."""
    mend(layout, inside)
    for chain, *where in _silence(layout):
        run([*inside, "iptables", "-w", "-I", chain, *where, "-j", "DROP"])


def mend(layout: Layout, inside: Sequence[str]) -> None:
    """Let traffic pass again; fine if it passes."""
    present = run([*inside, "iptables", "-w", "-S"])
    for chain, *where in _silence(layout):
        if f"-A {chain} {' '.join(where)} -j DROP" in present:
            run([*inside, "iptables", "-w", "-D", chain, *where, "-j", "DROP"])


def disconnect(links: Sequence[str]) -> None:
    """Remove links; the node's ends and all routes over them go along. Ends that are gone already are fine."""
    for name in links:
        if not link_exists(name):
            continue
        try:
            run(["ip", "link", "delete", name])
        except ClusterFault:
            if link_exists(name):  # it may go with the node's namespace while we ask
                raise

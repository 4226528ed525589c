"""Two image registries at the host's end of the link, one for anybody, one with a password, behind TLS.

They make pulls, refusals and missing images real. Their certificate is signed by the cluster's authority; the password
is random, made for each cluster, and only in its folder.
"""

from __future__ import annotations

import secrets
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster import configs, push
from cluster.daemons import Daemons
from cluster.faults import ClusterFault
from cluster.images import AGENT, LIBRARY
from cluster.layout import Layout
from cluster.processes import Process
from cluster.push import Target

USER = "tests"
READY_SECONDS = 30.0
OPEN_IMAGES = frozenset({"busybox:1", "python:3-slim", AGENT})
PRIVATE_IMAGES = frozenset({"busybox:1"})


@dataclass(frozen=True, slots=True)
class Registry:
    """One of the two: the name of its process and files, and where it answers."""

    name: str
    address: str
    private: bool


def both(layout: Layout) -> tuple[Registry, Registry]:
    """The one for anybody and the one with a password."""
    return Registry("registry", layout.registry, False), Registry("private-registry", layout.private_registry, True)


def target(layout: Layout, registry: Registry) -> Target:
    """What it takes to push there."""
    password = layout.registry_password.read_text(encoding="ascii") if registry.private else ""
    return Target(registry.address, layout.pki / "ca.crt", USER if registry.private else "", password)


def write_configs(daemons: Daemons) -> None:
    """Files of both, for themselves and for containerd, which must find them at its start; makes the password."""
    layout = daemons.layout
    layout.registry_password.touch(mode=0o600)
    layout.registry_password.write_text(secrets.token_urlsafe(24), encoding="ascii")
    passwords = layout.pki / "registry-passwords"
    passwords.touch(mode=0o600)
    passwords.write_text(_line(daemons.programs["registry"], layout.registry_password), encoding="ascii")
    for registry in both(layout):
        storage = layout.folder / registry.name
        text = configs.registry(layout, registry.address, storage, passwords if registry.private else None)
        (layout.folder / f"{registry.name}.yaml").write_text(text, encoding="utf-8")
        hosts = layout.folder / "registries" / registry.address / "hosts.toml"
        hosts.parent.mkdir(parents=True)
        hosts.write_text(configs.registry_hosts(layout, registry.address), encoding="utf-8")


def _line(program: str, password: Path) -> str:
    """The user and the hash (bcrypt) of the password, as the registry reads it."""
    with password.open("rb") as file:
        done = subprocess.run(
            [program, "htpasswd", USER], stdin=file, capture_output=True, text=True, timeout=30, check=False
        )
    if done.returncode != 0:
        raise ClusterFault(f"the registry's password cannot be hashed: {done.stderr}")
    return done.stdout


def start(daemons: Daemons) -> None:
    """Start both and wait until they listen. The host's end of the link must be there."""
    for registry, process in [(registry, _start(daemons, registry)) for registry in both(daemons.layout)]:
        host, _, port = registry.address.partition(":")

        def listens(address: tuple[str, int] = (host, int(port))) -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(address) == 0

        daemons.wait(listens, f"the {registry.name}", READY_SECONDS, process)


def fill(layout: Layout, archives: Sequence[Path]) -> None:
    """Push the images that a plan can name, as `busybox:1` and so on. Raises ClusterFault if a registry refuses."""
    for registry in both(layout):
        wanted = PRIVATE_IMAGES if registry.private else OPEN_IMAGES
        named = [(archive, name.removeprefix(LIBRARY)) for archive in archives for name in push.names(archive)]
        for archive, name in named:
            if name in wanted:
                push.push(archive, target(layout, registry), name)


def _start(daemons: Daemons, registry: Registry) -> Process:
    config = daemons.layout.folder / f"{registry.name}.yaml"
    without_tracing = ["env", "OTEL_TRACES_EXPORTER=none"]  # by default it looks for a collector
    return daemons.start(registry.name, [*without_tracing, daemons.programs["registry"], "serve", str(config)])

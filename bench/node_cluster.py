"""What the benchmarks on the real node share: the cluster, a `serve` on it, plain requests beside it, and a header.

The cluster is `tests/cluster` (docs/cluster.md) under a name of its own, taken down at the end if it was not up
before. Its kubelet is told not to rotate logs: who reads slower than the printer would lose lines on any way. It must
not measure anything.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.startup import wait_for
from cluster import builds, harness
from cluster.layout import Layout

NAME = "benchnode"
NO_ROTATION = "8Gi"


def say(message: str) -> None:
    """Progress, beside the figures."""
    sys.stderr.write(f"bench: {message}\n")


@contextlib.contextmanager
def node() -> Iterator[Layout]:
    """The cluster, with a kubelet that rotates no log."""
    before = harness.status(NAME)
    mine = before is None or not before.healthy
    layout = harness.up(NAME, say)
    try:
        _without_rotation(layout)
        yield layout
    finally:
        if mine:
            harness.down(NAME, say)


def _without_rotation(layout: Layout) -> None:
    path = layout.folder / "kubelet" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    if config["containerLogMaxSize"] != NO_ROTATION:
        path.write_text(yaml.safe_dump({**config, "containerLogMaxSize": NO_ROTATION}, sort_keys=False))
        harness.restart(NAME, "kubelet", say)


@dataclass(frozen=True, slots=True)
class Service:
    """A running `serve`: its process, and where it answers."""

    process: subprocess.Popen[bytes]
    address: str

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(int(f) for f in fields[11:13]) / os.sysconf("SC_CLK_TCK")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stopped as by Ctrl-Z, until the block ends."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def service(layout: Layout) -> Iterator[Service]:
    """The service on the cluster, from its ready file on."""
    with tempfile.TemporaryDirectory() as name:
        ready = Path(name, "ready")
        command = [str(Path(sys.executable).with_name("k8s-execution")), "serve", "--kubeconfig", layout.kubeconfig]
        command += ["--data", str(Path(name, "data")), "--grpc-address", "127.0.0.1:0", "--ready-file", str(ready)]
        process = subprocess.Popen([*map(str, command)], stdout=sys.stderr)
        try:
            wait_for(ready, process)
            yield Service(process, json.loads(ready.read_text())["grpc"])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


class Requests:
    """curl and kubectl with the cluster's own credentials."""

    def __init__(self, layout: Layout, folder: Path) -> None:
        """Write the credentials where curl can read them."""
        self._kubeconfig = str(layout.kubeconfig)
        programs = next(builds.folder(module) for module in builds.ALL if module.name == "kubernetes")
        self._kubectl = str(programs / "kubectl")
        config = yaml.safe_load(layout.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = cluster["server"]
        self._tls = ["--cacert", f"{folder}/ca.crt", "--cert", f"{folder}/me.crt", "--key", f"{folder}/me.key"]
        for path, data in (
            ("ca.crt", cluster["certificate-authority-data"]),
            ("me.crt", user["client-certificate-data"]),
            ("me.key", user["client-key-data"]),
        ):
            (folder / path).write_bytes(base64.b64decode(data))
            (folder / path).chmod(0o600)

    def curl(self, path: str) -> list[str]:
        """The command that reads a path as it comes."""
        return ["curl", "-N", "-sS", "--fail", *self._tls, self._server + path]

    def kubectl(self, *arguments: str) -> list[str]:
        """A kubectl command."""
        return [self._kubectl, "--kubeconfig", self._kubeconfig, *arguments]

    def get(self, path: str) -> dict[str, Any]:
        """The JSON of a path."""
        done = subprocess.run(self.curl(path), capture_output=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def header(layout: Layout) -> dict[str, Any]:
    """What every figure depends on."""
    flags = {}
    for name in ("kube-apiserver", "kubelet", "containerd"):
        found = [p for p in _commands() if p and p[0].endswith(f"/{name}") and str(layout.folder) in " ".join(p)]
        flags[name] = [a for a in found[0][1:] if a.startswith("--")] if found else []
    return {
        "kubernetes": builds.KUBERNETES_VERSION,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_before": [round(x, 2) for x in os.getloadavg()],
        "kubelet_log_rotation": NO_ROTATION,
        "flags": flags,
    }


def _commands() -> Iterator[list[str]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_text(errors="replace").rstrip("\0").split("\0")
        except OSError:
            continue  # it has ended meanwhile

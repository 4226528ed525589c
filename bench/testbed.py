"""The ground under the benchmarks of the control plane: a cluster, the service on it, how figures are told.

The cluster is named `bench`, made for one command and removed after it; what an interrupted one left is removed first.
It must not measure anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.startup import COMMAND, cpu_seconds, wait_for
from cluster import builds, controlplane, fakenodes, harness
from cluster.layout import Layout

NAME = "bench"
INOTIFY_INSTANCES = 8192


def say(message: str) -> None:
    """Progress for a person."""
    sys.stderr.write(f"bench: {message}\n")


@dataclass(frozen=True, slots=True)
class Bed:
    """A running cluster and a folder for whatever a benchmark writes."""

    layout: Layout
    folder: Path
    nodes: int
    fast: bool

    def kubectl(self, *words: str, stdin: str = "", check: bool = True) -> str:
        """Run kubectl as the administrator; what it printed. CalledProcessError if it fails."""
        done = subprocess.run(
            self.kubectl_command(*words), input=stdin, text=True, check=check, stdout=subprocess.PIPE, timeout=300
        )
        return done.stdout

    def kubectl_command(self, *words: str) -> list[str]:
        """The argv of a kubectl call: the cluster's own version, with one cache folder (its default lies at home)."""
        program = builds.folder(next(m for m in builds.ALL if m.name == "kubernetes")) / "kubectl"
        return [str(program), f"--kubeconfig={self.layout.kubeconfig}", f"--cache-dir={self.folder}/kubectl", *words]


@contextlib.contextmanager
def cluster(*, nodes: int = 0, fast: bool = False) -> Iterator[Bed]:
    """A fresh cluster until the block ends; with fake nodes, pods go to those only and need no toleration."""
    harness.down(NAME, say)
    with tempfile.TemporaryDirectory(prefix="k8s-execution-bench-") as folder:
        try:
            bed = Bed(harness.up(NAME, say, fake_nodes=nodes, fast=fast), Path(folder), nodes, fast)
            if nodes:
                _more_followers()
                bed.kubectl("cordon", bed.layout.node_name)
                bed.kubectl("taint", "nodes", f"--selector={fakenodes.MARK}=fake", f"{fakenodes.MARK}-")
            yield bed
        finally:
            harness.down(NAME, say)


def _more_followers() -> None:
    """Let kwok follow as many logs as there are containers: each takes an inotify instance, and the default is 128."""
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    if int(limit.read_text()) < INOTIFY_INSTANCES:
        limit.write_text(f"{INOTIFY_INSTANCES}\n")


class Service:
    """A running service process."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, log: Path) -> None:
        """Started and ready."""
        self.process = process
        self.address = address
        self.log = log

    def cpu_seconds(self) -> float:
        """Its user and system time so far."""
        return cpu_seconds(self.process.pid)


@contextlib.contextmanager
def service(bed: Bed, **settings: str) -> Iterator[Service]:
    """`k8s-execution serve` on the cluster until the block ends; `settings` are environment variables."""
    data = Path(tempfile.mkdtemp(prefix="service-", dir=bed.folder))
    ready, log = data / "ready", data / "log"
    command = [str(COMMAND), "serve", "--kubeconfig", str(bed.layout.kubeconfig), "--data", str(data / "data")]
    command += ["--grpc-address", "127.0.0.1:0", "--ready-file", str(ready)]
    own = {name: value for name, value in os.environ.items() if not name.startswith("K8S_EXECUTION_")}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**own, **settings}, stdout=output, stderr=output)
    try:
        wait_for(ready, process)
        yield Service(process, str(json.loads(ready.read_text())["grpc"]), log)
    except BaseException:
        sys.stderr.write(log.read_text(errors="replace")[-4000:])
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@dataclass(frozen=True, slots=True)
class Target:
    """One figure and its limit; `most` says that it may not be above it, else not below."""

    name: str
    value: float
    limit: float
    most: bool

    @property
    def held(self) -> bool:
        """Whether it is met."""
        return self.value <= self.limit if self.most else self.value >= self.limit


def at_most(name: str, value: float, limit: float) -> Target:
    """A figure that may not exceed its limit."""
    return Target(name, round(value, 3), limit, most=True)


def at_least(name: str, value: float, limit: float) -> Target:
    """A figure that may not fall short of its limit."""
    return Target(name, round(value, 3), limit, most=False)


def conditions(bed: Bed) -> dict[str, Any]:
    """What the figures depend on: versions, flags, and how busy the machine is now."""
    return {
        "kubernetes": builds.KUBERNETES_VERSION,
        "raised_flags": controlplane.RAISED if bed.fast else {},
        "etcd": "--unsafe-no-fsync",
        "fake_nodes": bed.nodes,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "kubernetes_asyncio": version("kubernetes-asyncio"),
        "cores": os.cpu_count(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Median, least and greatest."""
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
        "n": len(values),
    }


def report(where: Sequence[dict[str, Any]], figures: dict[str, Any], targets: Sequence[Target]) -> int:
    """Print everything as JSON; the exit code: 0 if every target is met."""
    rows = [
        {"name": t.name, "value": t.value, "target": f"{'≤' if t.most else '≥'} {t.limit:g}", "held": t.held}
        for t in targets
    ]
    print(json.dumps({"conditions": where, "figures": figures, "targets": rows}, indent=1, ensure_ascii=False))
    return 0 if all(t.held for t in targets) else 1

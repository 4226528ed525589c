"""A simulated cluster of a test's own, and its fault scripts.

For tests that make the cluster misbehave: what they break must not reach the cluster that other tests share.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.kubeapi import Kube

FAULTS = "/simulation/faults"
REAL = "K8S_EXECUTION_TEST_KUBECONFIG"
OF_THE_REAL = frozenset({"K8S_EXECUTION_PIP_INDEX_URL", "K8S_EXECUTION_EGRESS"})
Fault = dict[str, Any]


@contextmanager
def running(folder: Path, agent: Path) -> Iterator[Path]:
    """The kubeconfig of a simulated cluster that lives as long as the context."""
    ready, kubeconfig, log = folder / "ready", folder / "kubeconfig", folder / "log"
    command = [sys.executable, "-m", "k8s_simulation", "--port", "0", "--kubeconfig", str(kubeconfig)]
    command += ["--data", str(folder / "data"), "--ready-file", str(ready), "--agent", str(agent)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.02)  # a condition with a deadline: the process has no other way to tell
        yield kubeconfig
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    assert code in {0, -signal.SIGTERM}, log.read_text()[-3000:]


def environment(*arguments: str) -> dict[str, str]:
    """This process's environment for a command with these arguments.

    Where tests are pointed at a real cluster, its package index is for commands that name its kubeconfig: pods of a
    simulated cluster could not reach it.
    """
    real = os.environ.get(REAL)
    if real is None or real in arguments:
        return dict(os.environ)
    return {name: value for name, value in os.environ.items() if name not in OF_THE_REAL}


def fault(kind: str, **fields: Any) -> Fault:
    """One fault as docs/simulation.md lists them."""
    return {"kind": kind, **fields}


async def script(kube: Kube, *faults: Fault) -> None:
    """These faults instead of the present ones; none heals the cluster."""
    reply = await kube.request("PUT", FAULTS, list(faults))
    assert reply.status == 200, reply.body


async def add(kube: Kube, *faults: Fault) -> None:
    """These faults beside the present ones, or at once for those that act once."""
    reply = await kube.request("POST", FAULTS, list(faults))
    assert reply.status == 200, reply.body


async def seen(kube: Kube) -> list[int]:
    """How often the occasion of each fault of the script has come."""
    reply = await kube.request("GET", FAULTS)
    assert reply.status == 200, reply.body
    return list(reply.body["seen"])

"""kubectl, unmodified, in one namespace of one cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("kubectl")
PATIENCE = 120.0  # seconds that one command may take


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Kubectl:
    """`kubectl("get", "pods")`. Blocks; nothing of the user's own configuration is read or written."""

    kubeconfig: Path
    cache: Path
    namespace: str = "default"

    def __call__(self, *arguments: str, stdin: str = "") -> Said:
        """Run one command to its end."""
        command = [str(PROGRAM), "--kubeconfig", str(self.kubeconfig), "--cache-dir", str(self.cache)]
        done = subprocess.run(
            [*command, "-n", self.namespace, *arguments],
            input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    def asserted(self, *arguments: str, stdin: str = "") -> str:
        """Run a command that must succeed; what it printed."""
        said = self(*arguments, stdin=stdin)
        assert said.code == 0, f"kubectl {' '.join(arguments)} ended with {said.code}: {said.err}"
        return said.out

    @contextmanager
    def fresh(self, namespace: str) -> Iterator[Kubectl]:
        """The same in a new namespace, usable when this returns; deleted afterwards, without waiting."""
        self.asserted("create", "namespace", namespace)
        try:
            made = replace(self, namespace=namespace)
            made.asserted("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
            made.asserted("wait", "--for=create", "configmap/kube-root-ca.crt", "--timeout=30s")
            yield made
        finally:
            self.asserted("delete", "namespace", namespace, "--wait=false")

    def node(self) -> str:
        """The name of the only node."""
        (found,) = json.loads(self.asserted("get", "nodes", "-o", "json"))["items"]
        return str(found["metadata"]["name"])

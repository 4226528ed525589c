"""The service in the cluster as deploy/ puts it there: its own image, its Deployment, its rights, its volume.

Of deploy/ only the package index of this cluster is added. Who calls it is the command line, through a port-forward.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import harness, images, service_image
from cluster.layout import Layout
from deploy.rules import DEPLOY, allows, documents, granted, named, used_by_account
from support import plans
from support.kubectl import PROGRAM, Kubectl
from support.service import COMMAND

ACCOUNT = "system:serviceaccount:k8s-execution:k8s-execution"
INDEX = ("K8S_EXECUTION_PIP_INDEX_URL", "K8S_EXECUTION_EGRESS")
WAIT = "--timeout=120s"
OTHERS = ("10-namespaces.yaml", "20-rights.yaml", "30-confinement.yaml")


def manifests() -> list[dict[str, Any]]:
    """The objects of deploy/, with this cluster's package index."""
    found = documents()
    (deployment,) = [d for d in found if d["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container["env"] += [{"name": name, "value": os.environ[name]} for name in INDEX]
    return found


@pytest.fixture(scope="module")
def deployed(kubeconfig: Path, layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl in the service's namespace; everything of deploy/ is there, and gone afterwards."""
    assert set(INDEX) <= set(os.environ), f"{INDEX} must be set; `make test-cluster` does"
    harness.add_service_image(layout.name, print)
    admin = Kubectl(kubeconfig, tmp_path_factory.mktemp("kubectl"), namespace="")
    made = replace(admin, namespace="k8s-execution")
    admin.asserted("delete", "namespace", "k8s-execution", "k8s-execution-dry-run", "--ignore-not-found", "--wait")
    try:
        for name in OTHERS:  # in this order: what follows needs the namespaces
            admin.asserted("apply", "-f", str(DEPLOY / name))
        admin.asserted("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests()))
        made.asserted("rollout", "status", "deployment/k8s-execution", "--timeout=110s")
        yield made
    finally:
        admin.asserted("delete", "-f", str(DEPLOY), "--ignore-not-found", "--wait=false")


@contextmanager
def forwarded(kubectl: Kubectl, folder: Path) -> Iterator[str]:
    """The address under which the service in the cluster answers on this machine."""
    output = folder / "port-forward"
    command = [str(PROGRAM), "--kubeconfig", str(kubectl.kubeconfig), "-n", kubectl.namespace]
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*command, "port-forward", "service/k8s-execution", ":50051"], stdout=file, stderr=file
        )
    try:
        deadline = time.monotonic() + 60
        while "Forwarding from" not in (said := output.read_text()):
            assert process.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.05)  # a look, not a pause: kubectl has no other way to tell
        yield said.partition("Forwarding from ")[2].split(" ", 1)[0]
    finally:
        process.terminate()
        process.wait(30)


def test_the_images_are_those_of_the_deployment() -> None:
    """Nothing of the manifests has to be changed for them."""
    (container,) = named("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == service_image.NAME
    assert {"name": "K8S_EXECUTION_AGENT_IMAGE", "value": images.AGENT} in container["env"]


def test_an_execution_by_the_service_in_its_pod(deployed: Kubectl, tmp_path: Path) -> None:
    """By the command line: packages are installed, pytest's count comes back, nothing is left."""
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(plans.with_api(plans.suite())))
    with forwarded(deployed, tmp_path) as address:
        done = subprocess.run(
            [str(COMMAND), "run", str(plan), "--server", address, "-o", "json"],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    execution = json.loads(done.stdout)
    assert (execution["verdict"], execution["tests"]["passed"]) == ("PASSED", 1)
    assert execution["evidence"]["complete"], execution["evidence"]
    assert execution["cluster"]["kind"] == "KUBERNETES"
    deployed.asserted("wait", f"namespace/{execution['namespace']}", "--for=delete", WAIT)


def test_what_it_asked_for_is_granted(deployed: Kubectl, layout: Layout) -> None:
    """By the API server's own audit log; the tests above have made it ask for all that a run needs."""
    asked = used_by_account(layout.audit_log, ACCOUNT, "quality-fabric-", "k8s-execution-dry-run")
    assert {"create", "list", "watch", "delete"} <= {right.verb for right in asked}
    grants = granted()
    assert {right for right in asked if not allows(grants, right)} == set()


def test_history_outlives_the_pod(deployed: Kubectl, tmp_path: Path) -> None:
    """The data folder is a persistent volume: the next pod knows what the last one did."""
    deployed.asserted("delete", "pod", "--selector=app.kubernetes.io/name=k8s-execution", "--wait")
    deployed.asserted("rollout", "status", "deployment/k8s-execution", "--timeout=110s")
    with forwarded(deployed, tmp_path) as address:
        done = subprocess.run(
            [str(COMMAND), "list", "--all", "--server", address, "-o", "json"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "PASSED" in done.stdout

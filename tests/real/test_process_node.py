"""The simulation's process node in a real cluster: a real API server admits it, reads its logs, runs commands there.

It has the rights of a kubelet and of kube-proxy and no others (Node authorizer, NodeRestriction); nothing but the pods
of these tests tolerates its taint.
"""

from __future__ import annotations

import io
import os
import ssl
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cluster.pki import PROCESS_NODE
from support.kubeapi import Kube, Object
from support.kubectl import Kubectl
from support.kubeobjects import container, has_condition, phase, pod

VARIABLE = "K8S_EXECUTION_TEST_NODE_CREDENTIALS"
MARK = "example.com/only"
PATIENCE = 90.0


@dataclass(frozen=True)
class ProcessNode:
    """The running node, and the folder with the certificates of the cluster."""

    pki: Path
    log: Path
    data: Path

    def command(self, *options: str) -> list[str]:
        """The node's command line, as docs/simulation.md has it."""
        return [sys.executable, "-m", "k8s_simulation.node", "--kubeconfig", str(self.pki / "process-node.kubeconfig"),
                "--client-ca", str(self.pki / "ca.crt"), "--certificate", str(self.data / "serving.pem"),
                "--data", str(self.data), *options]  # fmt: skip


@pytest.fixture(scope="module")
def node(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessNode]:
    """A process node that is Ready; it, its Node and its right to read Services are gone afterwards."""
    given = os.environ.get(VARIABLE)
    if not given:
        pytest.fail(f"{VARIABLE} must name the folder with process-node.kubeconfig; `make test-cluster` sets it")
    folder = tmp_path_factory.mktemp("node")
    made = ProcessNode(Path(given), folder / "log", folder / "data")
    made.data.mkdir()
    pair = [(made.pki / f"process-node.{suffix}").read_text() for suffix in ("crt", "key")]
    (made.data / "serving.pem").write_text("".join(pair))
    admin = Kubectl(kubeconfig, folder / "cache")
    binding = f"{PROCESS_NODE}-services"
    admin("create", "clusterrolebinding", binding, "--clusterrole=system:node-proxier",
          f"--user=system:node:{PROCESS_NODE}")  # fmt: skip
    command = made.command("--name", PROCESS_NODE, "--label", f"{MARK}=yes", "--taint", f"{MARK}=yes:NoSchedule")
    with made.log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        waiting = ("wait", "--for=condition=Ready", f"node/{PROCESS_NODE}", "--timeout=5s")
        deadline = time.monotonic() + PATIENCE
        while admin(*waiting).code != 0:
            assert process.poll() is None and time.monotonic() < deadline, made.log.read_text()[-3000:]
        yield made
    finally:
        process.terminate()
        code = process.wait(30)
        admin.asserted("delete", "node", PROCESS_NODE, "--ignore-not-found")
        admin.asserted("delete", "clusterrolebinding", binding)
    assert code == 0, made.log.read_text()[-3000:]


@pytest.fixture
async def kube(kubeconfig: Path) -> AsyncIterator[Kube]:
    """A client of the real cluster."""
    async with Kube(kubeconfig) as client:
        yield client


@pytest.fixture
def namespace(node: ProcessNode, kubectl: Kubectl) -> str:
    """A fresh namespace, with the node there."""
    assert node.data.exists()
    return kubectl.namespace


def there(namespace: str, *command: str, **more: Any) -> Object:
    """A pod that only the process node takes."""
    tolerations = [{"key": MARK, "operator": "Exists"}]
    return pod(namespace, *command, nodeSelector={MARK: "yes"}, tolerations=tolerations, **more)


async def running(kube: Kube, namespace: str, script: str = "exec sleep 600", **more: Any) -> None:
    """Such a pod, Ready."""
    await kube.created(there(namespace, "sh", "-c", script, **more))
    await kube.until("pods", namespace, "p", has_condition("Ready"), PATIENCE)


async def test_the_node_is_registered_with_its_taint_and_keeps_a_lease(kube: Kube, namespace: str) -> None:
    assert namespace
    found = (await kube.get("nodes", "", PROCESS_NODE)).body
    assert found["spec"]["taints"] == [{"key": MARK, "value": "yes", "effect": "NoSchedule"}]
    assert found["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] > 0
    lease = (await kube.get("leases", "kube-node-lease", PROCESS_NODE)).body
    assert lease["spec"]["holderIdentity"] == PROCESS_NODE
    before = lease["spec"]["renewTime"]
    await kube.until("leases", "kube-node-lease", PROCESS_NODE, lambda o: o["spec"]["renewTime"] > before, PATIENCE)


async def test_a_pod_goes_through_the_phases_of_a_kubelet(kube: Kube, namespace: str) -> None:
    version = (await kube.request("GET", f"/api/v1/namespaces/{namespace}/pods")).body["metadata"]["resourceVersion"]
    made = await kube.created(there(namespace, "sh", "-c", "sleep 1; exit 4"))
    seen: list[str] = []
    async with kube.watch("pods", namespace, resourceVersion=version) as watch:
        while "Failed" not in seen:
            last = (await watch.next(PATIENCE))["object"]
            if last["status"]["phase"] not in seen:
                seen.append(last["status"]["phase"])
    assert seen == ["Pending", "Running", "Failed"]
    status = last["status"]
    assert (last["spec"]["nodeName"], status["qosClass"]) == (PROCESS_NODE, "BestEffort")
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 4
    assert {c["type"]: c["status"] for c in status["conditions"]}["Ready"] == "False"
    selector = f"involvedObject.uid={made['metadata']['uid']}"
    async with kube.watch("events", namespace, fieldSelector=selector) as watch:
        while (await watch.next(PATIENCE))["object"]["reason"] != "Started":
            pass


async def test_its_log_is_read_followed_and_cut_through_the_api_server(kube: Kube, namespace: str) -> None:
    await running(kube, namespace, "for i in 1 2 3; do echo $i; sleep 0.3; done; echo end; sleep 1")
    assert (await kube.log(namespace, "p", follow="true")).body == "1\n2\n3\nend\n"
    assert (await kube.log(namespace, "p", tailLines=2)).body == "3\nend\n"
    assert (await kube.log(namespace, "p", limitBytes=3)).body == "1\n2"
    assert (await kube.log(namespace, "p", timestamps="true")).body.splitlines()[0].endswith("Z 1")


async def test_kubectl_shows_the_log_and_that_of_the_run_before(kube: Kube, namespace: str, kubectl: Kubectl) -> None:
    await kube.created(there(namespace, "sh", "-c", "echo once; exit 1", restartPolicy="Always"))
    await kube.until(
        "pods", namespace, "p", lambda o: o["status"].get("containerStatuses", [{}])[0].get("restartCount"), PATIENCE
    )
    assert kubectl.asserted("logs", "p", "--previous") == "once\n"
    assert kubectl.asserted("logs", "p", "-c", "main") == "once\n"


async def test_a_client_of_v4_runs_commands_there(kube: Kube, namespace: str) -> None:
    await running(kube, namespace)
    result = await kube.exec(namespace, "p", ["sh", "-c", "echo out; echo err >&2; exit 7"], protocol="v4")
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 7)
    assert (await kube.exec(namespace, "p", ["true"], protocol="v4")).exit_code == 0


async def test_kubectl_of_today_is_told_what_the_node_speaks(kube: Kube, namespace: str, kubectl: Kubectl) -> None:
    await running(kube, namespace)  # kubectl speaks v5, which a real API server translates to SPDY for its nodes
    said = kubectl("exec", "p", "--", "true")
    assert said.code == 1
    assert "this node runs commands over WebSocket (v4.channel.k8s.io, v5.channel.k8s.io), not SPDY" in said.err


async def test_a_tar_stream_goes_both_ways_by_v4(kube: Kube, namespace: str) -> None:
    await running(kube, namespace)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("file")
        entry.size = 200_000
        archive.addfile(entry, io.BytesIO(b"x" * entry.size))
    size = len(packed.getvalue())  # v4 cannot close the stream: the command must know where it ends
    unpack = f"head -c {size} | tar xf - -C /tmp"
    assert (
        await kube.exec(namespace, "p", ["sh", "-c", unpack], stdin=packed.getvalue(), protocol="v4")
    ).exit_code == 0
    result = await kube.exec(namespace, "p", ["tar", "cf", "-", "-C", "/tmp", "file"], protocol="v4")
    with tarfile.open(fileobj=io.BytesIO(result.stdout)) as archive:
        member = archive.extractfile("file")
        assert member is not None and member.read() == b"x" * 200_000


async def test_secrets_and_config_maps_of_a_pod_are_what_the_node_may_read(kube: Kube, namespace: str) -> None:
    metadata = {"name": "s", "namespace": namespace}
    await kube.created({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"k": "secret"}})
    await kube.created({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"f": "config"}})
    made = there(namespace, volumes=[{"name": "v", "configMap": {"name": "s"}}])
    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    mounts = [{"name": "v", "mountPath": "/v"}]
    made["spec"]["containers"] = [container("sh", "-c", "echo $A; cat /v/f", env=env, volumeMounts=mounts)]
    await kube.created(made)
    await kube.until("pods", namespace, "p", phase("Succeeded"), PATIENCE)
    assert (await kube.log(namespace, "p")).body == "secret\nconfig"


async def test_a_deleted_pod_gets_its_grace_and_is_confirmed(kube: Kube, namespace: str) -> None:
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done"
    await running(kube, namespace, script, terminationGracePeriodSeconds=30)
    address = f"{kube.url}/api/v1/namespaces/{namespace}/pods/p/log"
    async with kube.session.get(address, params={"follow": "true"}) as log:
        assert await log.content.readline() == b"up\n"
        await kube.delete("pods", namespace, "p")
        assert await log.content.readline() == b"bye\n"
    await kube.until_gone("pods", namespace, "p", PATIENCE)


async def test_callers_without_a_certificate_or_a_right_are_refused(
    kube: Kube, namespace: str, node: ProcessNode
) -> None:
    await running(kube, namespace)
    found = (await kube.get("nodes", "", PROCESS_NODE)).body["status"]
    port = found["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    address = f"https://127.0.0.1:{port}/containerLogs/{namespace}/p/main"
    answers = {}
    for who in ("", "scheduler", "apiserver-kubelet"):
        context = ssl.create_default_context(cafile=str(node.pki / "ca.crt"))
        if who:
            context.load_cert_chain(node.pki / f"{who}.crt", node.pki / f"{who}.key")
        async with aiohttp.ClientSession() as session, session.get(address, ssl=context) as answer:
            answers[who] = answer.status
    assert answers == {"": 401, "scheduler": 403, "apiserver-kubelet": 200}


def test_a_node_of_somebody_else_is_not_taken_over(node: ProcessNode, kubectl: Kubectl, tmp_path: Path) -> None:
    listed = kubectl.asserted("get", "nodes", "-o", "name").split()
    [other] = [n.removeprefix("node/") for n in listed if n != f"node/{PROCESS_NODE}"]
    command = node.command("--name", other, "--data", str(tmp_path / "data"))
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("the simulated node cannot start: the cluster ")

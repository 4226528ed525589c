"""A step's pod, as the service makes it, with the built agent: install, receive by exec, run, stat, tar."""

from __future__ import annotations

import importlib.util
import io
import json
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest

from unit.simulation_node.harness import Cluster, state
from unit.simulation_node.test_streams import Exec

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def agent() -> Path:
    """The agent's program, built on demand."""
    spec = importlib.util.spec_from_file_location("build_agent", ROOT / "tools" / "build_agent.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    built: Path = module.build()
    return built


def step_pod(step: dict[str, Any]) -> dict[str, Any]:
    """Containers and the rest of a step's pod spec."""
    mounts = [{"name": "k8s-execution", "mountPath": "/k8s-execution"}]
    work = "/k8s-execution/work"
    env = {"K8S_EXECUTION_STEP": json.dumps(step), "WORK_DIR": work, "HOME": work, "PYTHONUSERBASE": f"{work}/.local"}
    image = "registry.example/k8s-execution-agent:0.1"
    hold = ["/k8s-execution/bin/agent", "hold", "--max", "60s"]
    return {
        "initContainers": [
            {"name": "agent", "image": image, "command": ["/k8s-execution-agent", "install"], "volumeMounts": mounts}
        ],
        "containers": [
            {
                "name": "step",
                "image": "python:3-slim",
                "command": ["/k8s-execution/bin/agent", "run"],
                "env": [{"name": k, "value": v} for k, v in env.items()],
                "volumeMounts": mounts,
            },
            {"name": "collector", "image": image, "command": hold, "volumeMounts": mounts},
        ],
        "volumes": [{"name": "k8s-execution", "emptyDir": {}}],
        "restartPolicy": "Never",
        "securityContext": {"runAsUser": 1000, "runAsNonRoot": True},
    }


def framed_source(files: dict[str, str]) -> bytes:
    """A tar.gz in the frames that `agent receive` reads."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    data = packed.getvalue()
    return struct.pack("!I", len(data)) + data + struct.pack("!I", 0)


async def drive(cluster: Cluster, agent: Path) -> None:
    """The whole way of one step."""
    cluster.node.catalogue._agent = agent
    step = {
        "install": [["pip", "install", "-q", "iniconfig"]],
        "command": [
            "python",
            "-c",
            "import iniconfig, os; print('ran in', os.getcwd()); open('r.xml', 'w').write('<x/>')",
        ],
        "source": True,
        "timeout_ms": 60000,
        "grace_ms": 1000,
        "output_limit": 1 << 20,
    }
    spec = step_pod(step)
    await cluster.pod("step", *spec.pop("containers"), **spec)
    await cluster.until("step", lambda p: state(p, "collector").get("running"), seconds=30)
    exec_ = Exec(cluster, "step")
    exec_.url += "?container=collector"
    out, err, status = await exec_.run(
        "/k8s-execution/bin/agent", "receive", stdin=framed_source({"test_x.py": "x = 1\n"}), version=4
    )
    assert status["status"] == "Success", (out, err)
    assert json.loads(out)["files"] == 1
    pod = await cluster.until("step", lambda p: state(p, "step").get("terminated"), seconds=60)
    log = await cluster.log("step", container="step")
    assert state(pod, "step")["terminated"]["exitCode"] == 0, log
    assert log.startswith("ran in ")
    out, _, _ = await exec_.run("/k8s-execution/bin/agent", "stat", version=5)
    assert json.loads(out)["record"]["exit_code"] == 0
    out, _, status = await exec_.run("/k8s-execution/bin/agent", "tar", "--reports", "*.xml")
    with tarfile.open(fileobj=io.BytesIO(out)) as archive:
        assert archive.getnames() == ["reports/r.xml", "manifest.json"]
    _, _, status = await exec_.run("/k8s-execution/bin/agent", "release")
    await cluster.phase("step", "Succeeded")


async def test_a_step_runs_with_its_agent(cluster: Cluster, agent: Path) -> None:
    await drive(cluster, agent)


async def test_a_step_runs_with_its_agent_without_isolation(plain_cluster: Cluster, agent: Path) -> None:
    await drive(plain_cluster, agent)

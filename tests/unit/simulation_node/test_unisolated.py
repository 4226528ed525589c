"""The node without namespaces: what still works, and what is refused."""

from __future__ import annotations

from unit.simulation_node.harness import Cluster, eventually, shell, state
from unit.simulation_node.test_network import fetch, service
from unit.simulation_node.test_process import alive


async def test_volumes_work_through_translated_paths(plain_cluster: Cluster) -> None:
    mounts = [{"name": "v", "mountPath": "/k8s-execution"}]
    env = [{"name": "WORK_DIR", "value": "/k8s-execution/work"}]
    script = 'mkdir -p "$WORK_DIR" && echo hi > /k8s-execution/work/f && cat "$WORK_DIR/f" && pwd'
    await plain_cluster.pod(
        "vol",
        shell(script, volumeMounts=mounts, env=env, workingDir="/k8s-execution"),
        volumes=[{"name": "v", "emptyDir": {}}],
        restartPolicy="Never",
    )
    await plain_cluster.phase("vol", "Succeeded")
    text = await plain_cluster.log("vol")
    assert text.startswith("hi\n") and text.strip().endswith("/volumes/v")


async def test_pip_installs_into_a_private_environment(plain_cluster: Cluster) -> None:
    script = "pip install -q iniconfig && python -c 'import iniconfig, sys; print(sys.prefix)' && pip list"
    await plain_cluster.pod("pip", shell(script, image="python:3-slim"), restartPolicy="Never")
    pod = await plain_cluster.until("pip", lambda p: p["status"]["phase"] in {"Succeeded", "Failed"}, seconds=60)
    text = await plain_cluster.log("pip")
    assert pod["status"]["phase"] == "Succeeded", text
    assert "/runs/main/0/python" in text and text.splitlines()[1:] == [
        *["Package   Version", "--------- -------"],
        *[line for line in text.splitlines() if line.startswith(("iniconfig ", "pip "))],
    ]


async def test_service_names_resolve_in_python(plain_cluster: Cluster) -> None:
    server = shell("cd /tmp; exec python3 -m http.server 18931", image="python:3")
    await plain_cluster.pod("api", server)
    pod = await plain_cluster.ready("api")
    await service(plain_cluster, "api", [pod], 18932, 18931)
    await plain_cluster.pod("client", fetch(["http://api:18932/", "http://api.default:18932/"]), restartPolicy="Never")
    await plain_cluster.phase("client", "Succeeded")
    assert (await plain_cluster.log("client")).count("Directory listing") >= 2


async def test_a_second_container_on_the_same_port_is_refused_with_the_reason(plain_cluster: Cluster) -> None:
    ports = [{"containerPort": 18933}]
    await plain_cluster.pod("one", shell("sleep 60", ports=ports))
    await plain_cluster.ready("one")
    await plain_cluster.pod("two", shell("sleep 60", ports=ports))
    pod = await plain_cluster.until("two", lambda p: "CreateContainerError" in str(p["status"]))
    assert "port 18933" in state(pod)["waiting"]["message"] and "default/one" in state(pod)["waiting"]["message"]
    await plain_cluster.delete("one")
    await plain_cluster.ready("two")


async def test_a_missing_command_is_a_start_error(plain_cluster: Cluster) -> None:
    container = {"name": "main", "image": "busybox", "command": ["nosuch"]}
    await plain_cluster.pod("nothing", container, restartPolicy="Never")
    assert state(await plain_cluster.phase("nothing", "Failed"))["terminated"]["exitCode"] == 128


async def test_what_a_command_left_behind_ends_with_it(plain_cluster: Cluster) -> None:
    await plain_cluster.pod("behind", shell("sleep 4322 & echo $!"), restartPolicy="Never")
    await plain_cluster.phase("behind", "Succeeded")
    pid = int(await plain_cluster.log("behind"))
    await eventually(lambda: not alive(4322))
    assert pid > 1

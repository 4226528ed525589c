"""The pod network: services, names, probes, the package relay."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from k8s_simulation.node import probes
from k8s_simulation.node.network import HostNetwork
from unit.simulation_node.harness import Cluster, condition, shell, state


def web(port: int = 80, **more: Any) -> dict[str, Any]:
    """A container with a web server that names its host."""
    script = f"hostname > /srv/index.html; cd /srv; exec python3 -m http.server {port}"
    return {"name": "main", "image": "python:3-slim", "command": ["sh", "-c", script], **more}


async def service(cluster: Cluster, name: str, pods: list[dict[str, Any]], port: int, target: int) -> None:
    """A Service and its EndpointSlice, which the endpoint controller would write."""
    spec = {"ports": [{"port": port, "targetPort": target}], "selector": {"app": name}}
    await cluster.client.create("/api/v1/namespaces/default/services", {"metadata": {"name": name}, "spec": spec})
    piece = {
        "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [p["status"]["podIP"]], "conditions": {"ready": True}} for p in pods],
        "ports": [{"port": target, "protocol": "TCP", "name": ""}],
    }
    await cluster.client.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", piece)


def fetch(urls: list[str], tries: int = 100) -> dict[str, Any]:
    """A container that prints what each URL answers, waiting for the first answer."""
    script = (
        "import sys, time, urllib.request\n"
        "for url in sys.argv[1:]:\n"
        f"    for _ in range({tries}):\n"
        "        try:\n"
        "            print(urllib.request.urlopen(url, timeout=3).read().decode().strip()); break\n"
        "        except OSError as e:\n"
        "            last = e; time.sleep(0.05)\n"
        "    else:\n"
        "        print('none', last)\n"
    )
    return {"name": "main", "image": "python:3", "command": ["python", "-c", script, *urls]}


async def test_two_replicas_on_one_port_are_both_reached_by_the_service_name(cluster: Cluster) -> None:
    probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}
    for name in ("api-0", "api-1"):
        await cluster.pod(name, web(80, readinessProbe=probe))
    pods = [await cluster.ready(name) for name in ("api-0", "api-1")]
    assert len({p["status"]["podIP"] for p in pods}) == 2
    await service(cluster, "api", pods, 8080, 80)
    names = ["api", "api.default", "api.default.svc.cluster.local"]
    await cluster.pod("client", fetch([f"http://{n}:8080/" for n in names for _ in (1, 2)]), restartPolicy="Never")
    await cluster.phase("client", "Succeeded")
    assert sorted((await cluster.log("client")).split()) == ["api-0"] * 3 + ["api-1"] * 3


async def test_unknown_names_do_not_resolve_and_there_is_no_route_out(cluster: Cluster) -> None:
    await cluster.pod("out", fetch(["http://nosuch/", "http://192.0.2.1/"], tries=1), restartPolicy="Never")
    await cluster.phase("out", "Succeeded")
    text = await cluster.log("out")
    assert "Name or service not known" in text and "unreachable" in text


async def test_a_failing_readiness_probe_keeps_the_pod_unready_and_is_told(cluster: Cluster) -> None:
    probe = {"tcpSocket": {"port": 81}, "periodSeconds": 1}
    await cluster.pod("unready", shell("sleep 60", readinessProbe=probe))
    event = await cluster.until_event("unready", "Unhealthy")
    assert event["message"].startswith("Readiness probe failed: dial tcp 10.244.")
    assert "connection refused" in event["message"]
    assert condition(await cluster.get("unready"), "Ready") == "False"


async def test_an_exec_probe_makes_a_pod_ready_and_unready(cluster: Cluster) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ok"]}, "periodSeconds": 1, "failureThreshold": 1}
    await cluster.pod("flip", shell("touch /tmp/ok; sleep 2.5; rm /tmp/ok; sleep 60", readinessProbe=probe))
    await cluster.ready("flip")
    await cluster.until("flip", lambda p: condition(p, "Ready") == "False")


async def test_a_failing_liveness_probe_restarts_the_container(cluster: Cluster) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    await cluster.pod("dead", shell("trap 'exit 0' TERM; while :; do sleep 0.05; done", livenessProbe=probe))
    await cluster.until("dead", lambda p: p["status"]["containerStatuses"][0]["restartCount"] >= 1)
    assert "failed liveness probe, will be restarted" in (await cluster.until_event("dead", "Killing"))["message"]


async def test_a_startup_probe_holds_the_others_back(cluster: Cluster) -> None:
    startup = {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 30}
    await cluster.pod("starts", shell("sleep 0.3; touch /tmp/up; sleep 60", startupProbe=startup))
    pod = await cluster.until("starts", lambda p: state(p).get("running"))
    assert pod["status"]["containerStatuses"][0]["started"] is False
    await cluster.ready("starts")


async def test_a_failing_startup_probe_restarts_a_container_that_never_counted_as_started(cluster: Cluster) -> None:
    startup = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2}
    await cluster.pod("never", shell("trap 'exit 0' TERM; while :; do sleep 0.05; done", startupProbe=startup))
    pod = await cluster.until("never", lambda p: p["status"]["containerStatuses"][0]["restartCount"] >= 1)
    assert condition(pod, "Ready") == "False"


async def test_a_service_without_ready_endpoints_refuses_connections(cluster: Cluster) -> None:
    await service(cluster, "empty", [], 80, 80)
    await cluster.pod("refused", fetch(["http://empty/"], tries=1), restartPolicy="Never")
    await cluster.phase("refused", "Succeeded")
    assert "Connection refused" in await cluster.log("refused")


async def test_pip_installs_in_a_pod_through_the_relay_as_a_numeric_user(cluster: Cluster) -> None:
    env = [{"name": "HOME", "value": "/w"}, {"name": "PYTHONUSERBASE", "value": "/w/.local"}]
    script = "pip install -q iniconfig && python -c 'import iniconfig; print(iniconfig.__file__)' && pip list"
    await cluster.pod(
        "pip",
        shell(script, image="python:3-slim", env=env, volumeMounts=[{"name": "w", "mountPath": "/w"}], workingDir="/w"),
        volumes=[{"name": "w", "emptyDir": {}}],
        restartPolicy="Never",
        securityContext={"runAsUser": 1000, "runAsNonRoot": True},
    )
    pod = await cluster.until("pip", lambda p: p["status"].get("phase") in {"Succeeded", "Failed"}, seconds=60)
    text = await cluster.log("pip")
    assert pod["status"]["phase"] == "Succeeded", text
    assert "/w/.local/lib/python" in text
    rows = [line.split()[0] for line in text.splitlines()[1:] if line.strip() and not line.startswith("-")]
    assert [r for r in rows if r not in {"Package", "[notice]"}] == ["iniconfig", "pip"]


async def test_pip_installs_as_root_into_site_packages_with_scripts(cluster: Cluster) -> None:
    script = "pip install -q --root-user-action=ignore pygments && pygmentize -V"
    await cluster.pod("rootpip", shell(script, image="python:3"), restartPolicy="Never")
    pod = await cluster.until("rootpip", lambda p: p["status"].get("phase") in {"Succeeded", "Failed"}, seconds=60)
    text = await cluster.log("rootpip")
    assert pod["status"]["phase"] == "Succeeded" and text.startswith("Pygments version"), text


async def test_an_unknown_package_is_pips_ordinary_error(cluster: Cluster) -> None:
    await cluster.pod("nopkg", shell("pip install no-such-package-0123456789", image="python:3"), restartPolicy="Never")
    await cluster.phase("nopkg", "Failed", seconds=60)
    assert "No matching distribution found" in await cluster.log("nopkg")


async def test_a_users_folder_is_an_image(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "app.py").write_text("import os; print(os.getcwd(), os.environ['MODE'])")
    (folder / "image.json").write_text('{"cmd": ["python", "app.py"], "env": {"MODE": "test"}}')
    cluster.node.catalogue._user_images["docker.io/library/shop:1"] = folder
    await cluster.pod("shop", {"name": "main", "image": "shop:1"}, restartPolicy="Never")
    await cluster.phase("shop", "Succeeded")
    assert await cluster.log("shop") == "/app test\n"


async def test_a_users_requirements_are_installed_into_the_image(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "requirements.txt").write_text("iniconfig\n")
    cluster.node.catalogue._user_images["docker.io/library/shop:2"] = folder
    command = ["python", "-c", "import iniconfig; print('there')"]
    await cluster.pod("shop", {"name": "main", "image": "shop:2", "command": command}, restartPolicy="Never")
    await cluster.until("shop", lambda p: p["status"]["phase"] in {"Succeeded", "Failed"}, seconds=60)
    assert await cluster.log("shop") == "there\n"


async def test_the_python_image_is_the_hosts_and_no_other(cluster: Cluster) -> None:
    minor = sys.version_info.minor
    await cluster.pod("same", shell("python --version", image=f"python:3.{minor}-slim"), restartPolicy="Never")
    await cluster.phase("same", "Succeeded")
    await cluster.pod("other", shell("true", image=f"python:3.{minor + 1}"), restartPolicy="Never")
    await cluster.until("other", lambda p: "ErrImagePull" in str(p["status"]))


async def test_a_grpc_health_probe_reads_the_serving_status(cluster: Cluster) -> None:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def never(argv: tuple[str, ...], timeout: float) -> tuple[int, str]:
        raise AssertionError

    target = probes.Target(HostNetwork(), "127.0.0.1", {}, never)
    try:
        await servicer.set("shop", health_pb2.HealthCheckResponse.SERVING)
        assert await probes.look({"grpc": {"port": port, "service": "shop"}}, target) == ""
        await servicer.set("shop", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert "NOT_SERVING" in await probes.look({"grpc": {"port": port, "service": "shop"}}, target)
    finally:
        await server.stop(0)

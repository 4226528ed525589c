"""kubernetes_asyncio loads without its models, and stays whole for others."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[2]


def run(script: str) -> Any:
    """Run a script in a fresh interpreter and read the JSON it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=TESTS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_connecting_loads_no_generated_model_and_stays_small() -> None:
    """After a connection no model or API module is loaded, and the process is below 60 MiB."""
    found = run("""
        import asyncio, json, pathlib, re, sys, time
        from concurrent.futures import ThreadPoolExecutor
        from k8s_execution.kube.client import Client
        from k8s_execution.kube.cluster import read_identity
        from k8s_execution.kube.limits import KubeLimits
        from k8s_execution.kube.transport import open_transport
        from k8s_execution.kube.kubeconfig import KubeConfig

        class Clock:
            monotonic = staticmethod(time.monotonic)
            sleep = staticmethod(asyncio.sleep)

        async def answer(reader, writer):
            await reader.readuntil(b"\\r\\n\\r\\n")
            body = b'{"gitVersion": "v1", "metadata": {"uid": "u"}}'
            head = b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n"
            writer.write(head % len(body) + body)
            await writer.drain()
            writer.close()

        async def main():
            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            config = KubeConfig(server="http://127.0.0.1:%d" % server.sockets[0].getsockname()[1])
            limits = KubeLimits()
            with ThreadPoolExecutor(1) as pool:
                async with open_transport(config, limits, Clock(), pool) as transport:
                    identity = await read_identity(Client(transport, limits, Clock()))
            server.close()
            return identity.uid

        uid = asyncio.run(main())
        unwanted = ("kubernetes_asyncio.client.models.", "kubernetes_asyncio.client.api")
        loaded = [m for m in sys.modules if m.startswith(unwanted)]
        peak = int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
        print(json.dumps({"uid": uid, "loaded": loaded, "kib": peak}))
        """)
    assert found["uid"] == "u"
    assert found["loaded"] == []
    assert found["kib"] < 60 * 1024


def test_other_users_of_the_package_still_get_all_of_it() -> None:
    """An attribute of the real package loads it on demand, after the stub as before."""
    found = run("""
        import json
        from k8s_execution.kube import stub
        stub.load("client.rest")
        from kubernetes_asyncio import client, watch
        pod = client.V1Pod(metadata=client.V1ObjectMeta(name="x"))
        print(json.dumps([pod.metadata.name, watch.Watch.__name__, client.rest.RESTClientObject.__name__]))
        """)
    assert found == ["x", "Watch", "RESTClientObject"]


def test_a_loaded_package_is_used_as_it_is() -> None:
    """Where somebody imported the whole package before, nothing is replaced."""
    found = run("""
        import json
        import kubernetes_asyncio.client
        from k8s_execution.kube import stub
        print(json.dumps(stub.load("client.rest") is kubernetes_asyncio.client.rest))
        """)
    assert found is True

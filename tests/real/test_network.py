"""Network policies that are enforced: a step reaches what its plan permits and nothing else, from the first packet on.

Both ends are watched: what the step says of its connections, and what a listener on the host has seen of them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support import oracle, plans, reading
from support.kubectl import Kubectl
from support.service import Service, running

EGRESS = "K8S_EXECUTION_EGRESS"
CONNECT = """
import socket, sys
reached = 0
for _ in range(4):
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.5) as connection:
            reached += connection.recv(5) == b"hello"
    except OSError as error:
        print("no way:", error, flush=True)
print("reached", reached, "of 4", flush=True)
sys.exit(reached != 4)
"""


@dataclass(slots=True)
class Listener:
    """A server on the host that greets, and counts who came."""

    host: str
    port: int = 0
    peers: list[str] = field(default_factory=list)

    async def greet(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.peers.append(str(writer.get_extra_info("peername")[0]))
        writer.write(b"hello")
        await writer.drain()
        writer.close()


@pytest.fixture
async def listeners() -> AsyncIterator[tuple[Listener, Listener]]:
    """Two listeners on the host's end of the link to the node, which pods could route to."""
    given = os.environ.get(EGRESS, "")
    if not given:
        pytest.fail(f"{EGRESS} must name the host's address on the cluster's link; `make test-cluster` sets it")
    async with AsyncExitStack() as stack:
        made = (Listener(given.partition("/")[0]), Listener(given.partition("/")[0]))
        for one in made:
            server = await stack.enter_async_context(await asyncio.start_server(one.greet, one.host, 0))
            one.port = server.sockets[0].getsockname()[1]
        yield made


@pytest.fixture
async def service(tmp_path: Path, kubeconfig: Path) -> AsyncIterator[Service]:
    """The service, from outside of the cluster."""
    async with running(tmp_path / "data", kubeconfig) as made:
        yield made


def connect(name: str, to: Listener, **given: object) -> plans.Plan:
    """A suite whose first act is to connect, four times."""
    return plans.custom(name, "python", "-c", CONNECT, to.host, str(to.port), image="python:3-slim", **given)


async def test_a_permitted_address_is_reached_and_a_forbidden_one_never(
    service: Service, listeners: tuple[Listener, Listener]
) -> None:
    """Side by side in one environment; one port of one address is permitted."""
    permitted, forbidden = listeners
    plan = plans.plan(connect("permitted", permitted), connect("forbidden", forbidden))
    rule = {"cidr": f"{permitted.host}/32", "ports": [permitted.port]}
    execution_id = await service.execute({**plan, "environment": {"network": {"egress": [rule]}}})
    final = await oracle.check(service, execution_id, "TESTS_FAILED")
    verdicts = {s.name: s.exit_code for s in final.steps}
    lines = await reading.step_lines(service, execution_id)
    assert verdicts == {"permitted": 0, "forbidden": 1}, lines
    assert "reached 4 of 4" in lines
    assert "reached 0 of 4" in lines
    assert len(permitted.peers) == 4
    assert forbidden.peers == []


async def test_without_a_rule_nothing_outside_is_reached(
    service: Service, listeners: tuple[Listener, Listener]
) -> None:
    """The default of a plan."""
    execution_id = await service.execute(plans.plan(connect("outside", listeners[0])))
    await oracle.check(service, execution_id, "TESTS_FAILED")
    assert listeners[0].peers == []


async def test_an_environment_is_reached_from_inside_only(service: Service, kubectl: Kubectl) -> None:
    """A step gets the application's page; a pod of another namespace does not get through to it."""
    script = "wget -q -O - $API_URL && echo && echo inside || exit 1; until [ -e /tmp/stop ]; do sleep 0.2; done"
    execution_id = await service.execute(plans.with_api(plans.shell("inside", script)))
    await reading.until_printed(service, execution_id, "inside")
    there = (await service.status(execution_id)).namespace
    where = ("get", "pods", "-n", there)
    address = await asyncio.to_thread(
        kubectl.asserted,
        *where,
        "-l",
        "k8s-execution.maestro/application=api",
        "-o",
        "jsonpath={.items[0].status.podIP}",
    )
    fetch = f"timeout 3 wget -q -O - http://{address}:8080/ || exit 1"  # in a shell: process 1 would ignore the signal
    probe = ("run", "probe", "--image=busybox:1", "--restart=Never", "--command", "--", "sh", "-c", fetch)
    await asyncio.to_thread(kubectl.asserted, *probe)
    failed = ("wait", "--for=jsonpath={.status.phase}=Failed", "pod/probe", "--timeout=60s")
    await asyncio.to_thread(kubectl.asserted, *failed)
    pod = await asyncio.to_thread(kubectl.asserted, *where, "-o", "name", "--field-selector=status.phase=Running")
    step = next(name for name in pod.split() if "suite" in name)
    await asyncio.to_thread(kubectl.asserted, "exec", "-n", there, step, "-c", "step", "--", "touch", "/tmp/stop")
    await oracle.check(service, execution_id, "PASSED")

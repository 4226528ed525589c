"""A real cluster fails under the service: its node, its API server, its store, its runtime, its rules.

Every test runs executions through a service process, breaks the cluster, mends it, and ends with the invariants
(`support.oracle`): a true verdict with its cause, each line once and in order or an explicit gap, evidence sealed,
nothing left, and an API server that was not stormed. Each leaves the cluster healthy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from k8s_execution.domain import naming
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2, execution_service_pb2
from real.breaking import Audit, Machine
from support import kubeobjects, oracle, plans, reading
from support.kubeapi import MERGE_PATCH, Kube, path
from support.service import Service, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

OUTAGE = 6.0
"""Seconds that something is down: longer than every first retry, and shorter than what a node is given."""

PATIENCE = 120.0
"""Seconds until all has ended: after an outage the cluster's own clients may pause for half a minute."""

MANY_A_SECOND, MANY_IN_TEN = 60, 200
"""More requests of the service than these would be a storm; an undisturbed run of one suite peaks at about 20."""


COUNTS = """
n=0
until [ -e /tmp/enough ]; do
  n=$((n + 1))
  echo number $n
  sleep 0.1
done
"""
"""Ten numbered lines a second until it is told to end: a fault lies within a run however slow the machine is."""


async def counting(service: Service) -> str:
    """An execution of an application and a suite that counts; it has begun to."""
    plan = plans.with_api(plans.shell("counting", COUNTS), policy={"timeout": "5m", "ttl": "15m"})
    execution_id = await service.execute(plan)
    await reading.until_printed(service, execution_id, "number 10", PATIENCE)
    return execution_id


@pytest.fixture(scope="module")
def machine(kubeconfig: Path) -> Machine:
    """The cluster to break."""
    return Machine.of(kubeconfig)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory, kubeconfig: Path) -> AsyncIterator[Service]:
    """One service for all tests."""
    async with running(tmp_path_factory.mktemp("service") / "data", kubeconfig) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def kube(kubeconfig: Path, machine: Machine) -> AsyncIterator[Kube]:
    """A client of the cluster; what a test broke is mended behind it."""
    async with Kube(kubeconfig) as client:
        yield client
        await machine.mend(client)


@pytest_asyncio.fixture(loop_scope="module")
async def audit(machine: Machine) -> AsyncIterator[Audit]:
    """What the service asks of the API server during a test; in the end it was no storm."""
    found = machine.audit()
    yield found
    assert found.busiest() <= (MANY_A_SECOND, MANY_IN_TEN), found.repeated().most_common(10)


async def whole(service: Service, kube: Kube, execution_id: str) -> None:
    """Once told to end it passes, with every line once and in order, and says so."""
    namespace = (await service.status(execution_id)).namespace
    (pod,) = [p["metadata"]["name"] for p in await kube.items("pods", namespace) if "suite-" in p["metadata"]["name"]]
    async with asyncio.timeout(PATIENCE):
        while not await said_enough(kube, namespace, pod):  # noqa: ASYNC110 - the node is asked, nothing signals
            await asyncio.sleep(0.5)
    await service.done(execution_id, PATIENCE)
    final = await oracle.check(service, execution_id, "PASSED")
    assert_counted(await reading.step_lines(service, execution_id))
    assert final.evidence.complete, final.evidence.gaps


async def said_enough(kube: Kube, namespace: str, pod: str) -> bool:
    """Whether the step could be told to end."""
    try:
        told = await kube.exec(namespace, pod, ["touch", "/tmp/enough"], container=naming.STEP_CONTAINER)
    except aiohttp.WSServerHandshakeError:
        return False
    return told.exit_code == 0


def assert_counted(lines: Sequence[str]) -> None:
    """Each number once and in order, from the first, and some of them."""
    assert list(lines) == [f"number {i}" for i in range(1, len(lines) + 1)]
    assert len(lines) >= 10


@pytest.mark.parametrize("process", ["kubelet", "containerd"])
async def test_a_process_of_the_node_that_is_killed_and_comes_back(
    service: Service, machine: Machine, kube: Kube, audit: Audit, process: str
) -> None:
    """Meanwhile the service is killed too, and started again: it is told that logs cannot be had; they can, later."""
    execution_id = await counting(service)
    async with machine.without(process):
        await asyncio.sleep(OUTAGE / 2)
        await service.kill()
        await service.start()
        await asyncio.sleep(OUTAGE / 2)
    await whole(service, kube, execution_id)


async def test_an_api_server_that_is_killed_and_a_history_that_etcd_forgot(
    service: Service, machine: Machine, kube: Kube, audit: Audit
) -> None:
    """The history goes twice: beneath open watches, and while nobody watches. Old versions get 410, the run goes on."""
    (before,) = [n["metadata"]["resourceVersion"] for n in await kube.items("nodes")]
    execution_id = await counting(service)
    await machine.compact()
    await reading.until_printed(service, execution_id, "number 30")
    async with machine.without("kube-apiserver"):
        await machine.compact()
        await asyncio.sleep(OUTAGE)
    reply = await kube.request("GET", "/api/v1/pods", watch="true", resourceVersion=before)
    assert reply.body["object"]["code"] == 410, reply
    await whole(service, kube, execution_id)
    assert audit.repeated()["list /api/v1/pods"] >= 1, "nobody had to list again"


@asynccontextmanager
async def second_node(kube: Kube) -> AsyncIterator[None]:
    """Another node that is Ready and takes no pods: where all nodes are lost the node controller gives none of them up.

    (Master disruption mode, pkg/controller/nodelifecycle.) There is nothing behind it but its lease, renewed here.
    """
    taint = {"key": "tests.k8s-execution/second", "effect": "NoSchedule"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "second"}, "spec": {"taints": [taint]}}
    await kube.created(node)
    renewing = asyncio.create_task(renew(kube, "second"))
    try:
        await kube.until("nodes", "", "second", kubeobjects.has_condition("Ready"))
        yield
    finally:
        renewing.cancel()
        await asyncio.wait({renewing})
        await kube.delete("nodes", "", "second")


async def renew(kube: Kube, name: str) -> None:
    """What a kubelet does to be taken for alive: its condition once, its lease every few seconds."""
    ready = {"type": "Ready", "status": "True", "reason": "Test", "lastHeartbeatTime": now()}
    await kube.request("PATCH", f"/api/v1/nodes/{name}/status", {"status": {"conditions": [ready]}},
                       content_type=MERGE_PATCH)  # fmt: skip
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
             "metadata": {"name": name, "namespace": "kube-node-lease"},
             "spec": {"holderIdentity": name, "leaseDurationSeconds": 40}}  # fmt: skip
    await kube.create(lease)
    while True:
        await kube.patch("leases", "kube-node-lease", name, {"spec": {"renewTime": now()}})
        await asyncio.sleep(3)


def now() -> str:
    """The time as a lease has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def test_a_node_that_is_cut_off(service: Service, machine: Machine, kube: Kube, audit: Audit) -> None:
    """NODE_LOST about a minute and a half later, with the lines so far; cleaned when the node is back."""
    execution_id = await counting(service)
    async with second_node(kube), machine.without_link():
        told = await service.until(execution_id, "CLEANING", patience=180)
        assert told.verdict == execution_pb2.INFRASTRUCTURE_FAILED, told
    assert told.diagnosis.code == "NODE_LOST", told.diagnosis
    await service.done(execution_id, PATIENCE)
    final = await oracle.check(service, execution_id, "INFRASTRUCTURE_FAILED")
    assert_counted(await reading.step_lines(service, execution_id))
    assert not final.evidence.complete


LINES_A_SECOND, LOUD_SECONDS = 50_000, 6
LOUD = f"""
import time
begin = time.monotonic()
for second in range({LOUD_SECONDS}):
    time.sleep(max(0, begin + second - time.monotonic()))
    first = second * {LINES_A_SECOND}
    print("\\n".join(f"loud line {{n}}" for n in range(first, first + {LINES_A_SECOND})), flush=True)
"""


async def test_a_log_that_rotates_while_it_is_followed(service: Service, machine: Machine, kube: Kube) -> None:
    """50,000 lines a second, and a kubelet that rotates every three: each line once and in order."""
    loud = plans.custom("loud", "python", "-c", LOUD, image="python:3-slim")
    async with machine.kubelet_with(containerLogMaxSize="1Mi", containerLogMonitorInterval="3s"):
        execution_id = await service.execute(plans.plan(loud))
        await reading.until_printed(service, execution_id, f"loud line {LINES_A_SECOND * LOUD_SECONDS - 1}", PATIENCE)
        namespace = (await service.status(execution_id)).namespace
        assert machine.rotated_logs(namespace, naming.STEP_CONTAINER), "nothing was rotated, so nothing is shown"
        await service.done(execution_id, PATIENCE)
    final = await oracle.check(service, execution_id, "PASSED")
    lines = await reading.step_lines(service, execution_id)
    expected = [f"loud line {n}" for n in range(LINES_A_SECOND * LOUD_SECONDS)]
    assert reading.difference(lines, expected) == "", final.evidence.gaps
    assert final.evidence.complete, final.evidence.gaps


BEGUN = plans.hook("first", "echo begun; sleep 5")
"""Time to change the rules of the namespace before the suite's pod is made."""


async def begun(service: Service, *suites: plans.Plan, setup: Sequence[plans.Plan] = ()) -> tuple[str, str]:
    """An execution of which something has printed that it began, and its namespace."""
    execution_id = await service.execute(plans.plan(*suites, setup=list(setup)))
    await reading.until_printed(service, execution_id, "begun", PATIENCE)
    return execution_id, (await service.status(execution_id)).namespace


async def image_that_no_registry_has(service: Service, _: Kube) -> None:
    """IMAGE_PULL, with what the runtime said."""
    suite = plans.shell("s", "true", image="registry.invalid/nothing:1")
    final = await failed(service, await service.execute(plans.plan(suite)), "ENVIRONMENT_FAILED", "IMAGE_PULL")
    assert "registry.invalid/nothing:1" in final.diagnosis.message


async def quota_that_somebody_else_set(service: Service, kube: Kube) -> None:
    """QUOTA_EXCEEDED, with the API server's words, and not the timeout."""
    execution_id, namespace = await begun(service, plans.shell("s", "true"), setup=[BEGUN])
    await kube.created(kubeobjects.quota(namespace, pods="0"))
    final = await failed(service, execution_id, "ENVIRONMENT_FAILED", "QUOTA_EXCEEDED")
    assert "exceeded quota: q, requested: pods=1" in final.diagnosis.message


async def namespace_that_a_finalizer_holds(service: Service, kube: Kube) -> None:
    """The verdict stands, what blocks is told, and when it goes all is gone."""
    execution_id, namespace = await begun(service, plans.shell("s", "echo begun; sleep 2"))
    held = kubeobjects.configmap(namespace, "held")
    held["metadata"]["finalizers"] = ["tests.k8s-execution/hold"]
    await kube.created(held)
    try:
        warned = await until_warned(service, execution_id)
    finally:
        await kube.patch("configmaps", namespace, "held", {"metadata": {"finalizers": None}})
    assert (warned.phase, warned.verdict) == (execution_pb2.CLEANING, execution_pb2.PASSED)
    assert "tests.k8s-execution/hold" in warned.warnings[0], warned.warnings
    await service.done(execution_id, PATIENCE)
    await oracle.check(service, execution_id, "PASSED")


async def until_warned(service: Service, execution_id: str) -> execution_pb2.Execution:
    """Wait until clean-up is told to be blocked."""
    call = service.stub.Watch(execution_service_pb2.WatchRequest(execution_id=execution_id))
    async with asyncio.timeout(PATIENCE):
        async for answer in call:
            if any(w.startswith("CLEANUP_BLOCKED") for w in answer.event.execution.warnings):
                call.cancel()
                return answer.event.execution
    raise AssertionError("the end came without a warning")


async def step_that_fills_the_nodes_disk(service: Service, kube: Kube) -> None:
    """EVICTED by the kubelet itself, for the limit that the namespace gives its containers; the lines are kept."""
    greedy = plans.shell("s", "echo greedy; head -c 67108864 /dev/zero > /tmp/much; exec sleep 120")
    execution_id, namespace = await begun(service, greedy, setup=[BEGUN])
    limit = {"type": "Container", "default": {"ephemeral-storage": "16Mi"}}
    limits = {"metadata": {"name": "disk", "namespace": namespace}, "spec": {"limits": [limit]}}
    await kube.created({"apiVersion": "v1", "kind": "LimitRange", **limits})
    final = await failed(service, execution_id, "INFRASTRUCTURE_FAILED", "EVICTED")
    assert "ephemeral" in final.diagnosis.message, final.diagnosis
    assert "greedy" in await reading.step_lines(service, execution_id)


async def step_that_is_evicted_through_the_api(service: Service, kube: Kube) -> None:
    """EVICTED, as when a node is drained; the lines are kept."""
    execution_id, namespace = await begun(service, plans.shell("s", "echo begun; exec sleep 120"))
    (pod,) = await kube.items("pods", namespace)
    metadata = {"name": pod["metadata"]["name"], "namespace": namespace}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    reply = await kube.request("POST", path("pods", namespace, metadata["name"], "eviction"), eviction)
    assert reply.status == 201, reply.body
    await failed(service, execution_id, "INFRASTRUCTURE_FAILED", "EVICTED")
    assert await reading.step_lines(service, execution_id) == ["begun"]


async def failed(service: Service, execution_id: str, verdict: str, code: str) -> execution_pb2.Execution:
    """It ended with this verdict and this cause; the final execution."""
    await service.done(execution_id, PATIENCE)
    final = await oracle.check(service, execution_id, verdict)
    assert final.diagnosis.code == code, final.diagnosis
    return final


ONE_RUN = (
    image_that_no_registry_has,
    quota_that_somebody_else_set,
    namespace_that_a_finalizer_holds,
    step_that_fills_the_nodes_disk,
    step_that_is_evicted_through_the_api,
)
"""What goes wrong for one execution alone; all of them run side by side."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def side_by_side(service: Service, kubeconfig: Path) -> AsyncIterator[Mapping[str, asyncio.Task[None]]]:
    """All of `ONE_RUN` at work, by name."""
    async with Kube(kubeconfig) as client:
        tasks = {case.__name__: asyncio.create_task(case(service, client)) for case in ONE_RUN}
        yield tasks
        for task in tasks.values():
            task.cancel()
        await asyncio.wait(tasks.values())


@pytest.mark.parametrize("case", [case.__name__ for case in ONE_RUN])
async def test_one_run_meets(side_by_side: Mapping[str, asyncio.Task[None]], case: str) -> None:
    """Its own verdict and cause, in seconds; the neighbours do not notice."""
    await side_by_side[case]

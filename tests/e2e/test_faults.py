"""The cluster misbehaves in scripted ways; runs still end with the right verdict, whole logs and nothing left.

One cluster and one service for all tests of this file, so that each also runs where the one before has broken things.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from google.protobuf import json_format

from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2, execution_service_pb2
from support import cluster, oracle, plans, reading
from support.kubeapi import Kube, plural_of
from support.kubeobjects import has_condition
from support.service import Service, running

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
]

LINES = 50
PACED = f"for i in $(seq {LINES}); do echo number $i; sleep 0.1; done"
"""Five seconds of numbered lines: what happens between two of them happens while a test runs."""
NUMBERS = [f"number {i}" for i in range(1, LINES + 1)]


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory, agent: Path) -> Iterator[Path]:
    """A cluster that only this file breaks."""
    with cluster.running(tmp_path_factory.mktemp("faults"), agent) as path:
        yield path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory, kubeconfig: Path) -> AsyncIterator[Service]:
    """One service for all tests."""
    async with running(tmp_path_factory.mktemp("service") / "data", kubeconfig) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def kube(kubeconfig: Path) -> AsyncIterator[Kube]:
    """A client of the cluster; the faults of a test end with it."""
    async with Kube(kubeconfig) as client:
        yield client
        await cluster.script(client)


async def test_a_lost_reply_of_any_write_changes_nothing(service: Service, kube: Kube) -> None:
    """Every create and delete of a run in turn is carried out and its connection cut instead of answered."""
    writes = await writes_of(service, LITTLE)
    assert len(writes) >= 13, writes
    for verb, resource, nth in writes:
        await cluster.script(kube, cluster.fault("DropReply", verb=verb, resource=resource, nth=nth))
        execution_id = await service.execute(LITTLE)
        final = await oracle.check(service, execution_id, "PASSED")
        assert (await cluster.seen(kube))[0] >= nth, f"no run makes {verb} {resource} {nth} times"
        assert final.evidence.complete, (verb, resource, nth, final.evidence.gaps)
        assert await reading.step_lines(service, execution_id) == ["once"], (verb, resource, nth)


IDLE: plans.Plan = {
    "name": "idle",
    "image": "busybox:1",
    "command": ["sleep", "60"],
    "ports": [{"name": "http", "port": 8080}],
    "resources": plans.SMALL,
}
LITTLE = plans.plan(
    plans.shell("little", "echo once"),
    environment={
        "applications": [IDLE],
        "files": [{"path": "/srv/a", "content": "a"}],
        "secrets": {"A": {"value": "b" * 20}},
    },
)
"""Every kind of object that the service makes, and nothing that takes time."""


async def writes_of(service: Service, plan: plans.Plan) -> list[tuple[str, str, int]]:
    """Each write of a run as verb, resource and how manieth of its kind: all creates, then the deletes of the end."""
    request = execution_service_pb2.ValidateRequest(request=json_format.ParseDict(plan, EXECUTE()))
    made = Counter(plural_of(o.kind) for o in (await service.stub.Validate(request)).objects)
    writes = [("create", plural, nth) for plural, count in made.items() for nth in range(1, count + 1)]
    pods = made["jobs"] + made["deployments"]
    writes += [("delete", "pods", nth) for nth in range(1, pods + 1)]
    return [*writes, ("delete", "namespaces", 1)]


EXECUTE = execution_service_pb2.ExecuteRequest


async def test_watches_that_are_cut_every_second(service: Service, kube: Kube) -> None:
    """As a proxy with a short patience does: each goes on where it was, and the run does not notice."""
    execution_id = await service.execute(plans.with_api(plans.shell("paced", PACED)))
    cutting = asyncio.create_task(every_second(kube, cluster.fault("CutWatches")))
    try:
        await oracle.check(service, execution_id, "PASSED")
    finally:
        cutting.cancel()
        await asyncio.wait({cutting})
    assert await reading.step_lines(service, execution_id) == NUMBERS


async def every_second(kube: Kube, fault: cluster.Fault) -> None:
    """The stimulus, until it is cancelled."""
    while True:
        await cluster.add(kube, fault)
        await asyncio.sleep(1)


async def test_a_history_that_the_api_server_forgot(service: Service, kube: Kube) -> None:
    """410 on every watch, while provisioning and while tests run: all is listed again, what went meanwhile is seen."""
    forget = [cluster.fault("Compact"), cluster.fault("CutWatches", expired=True)]
    execution_id = await service.execute(plans.with_api(plans.shell("paced", PACED)))
    await service.until(execution_id, "PROVISIONING")
    await cluster.add(kube, *forget)
    await reading.until_printed(service, execution_id, NUMBERS[10])
    await cluster.add(kube, *forget)
    await oracle.check(service, execution_id, "PASSED")
    assert await reading.step_lines(service, execution_id) == NUMBERS


async def test_an_api_server_that_refuses_everything_for_seconds(service: Service, kube: Kube) -> None:
    """429, 500 and 503 by turns while one run tests and another begins: both end as if nothing had been."""
    first = await service.execute(plans.with_api(plans.shell("paced", PACED)))
    await reading.until_printed(service, first, NUMBERS[0])
    second = await service.execute(plans.with_api(plans.shell("late", "echo late")))
    for status, line in ((429, 16), (500, 32), (503, LINES - 1)):
        await cluster.script(kube, cluster.fault("Respond", status=status, times=0, retry_after=int(status == 429)))
        await reading.until_printed(service, first, NUMBERS[line])
    await cluster.script(kube)
    await service.done(second)
    for execution_id, lines in ((first, NUMBERS), (second, ["late"])):
        final = await oracle.check(service, execution_id, "PASSED")
        assert final.evidence.complete, final.evidence.gaps
        assert await reading.step_lines(service, execution_id) == lines


@pytest.mark.parametrize("kind", ["QuotaStatusDelay", "ServiceAccountDelay"])
async def test_what_a_new_namespace_needs_comes_late(service: Service, kube: Kube, kind: str) -> None:
    """The quota's status, or the ServiceAccount, two seconds after the namespace: waited for, no failure."""
    await cluster.script(kube, cluster.fault(kind, seconds=2))
    execution_id = await service.execute(LITTLE)
    await oracle.check(service, execution_id, "PASSED")


async def test_a_log_that_rotates_while_its_reader_is_cut_off_is_whole(service: Service, kube: Kube) -> None:
    """Files of 64 KiB, a new one every second, and every read cut off: the agent's file has what the log has lost."""
    await cluster.script(
        kube,
        cluster.fault("LogRotation", max_bytes=64 << 10, max_files=2, interval_seconds=1.0),
        cluster.fault("CutLogs", after_bytes=1_500_000),
    )
    loud = 'for round in 1 2 3 4 5 6; do seq -f "round $round line %.0f" 20000; sleep 0.5; done'
    execution_id = await service.execute(plans.plan(plans.shell("loud", loud)))
    final = await oracle.check(service, execution_id, "PASSED")
    lines = await reading.step_lines(service, execution_id)
    expected = [f"round {burst} line {number}" for burst in range(1, 7) for number in range(1, 20_001)]
    assert reading.difference(lines, expected) == "", final.evidence.gaps
    assert final.evidence.complete, final.evidence.gaps


async def test_an_evicted_step_is_the_infrastructures_failure(service: Service, kube: Kube) -> None:
    """EVICTED, not a failed test; the lines so far are kept."""
    execution_id = await service.execute(plans.plan(plans.shell("long", "echo begun; sleep 60")))
    await reading.until_printed(service, execution_id, "begun")
    namespace = (await service.status(execution_id)).namespace
    await cluster.script(kube, cluster.fault("EvictPod", pod="*", namespace=namespace))
    final = await oracle.check(service, execution_id, "INFRASTRUCTURE_FAILED")
    assert final.diagnosis.code == "EVICTED", final.diagnosis
    assert "begun" in await reading.step_lines(service, execution_id)


async def test_a_namespace_that_a_finalizer_holds_is_waited_for(service: Service, kube: Kube) -> None:
    """CLEANING with the verdict already told, DONE when the cause is gone."""
    await cluster.script(kube, cluster.fault("StuckNamespace", namespace="*"))
    execution_id = await service.execute(plans.plan(plans.shell("quick", "true")))
    namespace = (await service.status(execution_id)).namespace
    await kube.until("namespaces", "", namespace, has_condition("NamespaceFinalizersRemaining"))
    held = await service.status(execution_id)
    assert (held.phase, held.verdict) == (execution_pb2.CLEANING, execution_pb2.PASSED)
    await cluster.script(kube)
    await oracle.check(service, execution_id, "PASSED")


async def test_a_namespace_deleted_from_outside_is_told(service: Service, kube: Kube) -> None:
    """NAMESPACE_LOST, in seconds and not at the test's timeout."""
    execution_id = await service.execute(plans.plan(plans.shell("long", "echo begun; sleep 60")))
    await reading.until_printed(service, execution_id, "begun")
    reply = await kube.delete("namespaces", "", (await service.status(execution_id)).namespace)
    assert reply.status == 200, reply.body
    final = await oracle.check(service, execution_id, "INFRASTRUCTURE_FAILED")
    assert final.diagnosis.code == "NAMESPACE_LOST", final.diagnosis


async def test_a_pod_deleted_from_outside_is_told_and_not_run_again(service: Service, kube: Kube) -> None:
    """POD_LOST; its lines are those of one start."""
    execution_id = await service.execute(plans.plan(plans.shell("long", "echo begun; exec sleep 60")))
    await reading.until_printed(service, execution_id, "begun")
    namespace = (await service.status(execution_id)).namespace
    (pod,) = await kube.items("pods", namespace)
    reply = await kube.delete("pods", namespace, pod["metadata"]["name"], {"gracePeriodSeconds": 0})
    assert reply.status == 200, reply.body
    final = await oracle.check(service, execution_id, "INFRASTRUCTURE_FAILED")
    assert final.diagnosis.code == "POD_LOST", final.diagnosis
    assert (await reading.step_lines(service, execution_id)).count("begun") == 1

"""The adapter on the simulated cluster, over HTTP: the same sentences that a real cluster must fulfil."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from k8s_execution.domain import naming
from k8s_execution.domain.facts import ContainerState, PodFact
from k8s_execution.kube.cluster import Cluster, open_cluster
from k8s_execution.kube.kubeconfig import load_kubeconfig
from k8s_execution.ports.cluster import (
    ExecFailed,
    LogGone,
    LogNotReady,
    LogRequest,
    ObjectRef,
    Propagation,
    Refused,
)
from k8s_simulation.cluster import ClusterOptions, SimulatedCluster
from unit.kube.conftest import ProcessClock, until

pytestmark = pytest.mark.timeout(120)
Open = Callable[[asyncio.TaskGroup], AbstractAsyncContextManager[Cluster]]
ID = "e1"
LABELS = {naming.LABEL_EXECUTION: ID}


@pytest.fixture
async def opened(tmp_path: Path, executor: ThreadPoolExecutor) -> AsyncIterator[Open]:
    """A cluster of its own for each test, which opens in under a second."""
    async with SimulatedCluster(ClusterOptions(tmp_path, allow_unisolated=True)) as simulated:

        @asynccontextmanager
        async def _open(tasks: asyncio.TaskGroup) -> AsyncIterator[Cluster]:
            config = load_kubeconfig(simulated.kubeconfig)
            async with open_cluster(config, tasks, clock=ProcessClock(), executor=executor) as cluster:
                await cluster.wait_synced()
                await cluster.create(namespace(), ID)
                yield cluster

        yield _open


def namespace() -> dict[str, Any]:
    """The environment."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "qf-e1", "labels": LABELS}}


def job(name: str, script: str, image: str = "python:3") -> dict[str, Any]:
    """A Job whose only container runs a shell script."""
    container = {"name": "step", "image": image, "command": ["sh", "-c", script]}
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "qf-e1", "labels": LABELS},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": LABELS}, "spec": spec}},
    }


async def pod_of(cluster: Cluster, name: str, state: ContainerState) -> PodFact:
    """The pod of a Job once its container is in a state."""

    def found() -> PodFact | None:
        for fact in cluster.observe(ID).pods:
            container = fact.container("step")
            if fact.job == name and container is not None and container.state is state:
                return fact
        return None

    await until(found, 30)
    fact = found()
    assert fact is not None
    return fact


async def test_a_job_from_create_to_the_last_line(opened: Open) -> None:
    """A fresh namespace is no obstacle; facts follow; log and exit code are right; events are found by uid."""
    async with asyncio.TaskGroup() as tasks, opened(tasks) as cluster:
        assert cluster.identity.kind == "SIMULATED"
        made = await cluster.create(job("j", "echo one; echo two; exit 3"), ID)
        again = await cluster.create(job("j", "echo one; echo two; exit 3"), ID)
        assert (made.existed, again.existed, made.uid) == (False, True, again.uid)
        with pytest.raises(Refused):
            await cluster.create(job("j", "true"), "another")
        pod = await pod_of(cluster, "j", ContainerState.TERMINATED)
        container = pod.container("step")
        assert container is not None and container.exit_code == 3
        await until(lambda: cluster.observe(ID).jobs[0].failed_reason, 10)
        log = b"".join([c async for c in cluster.read(LogRequest("qf-e1", pod.name, "step", follow=True))])
        assert [line.split(b" ", 1)[1] for line in log.splitlines()] == [b"one", b"two"]
        reasons = {event.reason for event in await cluster.events("qf-e1", pod.uid)}
        assert "Scheduled" in reasons and "Started" in reasons
        assert {body["kind"] for body in await cluster.dump("qf-e1")} == {"Pod", "Job"}


async def test_exec_in_both_directions(opened: Open) -> None:
    """Standard input with backpressure, both outputs, exit code; refusals in the server's words."""
    async with asyncio.TaskGroup() as tasks, opened(tasks) as cluster:
        await cluster.create(job("j", "sleep 60"), ID)
        pod = await pod_of(cluster, "j", ContainerState.RUNNING)
        data = bytes(range(256)) * 8192
        script = f"head -c {len(data)}; echo done >&2; exit 5"
        async with (
            cluster.exec("qf-e1", pod.name, "step", ["sh", "-c", script], stdin=True) as session,
            asyncio.TaskGroup() as sending,
        ):
            sending.create_task(session.send(data))
            output = b"".join([chunk async for chunk in session.stdout()])
            assert await session.wait() == (5, b"done\n")
        assert output == data
        for name, container in ((pod.name, "nobody"), ("nobody", "step")):
            with pytest.raises(ExecFailed, match="nobody"):
                async with cluster.exec("qf-e1", name, container, ["true"]) as session:
                    await session.wait()


async def test_what_a_log_says_when_there_is_none(opened: Open) -> None:
    """Not started, no such pod, no earlier run."""
    async with asyncio.TaskGroup() as tasks, opened(tasks) as cluster:
        await cluster.create(job("bad", "true", image="no-such-image:1"), ID)
        await cluster.create(job("good", "true"), ID)
        waiting = await pod_of(cluster, "bad", ContainerState.WAITING)
        done = await pod_of(cluster, "good", ContainerState.TERMINATED)
        for request, meaning in (
            (LogRequest("qf-e1", waiting.name, "step", follow=True), LogNotReady),
            (LogRequest("qf-e1", "nobody", "step", follow=True), LogGone),
            (LogRequest("qf-e1", done.name, "step", follow=False, previous=True), LogGone),
        ):
            with pytest.raises(meaning):
                await anext(aiter(cluster.read(request)))


async def test_dry_run_creates_nothing(opened: Open) -> None:
    """And refuses what would be refused."""
    async with asyncio.TaskGroup() as tasks, opened(tasks) as cluster:
        await cluster.dry_run(job("j", "true"))
        bad = job("j", "true")
        bad["metadata"]["name"] = "Not A Name"
        with pytest.raises(Refused) as caught:
            await cluster.dry_run(bad)
        assert (caught.value.status, caught.value.reason) == (422, "Invalid")
        assert cluster.observe(ID).jobs == ()
        assert not await cluster.delete(ObjectRef("Job", "qf-e1", "j"))


async def test_everything_goes(opened: Open) -> None:
    """Drain, no pod left, namespace deleted by uid, observed gone."""
    async with asyncio.TaskGroup() as tasks, opened(tasks) as cluster:
        await cluster.create(job("j", "trap '' TERM; sleep 60"), ID)
        await pod_of(cluster, "j", ContainerState.RUNNING)
        await cluster.drain("qf-e1", 1)
        async with asyncio.timeout(20):
            while await cluster.pods_left("qf-e1"):  # noqa: ASYNC110 - the server is asked, nothing signals
                await asyncio.sleep(0.05)
        fact = cluster.observe(ID).namespace
        assert fact is not None
        assert not await cluster.delete(ObjectRef("Namespace", "", "qf-e1", "another-uid"))
        ref = ObjectRef("Namespace", "", "qf-e1", fact.uid)
        assert await cluster.delete(ref, propagation=Propagation.BACKGROUND)
        await until(lambda: cluster.observe(ID).namespace is None, 20)
        seen = cluster.observe(ID)
        assert (seen.synced, seen.pods, seen.jobs) == (True, (), ())

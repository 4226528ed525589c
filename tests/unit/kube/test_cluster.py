"""The whole adapter on a fake server."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from k8s_execution.domain import execution
from k8s_execution.kube.cluster import Cluster, open_cluster
from k8s_execution.ports.cluster import ClusterPort, ObjectRef, Refused, Unreachable
from unit.kube.conftest import LIMITS, Connect, ProcessClock, until
from unit.kube.fake_api import FakeApi, Fault, status_body


def labelled(name: str, execution_id: str = "e1", namespace: str = "n", **more: Any) -> dict[str, Any]:
    """Any object of an execution."""
    labels = {"k8s-execution.maestro/execution-id": execution_id}
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}, **more}


def as_port(cluster: Cluster) -> ClusterPort:
    """mypy proves that the class fulfils the port."""
    return cluster


async def test_identity(api: FakeApi, connect: Connect) -> None:
    """kube-system's uid and the version; a simulated cluster says so in its version."""
    async with asyncio.TaskGroup() as tasks, connect(tasks) as cluster:
        real = execution.ClusterKind.KUBERNETES
        assert as_port(cluster).identity == execution.Cluster(real, "v1.34.0", "cluster-uid")
    api.git_version = "v1.34.0-simulated"
    async with asyncio.TaskGroup() as tasks, connect(tasks) as cluster:
        assert cluster.identity.kind == "SIMULATED"


async def test_observe_joins_the_kinds(api: FakeApi, connect: Connect) -> None:
    """Namespace, pods, jobs and deployments of one execution, and nobody else's."""
    namespace = labelled("qf-e1")
    del namespace["metadata"]["namespace"]
    api.put("namespaces", namespace)
    for kind in ("pods", "jobs", "deployments"):
        api.put(kind, labelled("mine"))
        api.put(kind, labelled("other", "e2"))
    async with asyncio.TaskGroup() as tasks, connect(tasks) as cluster:
        seen = cluster.observe("e1")
        assert seen.synced
        assert seen.namespace is not None and seen.namespace.name == "qf-e1"
        assert ([f.name for f in seen.pods], [f.name for f in seen.jobs]) == (["mine"], ["mine"])
        assert [f.name for f in seen.deployments] == ["mine"]
        assert cluster.observe("nobody").namespace is None
        assert [n.execution_id for n in cluster.namespaces()] == ["e1"]


async def test_listeners_hear_which_execution_changed(api: FakeApi, connect: Connect) -> None:
    """Until they leave; leaving twice is allowed."""
    heard: list[str] = []
    async with asyncio.TaskGroup() as tasks, connect(tasks) as cluster:
        end = cluster.subscribe(heard.append)
        await until(lambda: len(api.watches) == 4)
        api.put("jobs", labelled("j"))
        await until(lambda: heard == ["e1"])
        end()
        end()
        api.put("jobs", labelled("j", "e2"))
        await until(lambda: cluster.observe("e2").jobs)
        assert heard == ["e1"]


async def test_events_by_object_and_by_namespace(api: FakeApi, connect: Connect) -> None:
    """By the involved uid, or all; oldest first."""
    for number, uid in ((1, "u1"), (2, "u2"), (3, "u1")):
        api.put(
            "events",
            {
                "metadata": {"name": f"ev{number}", "namespace": "n"},
                "involvedObject": {"uid": uid},
                "message": str(number),
                "lastTimestamp": f"2026-11-24T09:00:0{9 - number}Z",
            },
        )
    async with asyncio.TaskGroup() as tasks, connect(tasks) as cluster:
        assert [e.message for e in await cluster.events("n", "u1")] == ["3", "1"]
        assert [e.message for e in await cluster.events("n")] == ["3", "2", "1"]


async def test_dump_and_pods_left_ask_the_server(api: FakeApi, connect: Connect) -> None:
    """Also objects without our label; kinds are restored; Secrets are never asked for."""
    api.put("pods", {"metadata": {"name": "stray", "namespace": "n", "uid": "u"}})
    api.put("jobs", labelled("j"))
    api.put("deployments", labelled("d"))
    api.put("secrets", labelled("s"))
    async with asyncio.TaskGroup() as tasks, connect(tasks) as cluster:
        dumped = [(b["apiVersion"], b["kind"], b["metadata"]["name"]) for b in await cluster.dump("n")]
        assert dumped == [("v1", "Pod", "stray"), ("batch/v1", "Job", "j"), ("apps/v1", "Deployment", "d")]
        assert await cluster.pods_left("n") == [ObjectRef("Pod", "n", "stray", "u")]
        assert await cluster.pods_left("empty") == []
    assert api.count("secrets") == 0


async def test_drain_takes_owners_with_orphan_and_then_pods_with_grace(api: FakeApi, connect: Connect) -> None:
    """Every delete names the uid it means; other namespaces are left alone."""
    for kind in ("pods", "jobs", "replicasets", "deployments"):
        api.put(kind, {"metadata": {"name": "x", "namespace": "n", "uid": f"uid-{kind}"}})
        api.put(kind, {"metadata": {"name": "x", "namespace": "other"}})
    async with asyncio.TaskGroup() as tasks, connect(tasks) as cluster:
        await cluster.drain("n", 1)
        await cluster.drain("n", 1)
    deletes = [(s.path.split("/")[-2], s.body or {}) for s in api.seen if s.method == "DELETE"]
    assert [kind for kind, _ in deletes] == ["deployments", "replicasets", "jobs", "pods"]
    assert all(body["preconditions"] == {"uid": f"uid-{kind}"} for kind, body in deletes)
    assert [body.get("propagationPolicy") for _, body in deletes] == ["Orphan", "Orphan", "Orphan", None]
    assert [body.get("gracePeriodSeconds") for _, body in deletes] == [None, None, None, 1]


async def test_a_drain_that_meets_a_fault_tries_the_rest_and_says_so(api: FakeApi, connect: Connect) -> None:
    """One pod that cannot be deleted does not keep the others."""
    for name in "abc":
        api.put("pods", {"metadata": {"name": name, "namespace": "n"}})
    api.faults.append(Fault("DELETE .*/pods/b", status=403, body=status_body(403, "Forbidden", "no"), times=9))
    async with asyncio.TaskGroup() as tasks, connect(tasks) as cluster:
        with pytest.raises(Refused):
            await cluster.drain("n", 1)
    assert [name for (kind, _, name) in api.objects if kind == "pods"] == ["b"]


async def test_a_list_that_expires_is_read_again(api: FakeApi, connect: Connect) -> None:
    """410 in the middle of a dump is no failure."""
    async with asyncio.TaskGroup() as tasks, connect(tasks) as cluster:
        api.put("pods", labelled("p"))
        api.faults.append(Fault("namespaces/n/pods", status=410, body=status_body(410, "Expired", "old")))
        assert len(await cluster.pods_left("n")) == 1


async def test_leaving_ends_every_task_and_connection(api: FakeApi, connect: Connect) -> None:
    """Nothing stays behind."""
    before = asyncio.all_tasks()
    async with asyncio.TaskGroup() as tasks, connect(tasks):
        await until(lambda: len(api.watches) == 4)
        assert {t.get_name() for t in asyncio.all_tasks() - before} >= {
            f"reflector {kind}" for kind in ("Namespace", "Pod", "Job", "Deployment")
        }
    await until(lambda: not api.watches)
    assert not [t for t in asyncio.all_tasks() - before if t.get_name().startswith("reflector")]


async def test_a_reflector_that_ends_by_itself_ends_the_group(api: FakeApi, connect: Connect) -> None:
    """A defect in a listener is not swallowed: the process shall end, not go blind."""

    def defective(_: str) -> None:
        raise RuntimeError("defect")

    async def work() -> None:
        async with asyncio.TaskGroup() as tasks, connect(tasks) as cluster:
            await until(lambda: len(api.watches) == 4)
            cluster.subscribe(defective)
            api.put("pods", labelled("p"))
            await asyncio.Event().wait()

    with pytest.raises(BaseExceptionGroup) as caught:
        await asyncio.wait_for(work(), 5)
    assert caught.group_contains(RuntimeError, match="defect")


async def test_a_kind_that_cannot_be_listed_is_named_in_time(api: FakeApi, executor: ThreadPoolExecutor) -> None:
    """A missing right is told at start, not waited for."""
    api.faults.append(Fault("/jobs", status=403, body=status_body(403, "Forbidden", "jobs is forbidden"), times=999))
    limits = replace(LIMITS, sync_timeout=0.3)
    with pytest.raises(ExceptionGroup) as caught:
        async with (
            asyncio.TaskGroup() as tasks,
            open_cluster(api.config(), tasks, clock=ProcessClock(), executor=executor, limits=limits) as cluster,
        ):
            await cluster.wait_synced()
    assert caught.group_contains(Unreachable, match="kind Job cannot be listed: jobs is forbidden")


@pytest.mark.parametrize(("status", "kind"), [(403, Refused), (503, Unreachable)])
async def test_opening_on_a_cluster_that_refuses_fails_at_once(
    api: FakeApi, executor: ThreadPoolExecutor, status: int, kind: type[Exception]
) -> None:
    """Whoever cannot read the identity cannot run there."""
    api.faults.append(Fault("kube-system", status=status, body=status_body(status, "R", "no"), times=99))
    with pytest.raises(ExceptionGroup) as caught:
        async with (
            asyncio.TaskGroup() as tasks,
            open_cluster(api.config(), tasks, clock=ProcessClock(), executor=executor, limits=LIMITS),
        ):
            pass
    assert caught.group_contains(kind, match="no")

"""The path that everything is for: Execute → namespace → application → tests → logs → evidence → gone."""

from __future__ import annotations

import asyncio

import pytest

from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2, logs_pb2
from support import oracle, plans
from support.service import Service

pytestmark = pytest.mark.e2e

REPLICAS = """
import os, urllib.request

def test_both_replicas_answer_by_the_service_name():
    seen = {urllib.request.urlopen(os.environ["API_URL"]).read() for _ in range(60)}
    assert len(seen) == 2, seen
"""


async def test_the_whole_path(service: Service) -> None:
    """Two replicas by their service name, a setup hook, two suites side by side, a teardown hook."""
    application = plans.api(replicas=2)
    plan = plans.with_api(
        plans.suite("replicas"),
        plans.shell("shell", "echo from the shell; echo kept > $ARTIFACT_DIR/kept.txt"),
        application=application,
        tests=REPLICAS,
        setup=[plans.hook("prepare", "echo prepared")],
        teardown=[plans.hook("dump", "echo dumped > $ARTIFACT_DIR/dump.txt")],
    )
    execution_id = await service.execute(plan)
    final = await oracle.check(service, execution_id, "PASSED")
    assert (final.tests.total, final.tests.passed) == (1, 1)
    assert final.evidence.complete, final.evidence.gaps
    assert final.evidence.log_lines > 0
    assert len(final.evidence.sha256) == 64
    assert {i.ref for i in final.resolved.images} >= {"python:3-slim", "busybox:1"}
    assert (final.test_id, final.status) == (execution_id, "passed")
    text = await printed(service, execution_id)
    assert {"from the shell", "prepared", "api is up"} <= set(text)
    results = await service.stub.GetResults(execution_service_pb2.GetResultsRequest(execution_id=execution_id))
    assert [c.name for c in results.cases] == ["test_both_replicas_answer_by_the_service_name"]
    kept = {a.path: a for a in results.artifacts}
    dump = next(path for path in kept if path.endswith("dump.txt"))
    request = execution_service_pb2.DownloadArtifactRequest(execution_id=execution_id, path=dump)
    assert b"".join([m.chunk async for m in service.stub.DownloadArtifact(request)]) == b"dumped\n"


async def printed(service: Service, execution_id: str) -> list[str]:
    """Every line of the log as text."""
    return [line.text async for batch in service.logs(execution_id, follow=False) for line in batch.lines]


async def test_live_late_and_resumed_readers_get_the_same_bytes(service: Service) -> None:
    """The same StreamLogs call while it runs and after the end, and from a cursor in the middle."""
    script = "for i in $(seq 200); do echo line $i; [ $((i % 50)) = 0 ] && sleep 0.2; done; true"
    execution_id = await service.execute(plans.plan(plans.shell("loud", script)))

    async def read(**given: object) -> list[logs_pb2.LogBatch]:
        return [batch async for batch in service.logs(execution_id, **given)]  # type: ignore[arg-type]

    live = asyncio.create_task(read())
    await service.done(execution_id)
    late = await read(follow=False)
    whole = [b.SerializeToString(deterministic=True) for b in late]
    assert [b.SerializeToString(deterministic=True) for b in await live] == whole
    assert [b.SerializeToString(deterministic=True) for b in await read()] == whole
    lines = [line.text for b in late if b.stream.container == "step" for line in b.lines]
    assert lines == [f"line {i}" for i in range(1, 201)]
    middle = len(late) // 2
    rest = await read(cursor=late[middle].cursor)
    assert [b.SerializeToString(deterministic=True) for b in rest] == whole[middle + 1 :]
    await oracle.check(service, execution_id, "PASSED")


async def test_the_same_key_and_body_is_the_same_execution(service: Service) -> None:
    """Idempotency over the wire; another body under the key is refused."""
    import grpc

    plan = plans.plan(plans.shell("quick", "true"), idempotency_key="build-17")
    first, second = await service.execute(plan), await service.execute(plan)
    assert first == second
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.execute({**plan, "name": "other"})
    assert "IDEMPOTENCY_CONFLICT" in str(refused.value.trailing_metadata())
    await oracle.check(service, first, "PASSED")


async def test_a_secret_is_never_shown(service: Service) -> None:
    """Masked in logs, absent from answers, events and everything on disk; erased at the end."""
    secret = "correct-horse-battery-staple"
    plan = plans.plan(plans.shell("leaky", 'echo "token=$TOKEN"; test -n "$TOKEN"'))
    plan["environment"] = {"secrets": {"TOKEN": {"value": secret}}}
    execution_id = await service.execute(plan)
    final = await oracle.check(service, execution_id, "PASSED")
    assert "token=***" in await printed(service, execution_id)
    assert secret not in str(final)
    assert all(secret not in str(e) for e in await service.events(execution_id))
    await service.stop()
    for path in [*service.data.rglob("*"), service.log]:
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


async def test_waiting_executions_are_admitted_in_order(service: Service) -> None:
    """With room for one environment the second waits, says its place, and follows."""
    await service.stop()
    service.environment = {"MAX_CONCURRENT_ENVIRONMENTS": "1"}
    await service.start()
    first = await service.execute(plans.plan(plans.shell("first", "sleep 1")))
    second = await service.execute(plans.plan(plans.shell("second", "true")))
    third = await service.execute(plans.plan(plans.shell("third", "true"), policy={"priority": 5}))
    assert [(await service.status(e)).queue_position for e in (second, third)] == [2, 1]
    for execution_id in (first, second, third):
        await service.done(execution_id)
    started = {e: (await service.events(e))[1].time.ToNanoseconds() for e in (first, second, third)}
    assert started[first] < started[third] < started[second]
    await oracle.check(service, second, "PASSED")

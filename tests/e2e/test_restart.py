"""SIGKILL at any moment and a restart end in the same verdict: tests ran once, logs contiguous, nothing left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support import oracle, plans
from support.service import Service

pytestmark = pytest.mark.e2e

COUNTED = "for i in $(seq 40); do echo number $i; sleep 0.05; done"


@pytest.mark.parametrize("phase", ["QUEUED", "PROVISIONING", "TESTING", "CLEANING"])
async def test_killed_and_restarted(service: Service, phase: str) -> None:
    """After accept, in provisioning, in tests, in cleaning."""
    execution_id = await service.execute(plans.with_api(plans.shell("counted", COUNTED)))
    if phase == "TESTING":
        logs: Any = service.logs(execution_id)
        async for batch in logs:
            if any("number 10" in line.text for line in batch.lines):
                break
        await logs.aclose()
    elif phase != "QUEUED":
        await service.until(execution_id, phase)
    await service.kill()
    await service.start()
    await oracle.check(service, execution_id, "PASSED")
    lines = [
        line.text
        async for b in service.logs(execution_id, follow=False)
        if b.stream.container == "step"
        for line in b.lines
    ]
    assert lines == [f"number {i}" for i in range(1, 41)]


async def test_history_outlives_the_service(service: Service) -> None:
    """After a clean restart the same answers, byte for byte."""
    execution_id = await service.execute(plans.plan(plans.shell("quick", "echo hello")))
    before = await oracle.check(service, execution_id, "PASSED")
    log = [b.SerializeToString(deterministic=True) async for b in service.logs(execution_id)]
    await service.stop()
    await service.start()
    assert await service.status(execution_id) == before
    assert [b.SerializeToString(deterministic=True) async for b in service.logs(execution_id)] == log


async def test_a_simulated_cluster_that_died_with_its_process_is_explained(tmp_path: Path) -> None:
    """`serve --simulate` killed: after a restart INFRASTRUCTURE_FAILED, with the log so far kept."""
    service = Service(tmp_path / "data", tmp_path / "none", arguments=["--simulate"])
    await service.start()
    try:
        execution_id = await service.execute(plans.plan(plans.shell("long", "echo begun; sleep 300")))
        logs: Any = service.logs(execution_id)
        async for batch in logs:
            if any("begun" in line.text for line in batch.lines):
                break
        await logs.aclose()
        await service.kill()
        await service.start()
        final = await service.done(execution_id)
        assert final.diagnosis.code == "CLUSTER_LOST", final
        lines = [line.text async for b in service.logs(execution_id) for line in b.lines]
        assert "begun" in lines
        assert not final.evidence.complete
        oracle.ordered(await service.events(execution_id))
    finally:
        await service.stop()

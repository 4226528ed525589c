"""Every way a run can end badly has its own verdict and diagnosis, in seconds, with evidence, and leaves nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support import oracle, plans
from support.service import Service

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture
def service(shared: Service) -> Service:
    """One service for all tests of this file: each leaves it as it was."""
    return shared


GREEDY = "def test_greedy():\n    data = [bytearray(8 << 20) for _ in range(100)]\n    assert data\n"

CASES: dict[str, tuple[plans.Plan, str, str]] = {
    "missing image of a suite": (
        plans.plan(plans.shell("s", "true", image="registry.invalid/nothing:1")),
        "ENVIRONMENT_FAILED",
        "IMAGE_PULL",
    ),
    "missing image of an application": (
        plans.with_api(plans.shell("s", "true"), application=plans.api(image="registry.invalid/nothing:1")),
        "ENVIRONMENT_FAILED",
        "IMAGE_PULL",
    ),
    "missing module": (plans.plan(tests="import nowhere\n\ndef test_it():\n    pass\n"), "PLAN_FAILED", "TESTS_BROKEN"),
    "no pytest in the image": (plans.plan(plans.suite(install=[])), "PLAN_FAILED", "REPORT_MISSING"),
    "no tests": (plans.plan(tests="x = 1\n"), "PLAN_FAILED", "NO_TESTS"),
    "failing tests": (plans.plan(tests="def test_no():\n    assert 1 == 2\n"), "TESTS_FAILED", "TESTS_FAILED"),
    "too much memory": (
        plans.plan(plans.suite(resources={**plans.SMALL, "memory_limit": "96Mi"}), tests=GREEDY),
        "ENVIRONMENT_FAILED",
        "OUT_OF_MEMORY",
    ),
    "unknown command": (plans.plan(plans.custom("s", "no-such-program")), "PLAN_FAILED", "COMMAND_NOT_FOUND"),
    "failed install": (
        plans.plan(plans.suite(install=[["python", "-c", "raise SystemExit(3)"]])),
        "PLAN_FAILED",
        "INSTALL_FAILED",
    ),
    "failed custom suite": (plans.plan(plans.shell("s", "exit 3")), "TESTS_FAILED", "TESTS_FAILED"),
    "slow suite": (plans.plan(plans.shell("s", "sleep 60", timeout="1s")), "TIMED_OUT", "TIMEOUT_TESTS"),
    "slow plan": (
        plans.plan(plans.shell("s", "sleep 60"), policy={"timeout": "2s", "ttl": "10m"}),
        "TIMED_OUT",
        "TIMEOUT_TESTS",
    ),
    "failed setup hook": (
        plans.plan(plans.shell("s", "true"), setup=[plans.hook("h", "echo no; exit 4")]),
        "APPLICATION_FAILED",
        "SETUP_FAILED",
    ),
    "failed teardown hook": (
        plans.plan(plans.shell("s", "true"), teardown=[plans.hook("h", "exit 4")]),
        "APPLICATION_FAILED",
        "TEARDOWN_FAILED",
    ),
    "application that is never ready": (
        plans.with_api(
            plans.shell("s", "true"),
            application=plans.api(readiness={"tcp": {"port": 9999}, "period": "1s", "failure_threshold": 2}),
        ),
        "ENVIRONMENT_FAILED",
        "NEVER_READY",
    ),
    "crashing application": (
        plans.with_api(
            plans.shell("s", "true"),
            application=plans.api(command=["python", "-c", "print('no'); raise SystemExit(7)"]),
        ),
        "APPLICATION_FAILED",
        "CRASH_LOOP",
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_verdict_and_diagnosis(service: Service, name: str) -> None:
    """The expected pair, complete evidence, nothing left."""
    plan, verdict, code = CASES[name]
    execution_id = await service.execute(plan)
    final = await oracle.check(service, execution_id, verdict)
    assert final.diagnosis.code == code, final.diagnosis
    assert final.diagnosis.message
    assert final.evidence.complete, final.evidence.gaps


async def test_a_missing_image_is_told_long_before_the_provisioning_timeout(service: Service) -> None:
    """Fail fast: seconds, not the minutes that provisioning may take."""
    plan, _, _ = CASES["missing image of a suite"]
    execution_id = await service.execute(plan)
    async with asyncio.timeout(60):
        await service.until(execution_id, "CLEANING")
    await oracle.check(service, execution_id, "ENVIRONMENT_FAILED")


async def test_a_failing_test_shows_its_message_and_the_tail_of_its_output(service: Service) -> None:
    """Counts, test case and excerpt tell what went wrong without reading the log."""
    from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2

    execution_id = await service.execute(plans.plan(tests="def test_no():\n    assert 'left' == 'right'\n"))
    final = await oracle.check(service, execution_id, "TESTS_FAILED")
    assert (final.tests.total, final.tests.failed) == (1, 1)
    assert "1 failed" in final.diagnosis.excerpt
    request = execution_service_pb2.GetResultsRequest(execution_id=execution_id)
    (case,) = (await service.stub.GetResults(request)).cases
    assert "left" in case.message


async def test_cleanup_cancels_a_running_execution_and_keeps_its_evidence(service: Service) -> None:
    """CANCELLED, with the lines printed so far, after the teardown hook ran."""
    from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2

    plan = plans.plan(plans.shell("s", "echo begun; sleep 60"), teardown=[plans.hook("h", "echo torn down")])
    execution_id = await service.execute(plan)
    await until_printed(service, execution_id, "begun")
    request = execution_service_pb2.CleanupRequest(execution_id=execution_id, wait=True)
    answer = await service.stub.Cleanup(request, timeout=60)
    assert answer.execution.phase
    await oracle.check(service, execution_id, "CANCELLED")
    lines = [line.text async for b in service.logs(execution_id, follow=False) for line in b.lines]
    assert {"begun", "torn down"} <= set(lines)


async def until_printed(service: Service, execution_id: str, text: str) -> None:
    """Wait until a line is in the live log."""
    logs: Any = service.logs(execution_id)
    async for batch in logs:
        if any(text in line.text for line in batch.lines):
            await logs.aclose()
            return
    raise AssertionError(f"{text!r} was never printed")

"""`run` where the environment stays for a while after the verdict."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2 as ex
from unit.client.driving import run
from unit.client.fake_service import FakeService

AT_NOON = int(datetime(2026, 1, 2, 12, 30, tzinfo=UTC).timestamp())


async def test_a_held_environment_is_told_with_its_end(service: FakeService, plan: Path) -> None:
    """As the service says it: what the plan asked for may have found no place."""
    answer = await run(service, ex.TESTS_FAILED, str(plan), held_until=Timestamp(seconds=AT_NOON))
    assert "the environment is kept until 12:30:00 UTC, in namespace quality-fabric-run0" in answer.err


async def test_one_that_found_no_place_is_not_said_to_be_kept(service: FakeService, tmp_path: Path) -> None:
    """The warning says why."""
    plan = tmp_path / "plan.yaml"
    suite = "{name: unit, type: PYTEST, image: 'x:1'}"
    plan.write_text(f"{{test_plan: {{source: {{image: {{}}}}, suites: [{suite}]}}, policy: {{cleanup: HOLD}}}}")
    answer = await run(service, ex.TESTS_FAILED, str(plan), warnings=["the environment was not held: no place"])
    assert "is kept" not in answer.err
    assert "warning: the environment was not held: no place" in answer.out

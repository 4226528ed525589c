"""`validate`: everything that is wrong with a plan in one answer, of its form and of the service's rules."""

from __future__ import annotations

import json
from pathlib import Path

import grpc

from k8s_execution_client._gen.maestro.k8s.execution.v1 import results_pb2
from unit.client.driving import cli
from unit.client.fake_service import FakeService, Refusal


async def test_validate_says_all_problems(service: FakeService, plan: Path) -> None:
    """Exit code 2 where there are some, 0 where not."""
    service.problems.append(
        results_pb2.Problem(field="policy.ttl", value="x", message="must be a duration", hint="60m")
    )
    answer = await cli(service, "validate", str(plan))
    assert answer.code == 2
    assert "policy.ttl: must be a duration (is x); 60m" in answer.out
    service.problems.clear()
    assert (await cli(service, "validate", str(plan))).code == 0


async def test_validate_says_what_does_not_fit_and_what_the_service_says_of_the_rest(
    service: FakeService, tmp_path: Path
) -> None:
    """In one answer; the service's words on what was left out, or on a list that lost an entry, would only confuse."""
    plan = tmp_path / "plan.yaml"
    suite = "{name: unit, type: PYTST, image: 'a b', command: [run, 012, x], env: {A: 1}}"
    plan.write_text(f"test_plan: {{source: {{image: {{}}}}, suites: [{suite}]}}\npolicy: {{ttl: x}}\n")
    for field in (
        "test_plan.suites[0].type",
        "test_plan.suites[0].command[1]",
        "test_plan.suites[0].image",
        "policy.ttl",
    ):
        service.problems.append(results_pb2.Problem(field=field, message="says the service"))
    answer = await cli(service, "validate", str(plan), "-o", "json")
    assert answer.code == 2
    problems = json.loads(answer.out)["problems"]
    assert [(p["field"], p["message"] == "says the service") for p in problems] == [
        ("test_plan.suites[0].type", False),
        ("test_plan.suites[0].command[1]", False),
        ("test_plan.suites[0].image", True),
        ("policy.ttl", True),
    ]
    sent = service.received["Validate"][0].request.test_plan.suites[0]
    assert (sent.name, list(sent.command), dict(sent.env)) == ("unit", ["run", "x"], {"A": "1"})


async def test_validate_says_what_does_not_fit_also_without_the_service(service: FakeService, tmp_path: Path) -> None:
    """And that the rest was not judged."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("test_pln: {}\n")
    service.refuse("Validate", Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", "QUEUE_FULL"))
    answer = await cli(service, "validate", str(plan))
    assert answer.code == 2
    assert "test_pln: is no field here" in answer.out
    assert "only the file's form could be judged" in answer.err

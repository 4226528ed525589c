"""Wrong requests over a real port: all problems at once, each with its way out, and nothing accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import json_format

from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as pb
from support.bad_requests import ROWS, VALID, BadRequest
from unit.transports.conftest import Answered
from unit.transports.fakes import World

if TYPE_CHECKING:
    from unit.transports.conftest import Stub


def message(document: dict[str, object]) -> pb.ExecuteRequest:
    return json_format.ParseDict(document, pb.ExecuteRequest())


async def test_the_document_that_the_rows_change_is_accepted(stub: Stub, world: World) -> None:
    await stub.Execute(message(VALID))
    assert len(world.store.executions) == 1


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_execute_refuses_with_every_problem_and_creates_nothing(
    row: BadRequest, stub: Stub, world: World
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Execute(message(row.document()))
    answer = Answered(refused.value)
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.info.reason == "VALIDATION_FAILED"
    assert answer.problems == row.problems
    assert not world.store.executions
    assert b"s3cret-value" not in answer.raw


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_validate_answers_the_same_problems_each_with_a_way_out(row: BadRequest, stub: Stub) -> None:
    answer = await stub.Validate(pb.ValidateRequest(request=message(row.document())))
    assert not answer.valid
    assert not answer.objects
    assert {(p.field, p.rule) for p in answer.problems} == row.problems
    assert all(p.message and p.hint and len(p.value) <= 80 for p in answer.problems)
    assert "s3cret-value" not in str(answer)


def test_the_table_is_as_large_as_it_must_be() -> None:
    assert len(ROWS) >= 60
    assert len({row.name for row in ROWS}) == len(ROWS)

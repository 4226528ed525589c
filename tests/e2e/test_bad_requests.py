"""Every wrong request of the table over the real port: all its problems at once, and nothing is created."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2
from support import oracle
from support.bad_requests import ROWS, VALID, BadRequest
from support.service import Service

pytestmark = pytest.mark.e2e


async def test_every_wrong_request_is_refused_with_all_its_problems(service: Service) -> None:
    """INVALID_ARGUMENT, reason VALIDATION_FAILED, exactly the table's (field, rule) pairs, each with a way out."""
    assert len(ROWS) >= 60
    plan = json_format.ParseDict(VALID, execution_service_pb2.ExecuteRequest())
    answer = await service.stub.Validate(execution_service_pb2.ValidateRequest(request=plan))
    assert answer.valid, answer.problems  # what a row is refused for is its change alone
    wrong = {row.name: found for row in ROWS if (found := await difference(service, row))}
    assert wrong == {}
    listed = await service.stub.ListExecutions(execution_service_pb2.ListExecutionsRequest())
    assert list(listed.executions) == []
    oracle.nothing_left(service.kubeconfig)


async def difference(service: Service, row: BadRequest) -> str:
    """What is not as the table says; empty if all is."""
    try:
        await service.execute(row.document())
    except grpc.aio.AioRpcError as refused:
        if refused.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            return f"{refused.code()}: {refused.details()}"
        return described(refused, row)
    return "accepted"


def described(refused: grpc.aio.AioRpcError, row: BadRequest) -> str:
    """The difference in the error's details."""
    metadata = dict(refused.trailing_metadata() or ())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    found = [any_.Unpack(message) for any_ in status.details for message in (info, bad)]
    if sum(found) != 2 or (info.reason, info.domain) != ("VALIDATION_FAILED", "k8s-execution.maestro"):
        return f"details {status.details}"
    problems = {(v.field, v.reason) for v in bad.field_violations}
    silent = [v.field for v in bad.field_violations if not v.description]
    if problems != row.problems or silent:
        return f"told {sorted(problems)}, wanted {sorted(row.problems)}, without a word {silent}"
    return ""

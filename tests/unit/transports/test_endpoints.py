"""The endpoint table says of every RPC what the contract says of it."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, MethodDescriptor

from k8s_execution.transports.endpoints import ENDPOINTS, ClientStream, Endpoint, ServerStream, Unary
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as pb

METHODS: dict[str, MethodDescriptor] = dict(pb.DESCRIPTOR.services_by_name["ExecutionService"].methods_by_name)


def test_every_rpc_has_exactly_one_row() -> None:
    assert sorted(e.name for e in ENDPOINTS) == sorted(METHODS)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: e.name)
def test_a_row_has_the_messages_and_the_shape_of_its_rpc(endpoint: Endpoint) -> None:
    method = METHODS[endpoint.name]
    assert endpoint.request.DESCRIPTOR is method.input_type
    assert endpoint.answer.DESCRIPTOR is method.output_type
    shapes: dict[tuple[bool, bool], type[Any]] = {
        (False, False): Unary,
        (False, True): ServerStream,
        (True, False): ClientStream,
    }
    assert type(endpoint) is shapes[method.client_streaming, method.server_streaming]


@pytest.mark.parametrize("endpoint", [e for e in ENDPOINTS if isinstance(e, ServerStream) and e.cursor is not None])
def test_a_cursor_is_read_and_written_where_the_row_says(endpoint: ServerStream[Any, Any]) -> None:
    assert endpoint.cursor is not None
    assert endpoint.cursor.request_field in endpoint.request.DESCRIPTOR.fields_by_name
    found: Descriptor = endpoint.answer.DESCRIPTOR
    *parents, last = endpoint.cursor.answer_path
    for name in parents:
        inner = found.fields_by_name[name].message_type
        assert inner is not None
        found = inner
    assert last in found.fields_by_name


def test_only_execute_is_not_safe_to_repeat() -> None:
    assert [e.name for e in ENDPOINTS if not e.idempotent] == ["Execute"]

"""Turns grpc's errors into this package's faults.

The service puts a google.rpc.Status into the trailing metadata `grpc-status-details-bin`; `rpc_status.aio.from_call`
cannot read it from an AioRpcError (TypeError, measured with grpcio-status 1.85), so the bytes are parsed here.
"""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from k8s_execution_client.faults import ServiceFault, ServiceUnreachable, Violation

DETAILS = "grpc-status-details-bin"


def fault_of(error: grpc.aio.AioRpcError, target: str) -> ServiceFault:
    """The fault behind a failed call to `target`."""
    code = error.code().name
    message = error.details() or code
    reason, violations = "", list[Violation]()
    for detail in _details(error):
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            violations += [Violation(v.field, v.description) for v in bad.field_violations]
    if code == "UNAVAILABLE" and not reason:
        # Of a failed connection grpc tells every address and layer; its last words are the cause.
        return ServiceUnreachable(target, message.rpartition("Failed to connect to remote host: ")[2])
    return ServiceFault(code, message, reason, violations)


def _details(error: grpc.aio.AioRpcError) -> list[status_pb2.Status]:
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except DecodeError:
                return []  # not ours: a proxy's own idea of the header
    return list(status.details)

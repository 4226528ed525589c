"""Status events as callers read them. Pure."""

from __future__ import annotations

from k8s_execution.ports.store import EventType, StatusEvent
from k8s_execution.transports.wire import encode_execution
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2 as pb
from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_service_pb2 import WatchResponse


def response(event: StatusEvent, cursor: str) -> WatchResponse:
    """One event with its cursor; the execution is as it was then, so its last phase lasts until the event."""
    known = event.type is not EventType.OTHER
    kind = pb.StatusEvent.Type.Value(event.type.value) if known else pb.StatusEvent.TYPE_UNSPECIFIED
    return WatchResponse(
        event=pb.StatusEvent(
            execution_id=event.execution_id,
            sequence=event.sequence,
            cursor=cursor,
            time=encode_execution.timestamp(event.time),
            type=kind,
            execution=encode_execution.execution(event.execution, now=event.time),
        )
    )

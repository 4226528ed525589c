"""Log batches as callers read them, in protobuf's binary form, made once for all who follow. The hot path.

Messages are not built: `log_lines` writes the lines, protobuf the little around them. Fields stand in the order of
their numbers, so that the bytes are protobuf's own.
"""

from __future__ import annotations

from collections import OrderedDict

from k8s_execution.ports.logs import LogBatch, LogStream
from k8s_execution.transports.wire import log_lines
from k8s_execution_client._gen.maestro.k8s.execution.v1 import logs_pb2 as pb
from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_service_pb2 import StreamLogsResponse

SHARED_BYTES = 1024 * 1024
"""How much of what was encoded last is kept for other followers of the same execution."""

_BATCH = log_lines.varint(StreamLogsResponse.DESCRIPTOR.fields_by_name["batch"].number << 3 | 2)


class Messages:
    """Encodes batches; those just encoded are kept, because live followers want the same ones at the same time."""

    def __init__(self, bound: int = SHARED_BYTES) -> None:
        """Keep `bound` bytes; nothing kept yet."""
        self._bound = bound
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._bytes = 0

    def response(self, execution_id: str, batch: LogBatch, cursor: str) -> bytes:
        """A StreamLogsResponse in binary form. A cursor names one batch of one execution for ever, so it is the key."""
        key = (execution_id, cursor)
        made = self._kept.get(key)
        if made is None:
            made = self._kept[key] = response(execution_id, batch, cursor)
            self._bytes += len(made)
            while self._bytes > self._bound:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return made


def response(execution_id: str, batch: LogBatch, cursor: str) -> bytes:
    """One batch with its cursor, as a StreamLogsResponse in binary form; bytes that are no UTF-8 become U+FFFD."""
    before = pb.LogBatch(
        execution_id=execution_id, stream=_stream(batch.stream), first_sequence=batch.first_sequence
    ).SerializeToString()
    behind = pb.LogBatch(cursor=cursor, gap=_gap(batch), end=batch.end).SerializeToString()
    lines = log_lines.encoded(batch.lines)
    return b"".join((_BATCH, log_lines.varint(len(before) + len(lines) + len(behind)), before, lines, behind))


def _gap(batch: LogBatch) -> pb.LogGap | None:
    gap = batch.gap
    if gap is None:
        return None
    return pb.LogGap(from_sequence=gap.from_sequence, to_sequence=gap.to_sequence, reason=gap.reason)


def _stream(source: LogStream) -> pb.LogStream:
    """Which container's log it is."""
    return pb.LogStream(
        pod=source.pod,
        container=source.container,
        step=source.step,
        attempt=source.attempt,
        shard=source.shard,
        application=source.application,
        restart=source.restart,
    )

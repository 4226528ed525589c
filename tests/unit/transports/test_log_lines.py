"""The hand-written encoding of log batches is protobuf's own, byte for byte."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.ports.logs import LogBatch, LogGap, LogLine, LogLines, LogStream
from k8s_execution.transports.wire import encode_logs, log_lines
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as service_pb
from k8s_execution_client._gen.maestro.k8s.execution.v1 import logs_pb2 as pb

NANO = 1_000_000_000
SECOND = 1_764_000_000 * NANO
STREAM = LogStream("pod-1", "step", step="unit", attempt=2, shard=3, application="api", restart=4)

near = st.one_of(
    st.integers(0, NANO - 1),
    st.sampled_from([0, 1, 127, 128, 16_383, 16_384, 2**21 - 1, 2**21, 2**28 - 1, 2**28, NANO - 1, NANO, -1]),
)
times = st.one_of(near.map(SECOND.__add__), st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, 1, NANO, -1, -NANO]))
texts = st.one_of(
    st.text().map(str.encode),
    st.binary(max_size=40),
    st.integers(0, 20_000).map(b"x".__mul__),
).map(lambda data: data.replace(b"\n", b" "))
batches_of_lines = st.lists(st.builds(LogLine, times, texts, st.sampled_from([False] * 20 + [True])), max_size=40)
steady = st.lists(st.tuples(near, st.integers(0, 300)), max_size=1200).map(
    lambda rows: [LogLine(SECOND + nanos, b"y" * length) for nanos, length in rows]
)


def by_protobuf(batch: LogBatch, rows: list[LogLine]) -> bytes:
    """The message, built as anybody would."""
    message = pb.LogBatch(execution_id="x1", first_sequence=batch.first_sequence, cursor="c", end=batch.end)
    stream = batch.stream
    message.stream.CopyFrom(
        pb.LogStream(
            pod=stream.pod,
            container=stream.container,
            step=stream.step,
            attempt=stream.attempt,
            shard=stream.shard,
            application=stream.application,
            restart=stream.restart,
        )
    )
    for row in rows:
        line = message.lines.add(text=row.data.decode("utf-8", "replace"), partial=row.partial)
        line.time.seconds, line.time.nanos = divmod(row.time, NANO)
    if batch.gap is not None:
        gap = batch.gap
        message.gap.CopyFrom(pb.LogGap(from_sequence=gap.from_sequence, to_sequence=gap.to_sequence, reason=gap.reason))
    return service_pb.StreamLogsResponse(batch=message).SerializeToString()


@given(st.one_of(batches_of_lines, steady))
def test_lines_are_encoded_as_protobuf_does(rows: list[LogLine]) -> None:
    batch = LogBatch(7, STREAM, 9, LogLines.of(rows))
    assert encode_logs.response("x1", batch, "c") == by_protobuf(batch, rows)


def test_a_gap_and_an_end_are_encoded_as_protobuf_does() -> None:
    for stream in (STREAM, LogStream("p", "c", attempt=0)):
        batch = LogBatch(0, stream, 0, gap=LogGap(0, -1, "ROTATED: …"), end=True)
        assert encode_logs.response("x1", batch, "c") == by_protobuf(batch, [])


@given(st.lists(st.integers(0, 2**30), max_size=log_lines.BLOCK))
def test_a_column_of_varints_is_the_varints(numbers: list[int]) -> None:
    assert log_lines.varints(array("Q", numbers)) == [log_lines.varint(n) for n in numbers]


@given(batches_of_lines)
def test_columns_give_back_the_lines(rows: list[LogLine]) -> None:
    assert list(LogLines.of(rows)) == rows


def test_followers_share_what_is_encoded_and_no_more_than_the_bound_is_kept() -> None:
    messages = encode_logs.Messages(bound=10_000)
    batch = LogBatch(0, STREAM, 0, LogLines.of([LogLine(SECOND, b"x" * 4000)]))
    first = messages.response("x1", batch, "a")
    assert messages.response("x1", batch, "a") is first
    assert messages.response("x2", batch, "a") != first
    messages.response("x1", batch, "b")
    again = messages.response("x1", batch, "a")
    assert again == first
    assert again is not first

"""Small requests: filters, waits, names in; values out. Pure; every field obeys its rule when this is called."""

from __future__ import annotations

from collections.abc import Iterable

from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.verdict import Verdict
from k8s_execution.ports.store import ExecutionFilter
from k8s_execution.transports.wire.decode_environment import duration
from k8s_execution.usecases import LogFilter
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as pb


def active_filter(request: pb.ListActiveRequest) -> ExecutionFilter:
    """What ListActive shows."""
    return ExecutionFilter(project=request.project, phases=_phases(request.phases), labels=dict(request.labels) or None)


def executions_filter(request: pb.ListExecutionsRequest) -> ExecutionFilter:
    """What ListExecutions shows."""
    return ExecutionFilter(
        project=request.project,
        name=request.name,
        id_prefix=request.id_prefix,
        phases=_phases(request.phases),
        verdicts=frozenset(Verdict(execution_pb2.Verdict.Name(v)) for v in request.verdicts),
        labels=dict(request.labels) or None,
    )


def log_filter(request: pb.StreamLogsRequest) -> LogFilter:
    """Which streams StreamLogs shows."""
    return LogFilter(frozenset(request.pods), frozenset(request.containers), frozenset(request.steps))


def wait_seconds(request: pb.StatusRequest) -> float:
    """How long Status holds the call; 0 answers at once."""
    return duration(request.wait, 0) / 1000


def _phases(values: Iterable[execution_pb2.Phase.ValueType]) -> frozenset[Phase]:
    return frozenset(Phase(execution_pb2.Phase.Name(v)) for v in values)

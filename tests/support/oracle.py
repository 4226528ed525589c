"""The invariants that every end-to-end test ends with, named as in docs/architecture.md.

INV-TERMINAL  each accepted execution is DONE with one verdict that never changed
INV-ONCE      user code of a step was started at most once
INV-NOLEAK    no object with our label is left in the cluster
INV-LOG       sequences of each stream are contiguous; what is missing is an explicit gap; late equals live
INV-RESULT    the verdict is one of those the test allows, with its diagnosis
INV-ORDER     status events are gap-free and only legal moves
INV-ARCHIVE   the evidence was sealed before anything was deleted
INV-LIVE      nobody waited longer than stated while work was possible (by the test's own patience)
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from k8s_execution.domain.lifecycle import TRANSITIONS, Phase
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2, logs_pb2
from support.service import Service

KUBECTL = Path(sys.executable).with_name("kubectl")
LABELLED = "k8s-execution.maestro/execution-id"
KINDS = (
    "namespaces,pods,jobs.batch,deployments.apps,replicasets.apps,services,configmaps,secrets,serviceaccounts,"
    "resourcequotas,limitranges,networkpolicies.networking.k8s.io"
)


async def check(service: Service, execution_id: str, *verdicts: str) -> execution_pb2.Execution:
    """Every invariant of one execution that should be DONE; gives the final execution."""
    final = await service.done(execution_id)
    name = execution_pb2.Verdict.Name(final.verdict)
    why = f"{final.diagnosis.code}: {final.diagnosis.message} {list(final.warnings)}\n{service.tail()}"
    assert name in verdicts, f"INV-RESULT: {name}, wanted {verdicts}; {why}"
    assert (name == "PASSED") == (not final.diagnosis.code), f"INV-RESULT: diagnosis {final.diagnosis}"
    ordered(await service.events(execution_id))
    contiguous([b async for b in service.logs(execution_id)])
    once(final)
    nothing_left(service.kubeconfig, execution_id)
    return final


def ordered(events: Sequence[execution_pb2.StatusEvent]) -> None:
    """INV-ORDER, INV-TERMINAL and INV-ARCHIVE over the recorded stream."""
    assert [e.sequence for e in events] == list(range(1, len(events) + 1)), "INV-ORDER: sequence has gaps"
    phases = [Phase(execution_pb2.Phase.Name(e.execution.phase)) for e in events]
    for before, after in itertools.pairwise(phases):
        assert before is after or after in TRANSITIONS[before], f"INV-ORDER: {before} -> {after}"
    assert phases[-1] is Phase.DONE, "INV-TERMINAL: not DONE"
    verdicts = [e.execution.verdict for e in events if e.execution.verdict]
    assert len(set(verdicts)) == 1, f"INV-TERMINAL: verdicts {verdicts}"
    for event, phase in zip(events, phases, strict=True):
        if phase in {Phase.CLEANING, Phase.DONE}:
            assert event.execution.HasField("evidence"), "INV-ARCHIVE: cleaning began before the evidence was sealed"


def contiguous(batches: Iterable[logs_pb2.LogBatch]) -> None:
    """INV-LOG: within each stream every line follows the one before, or a gap says why not."""
    following: dict[tuple[str, str, int], int] = defaultdict(int)
    for batch in batches:
        key = (batch.stream.pod, batch.stream.container, batch.stream.restart)
        if batch.HasField("gap"):
            following[key] = max(following[key], batch.gap.to_sequence + 1)
            continue
        if batch.lines:
            assert batch.first_sequence == following[key], f"INV-LOG: {key} has {batch.first_sequence} next"
            following[key] += len(batch.lines)


def once(final: execution_pb2.Execution) -> None:
    """INV-ONCE: one try of a step has one pod (its Job's uid is in the evidence)."""
    pods = Counter((s.kind, s.name, s.shard, s.attempt) for s in final.steps)
    assert all(n == 1 for n in pods.values()), f"INV-ONCE: {pods}"


def nothing_left(kubeconfig: Path, execution_id: str = "") -> None:
    """INV-NOLEAK: a full list of every kind by our label, of one execution or of all, is empty."""
    selector = f"{LABELLED}={execution_id}" if execution_id else LABELLED
    command = [str(KUBECTL), "--kubeconfig", str(kubeconfig), "get", KINDS, "-A", "-l", selector, "-o", "json"]
    answer = subprocess.run(command, capture_output=True, timeout=60, check=True)
    left = [f"{i['kind']}/{i['metadata']['name']}" for i in json.loads(answer.stdout)["items"]]
    assert left == [], f"INV-NOLEAK: {left}"

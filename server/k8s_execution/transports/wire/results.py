"""Results, artifacts and orphans as callers read them. Pure."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Sequence

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.plan import StepKind
from k8s_execution.domain.testcase import TestCase, TestCounts, count
from k8s_execution.engine.sweep import Finding
from k8s_execution.ports.archive import StoredFile
from k8s_execution.ports.store import ArtifactEntry, StepResult
from k8s_execution.transports.wire import encode_execution
from k8s_execution.usecases import Results
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as service_pb
from k8s_execution_client._gen.maestro.k8s.execution.v1 import results_pb2 as pb

MESSAGE, DETAILS = 1024, 16_384
"""The longest message and details of a test case, in characters (the contract)."""

_TYPES = mimetypes.MimeTypes()
"""Python's own table only: the host's files would make answers differ from machine to machine."""


def response(results: Results, *, first_page: bool) -> service_pb.GetResultsResponse:
    """One page; suites and artifacts are on the first only."""
    return service_pb.GetResultsResponse(
        suites=_suites(results.execution, results.steps) if first_page else (),
        cases=map(_case, results.cases),
        artifacts=_artifacts(results) if first_page else (),
        next_page_token=results.next_token,
    )


def metadata(stored: StoredFile) -> service_pb.DownloadArtifactResponse:
    """What a file is: the first message of a download."""
    guessed, encoding = _TYPES.guess_type(stored.path)
    content_type = guessed if guessed and not encoding else "application/octet-stream"
    described = service_pb.ArtifactMetadata(
        path=stored.path, size_bytes=stored.bytes, sha256=stored.sha256, content_type=content_type
    )
    return service_pb.DownloadArtifactResponse(metadata=described)


def orphan(finding: Finding) -> pb.Orphan:
    """One orphaned namespace."""
    return pb.Orphan(
        namespace=finding.namespace,
        uid=finding.uid,
        execution_id=finding.execution_id,
        installation=finding.installation,
        reason=pb.Orphan.Reason.Value(finding.reason.value),
        action=pb.Orphan.Action.Value(finding.action.value),
        blockers=finding.blockers,
        created_at=encode_execution.timestamp(finding.created_at),
        age=finding.age,
        expires_at=encode_execution.timestamp(finding.expires_at),
    )


def _suites(record: Execution, results: Iterable[StepResult]) -> list[pb.SuiteResult]:
    """Each suite once, as its latest try left it."""
    cases = {r.key: r.cases for r in results}
    latest = {s.key.name: s for s in record.of_kind(StepKind.SUITE)}
    return [
        pb.SuiteResult(
            name=name,
            verdict=encode_execution.verdict(state.verdict),
            tests=encode_execution.counts(state.tests or _counted(cases.get(state.key, ()))),
            duration=sum(c.duration for c in cases.get(state.key, ())),
        )
        for name, state in latest.items()
    ]


def _counted(cases: Sequence[TestCase]) -> TestCounts:
    return count(cases) if cases else TestCounts()


def _case(case: TestCase) -> pb.TestCase:
    return pb.TestCase(
        suite=case.suite,
        class_name=case.class_name,
        name=case.name,
        file=case.file,
        status=pb.TestCase.Status.Value(case.status.value),
        duration=case.duration,
        message=case.message[:MESSAGE],
        details=case.details[:DETAILS],
    )


def _artifacts(results: Results) -> list[pb.Artifact]:
    """What steps left, and the archive's other files, which are the service's own records; by path."""
    left = [_artifact(entry) for result in results.steps for entry in result.artifacts]
    known = {artifact.path for artifact in left}
    left += [
        pb.Artifact(path=f.path, bytes=f.bytes, sha256=f.sha256, kind=pb.Artifact.RECORD)
        for f in results.files
        if f.path not in known
    ]
    return sorted(left, key=lambda a: a.path)


def _artifact(entry: ArtifactEntry) -> pb.Artifact:
    return pb.Artifact(
        path=entry.path,
        bytes=entry.bytes,
        sha256=entry.sha256,
        kind=pb.Artifact.Kind.Value(entry.kind.value),
        step=entry.step.name,
    )

"""The service's side of a step's collector container; fulfils `ports.evidence.StepCollector`.

Joins the parts: `source` sends, `collect` fetches, `junit` parses (in the executor). What a step printed and what its
reports quote is masked here, before it goes anywhere.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import replace

from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.facts import PodFact
from k8s_execution.domain.faults import NotFound
from k8s_execution.domain.plan import BundleSource, ImageSource, InlineSource
from k8s_execution.domain.redaction import Masker
from k8s_execution.domain.testcase import TestCase
from k8s_execution.evidence import collect, junit, source
from k8s_execution.ports.archive import Archive
from k8s_execution.ports.cluster import Exec, ExecFailed
from k8s_execution.ports.evidence import Collected
from k8s_execution.ports.store import StepResult

KILLED = 128 + signal.SIGKILL
TAIL_BYTES = 4096
"""How much of a step's output goes into a diagnosis."""


class PodCollector:
    """Talks to collector containers through exec."""

    def __init__(self, exec_: Exec, archive: Archive, executor: Executor, maskers: Callable[[str], Masker]) -> None:
        """`maskers` gives the masker of an execution that is being worked on."""
        self._exec = exec_
        self._archive = archive
        self._executor = executor
        self._maskers = maskers

    async def send_source(self, execution: Execution, pod: PodFact) -> None:
        """Stream the execution's source into the pod and have it confirmed; nothing where the image holds it."""
        match execution.specification.test_plan.source:
            case BundleSource(id=bundle):
                chunks = self._archive.get_bundle(bundle)
            case InlineSource(files=files):
                chunks = _once(source.pack_inline(files))
            case ImageSource():
                return
        try:
            await source.send_source(self._exec, pod, chunks)
        except NotFound as fault:
            raise ExecFailed("the bundle with the test code is not stored any more") from fault

    async def collect(self, execution: Execution, key: StepKey, pod: PodFact) -> Collected:
        """Record, reports and artifacts of a step whose container ended; a repeated call replaces the files."""
        step = execution.spec_of(key)
        masker = self._maskers(execution.id)
        status = await collect.status(self._exec, pod, step)
        tail = await self._output_tail(pod, status.output_bytes, masker)
        found = await collect.FileFetcher(self._exec, self._archive, execution.id, key).fetch(pod, step)
        cases, unread, others = await asyncio.get_running_loop().run_in_executor(
            self._executor, _parse, found.reports, masker, key.name
        )
        return Collected(
            record=status.record,
            result=StepResult(execution.id, key, cases, found.artifacts),
            started=status.started,
            reports=found.report_files - len(unread) - others,
            output_tail=tail,
            gaps=collect.gaps_of([*status.gaps, *found.gaps, *unread], key),
        )

    async def stop(self, pod: PodFact) -> None:
        """Ask the running step to end: its processes get SIGTERM, after the grace SIGKILL, its record is written."""
        await collect.run_agent(self._exec, pod, "stop")

    async def release(self, pod: PodFact) -> None:
        """Let the collector end; its end may kill the very exec that asked for it."""
        try:
            await collect.run_agent(self._exec, pod, "release")
        except collect.AgentFailed as ended:
            if ended.code != KILLED:
                raise

    async def _output_tail(self, pod: PodFact, size: int, masker: Masker) -> str:
        """The masked end of what the step printed, whole lines where there are any."""
        if not size:
            return ""
        offset = max(0, size - TAIL_BYTES - masker.longest)
        words = ("cat", "--offset", str(offset), "--limit", str(size - offset))
        data = await collect.run_agent(self._exec, pod, *words, limit=size - offset)
        # The read may begin inside a secret: masking knows only whole ones, so its first bytes are not shown.
        shown = masker.mask(data)
        if offset:
            newline = shown.find(b"\n")
            shown = shown[newline + 1 :] if newline >= 0 else shown[masker.longest :]
        return shown[-TAIL_BYTES:].decode("utf-8", "replace").strip("\n")


def _parse(reports: dict[str, bytes], masker: Masker, step: str) -> tuple[list[TestCase], list[str], int]:
    """Cases of all reports by name, a sentence for each that cannot be read, and how many are of another kind.

    Their suite is the plan's, the step that reported them: what a report calls a suite (`pytest`) says nothing here.
    """
    cases: list[TestCase] = []
    unread: list[str] = []
    others = 0
    for name in sorted(reports):
        try:
            cases += [_masked(case, masker, step) for case in junit.parse(reports[name])]
        except junit.NotJUnit:
            others += 1
        except ValueError as error:
            unread.append(f"{name}: {masker.mask_text(str(error))}")
    return cases, unread, others


def _masked(case: TestCase, masker: Masker, step: str) -> TestCase:
    return replace(
        case,
        suite=step,
        name=masker.mask_text(case.name),
        message=masker.mask_text(case.message),
        details=masker.mask_text(case.details),
    )


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data

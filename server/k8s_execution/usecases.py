"""What the service does for a caller: domain values in, domain values out, the same for every transport.

Reads answer from the store; Execute and Cleanup only write intent, which the engine then works off. It must not know
protobuf, gRPC or Kubernetes: faults leave as `domain.faults`, streams as async iterators.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from k8s_execution.domain import naming
from k8s_execution.domain.encoding import encode
from k8s_execution.domain.execution import Execution
from k8s_execution.domain.faults import CursorInvalid, FailedPrecondition, NotFound, Problem, ValidationFailed
from k8s_execution.domain.fingerprint import fingerprint
from k8s_execution.domain.lifecycle import ACTIVE, Phase
from k8s_execution.domain.plan import BundleSource, Specification, StepKind
from k8s_execution.domain.testcase import TestCase
from k8s_execution.engine import dryrun, preview
from k8s_execution.engine.sweep import Finding, Sweeper
from k8s_execution.ports.archive import Archive, StoredFile
from k8s_execution.ports.cluster import Body, ClusterReader, DryRun
from k8s_execution.ports.cursors import Cursors
from k8s_execution.ports.logs import LogBatch, LogReader, LogStream
from k8s_execution.ports.manifests import QUOTA_ROOM, ManifestSource, PlanChecker, QuotaSum
from k8s_execution.ports.sealer import Sealer
from k8s_execution.ports.store import Acceptance, ExecutionFilter, StatusEvent, StepResult, Store
from k8s_execution.runtime.threads import Threads

PAGE_SIZE = 50
PAGE_LIMIT = 500
CASES = 200
CASES_LIMIT = 1_000
CASES_TEXT = 750_000
"""Characters of text on one page of test cases: it stays below gRPC's usual 4 MiB a message in any script."""
_EVENTS_AT_ONCE = 100
_POSITION = struct.Struct(">q")
_CASE = struct.Struct(">ii")


@dataclass(frozen=True, slots=True)
class ExecuteCall:
    """A decoded Execute or Validate request. `problems` are those that the fields' own rules already found."""

    specification: Specification
    secrets: Mapping[str, str]
    idempotency_key: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusView:
    """An execution with its place in the queue (0 = not queued)."""

    execution: Execution
    queue_position: int = 0


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which streams a reader wants; empty fields do not restrict."""

    pods: frozenset[str] = frozenset()
    containers: frozenset[str] = frozenset()
    steps: frozenset[str] = frozenset()

    def wants(self, stream: LogStream) -> bool:
        """Whether a stream passes."""
        return (
            (not self.pods or stream.pod in self.pods)
            and (not self.containers or stream.container in self.containers)
            and (not self.steps or stream.step in self.steps or stream.application in self.steps)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing; `next_token` is empty on the last."""

    executions: Sequence[StatusView]
    next_token: str


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """All problems of a plan, and what would be created; `objects` is empty where there are problems.

    `quota` is empty where the plan is too broken to sum up; `warnings` are what is allowed and likely not meant.
    """

    problems: tuple[Problem, ...]
    objects: tuple[Body, ...] = ()
    quota: tuple[QuotaSum, ...] = ()
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """What was collected of an execution: `cases` are one page of the test cases, `steps` hold all of everything.

    `files` are all that the archive keeps of it, on the first page only; `next_token` is empty on the last page.
    """

    execution: Execution
    steps: Sequence[StepResult]
    cases: Sequence[TestCase]
    files: Sequence[StoredFile]
    next_token: str


@dataclass(frozen=True, slots=True)
class Parts:
    """What the use cases work with. `cluster`, `sweeper` and `dry_run` are None where only history is served.

    `threads` take what would hold the event loop: judging a plan and rendering its objects.
    """

    store: Store
    archive: Archive
    logs: LogReader
    cursors: Cursors
    sealer: Sealer
    checker: PlanChecker
    manifests: ManifestSource
    threads: Threads
    cluster: ClusterReader | None = None
    sweeper: Sweeper | None = None
    dry_run: DryRun | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the installation. `queue` 0 and `most_held` None mean none.

    `dry_run_namespace` is where Validate's dry runs go.
    """

    namespace_prefix: str = "quality-fabric"
    queue: int = 1_000
    most_held: int | None = None
    dry_run_namespace: str = "default"


class UseCases:
    """One method an RPC."""

    def __init__(self, parts: Parts, limits: Limits) -> None:
        """Take the adapters and the bounds."""
        self._parts = parts
        self._limits = limits

    async def execute(self, call: ExecuteCall) -> StatusView:
        """Accept a plan durably; the answer is given after the commit."""
        cluster = self._require_cluster()
        specification, problems = await self._judge(call)
        if problems:
            raise ValidationFailed(problems)
        execution_id = naming.new_execution_id()
        execution = Execution(
            id=execution_id,
            specification=specification,
            namespace=naming.namespace(self._limits.namespace_prefix, execution_id),
            cluster=cluster.identity,
            steps=preview.initial_steps(specification),
        )
        sealed = self._parts.sealer.seal(execution_id, call.secrets) if call.secrets else b""
        accepted = await self._parts.store.accept(
            Acceptance(
                execution,
                await self._parts.threads.run(fingerprint, call.specification, call.secrets),
                call.idempotency_key,
                sealed,
                self._limits.queue,
                self._limits.most_held,
            )
        )
        return await self._view(accepted)

    async def validate(self, call: ExecuteCall) -> ValidationReport:
        """All problems at once, the rendered objects, and what the API server says of the namespace and its parts."""
        specification, problems = await self._judge(call)
        if any(p.rule != QUOTA_ROOM for p in problems):
            return ValidationReport(tuple(problems))
        in_thread = self._parts.threads.run
        review = await in_thread(self._parts.checker.review, specification)
        quota = tuple(review.quota)
        if problems:
            return ValidationReport(tuple(problems), (), quota, tuple(review.warnings))
        prefix = self._limits.namespace_prefix
        objects = tuple(await in_thread(preview.objects, self._parts.manifests, specification, prefix))
        said = dryrun.Judgement()
        if self._parts.dry_run is not None:
            said = await dryrun.judge(self._parts.dry_run, objects, self._limits.dry_run_namespace)
        shown = () if said.problems else objects
        return ValidationReport(said.problems, shown, quota, (*review.warnings, *said.warnings))

    async def status(self, execution_id: str, *, after_sequence: int = 0, wait: float = 0.0) -> StatusView:
        """The execution; with `wait` (seconds) the call is held until its sequence exceeds `after_sequence`."""
        execution = await self._parts.store.get(execution_id)
        if wait <= 0 or execution.sequence > after_sequence:
            return await self._view(execution)
        changed = asyncio.Event()
        cancel = self._parts.store.subscribe(lambda key: changed.set() if key == execution_id else None)
        try:
            execution = await self._wait_for_change(execution_id, after_sequence, changed, wait)
        finally:
            cancel()
        return await self._view(execution)

    async def cleanup(self, execution_id: str, *, wait: float = 0.0) -> StatusView:
        """Cancel if it runs, keep the evidence, delete; with `wait` (seconds) the call is held until DONE."""

        def request(execution: Execution, _now: int) -> Execution:
            if execution.phase is Phase.DONE:
                return execution
            running = execution.phase not in {Phase.COLLECTING, Phase.CLEANING}
            return replace(execution, cancel_requested=execution.cancel_requested or running, cleanup_requested=True)

        execution = await self._parts.store.change(execution_id, request)
        deadline = asyncio.get_running_loop().time() + wait
        while execution.phase is not Phase.DONE and (left := deadline - asyncio.get_running_loop().time()) > 0:
            view = await self.status(execution_id, after_sequence=execution.sequence, wait=left)
            execution = view.execution
        return await self._view(execution)

    async def list_active(self, wanted: ExecutionFilter, page_size: int, token: str) -> Page:
        """Executions that wait or whose environment exists, newest first."""
        phases = wanted.phases or (ACTIVE | {Phase.QUEUED})
        return await self.list_executions(replace(wanted, phases=phases), page_size, token)

    async def list_executions(self, wanted: ExecutionFilter, page_size: int, token: str) -> Page:
        """All executions, newest first; pages stay stable while new ones arrive."""
        size = min(page_size or PAGE_SIZE, PAGE_LIMIT)
        purpose = _listing(wanted)
        before = self._decode_page(purpose, token) if token else None
        found = await self._parts.store.list(wanted, limit=size + 1, before=before)
        shown = found[:size]
        last = shown[-1] if len(found) > size else None
        next_token = self._parts.cursors.encode(purpose, f"{last.created_at} {last.id}".encode()) if last else ""
        return Page([await self._view(e) for e in shown], next_token)

    async def results(self, execution_id: str, page_size: int = 0, token: str = "") -> Results:
        """Test cases and artifacts of the steps that ended; cases are paged by suite in plan order."""
        purpose = f"results:{execution_id}"
        step, case = self._decode(purpose, token, _CASE) if token else (0, 0)
        execution = await self._parts.store.get(execution_id)
        found = await self._parts.store.results(execution_id)
        by_key = {r.key: r.cases for r in found}
        suites = [by_key.get(s.key, ()) for s in execution.of_kind(StepKind.SUITE)]
        cases, after = _page_of_cases(suites, (step, case), min(page_size or CASES, CASES_LIMIT))
        next_token = self._parts.cursors.encode(purpose, _CASE.pack(*after)) if after else ""
        files = [] if token else await self._parts.archive.list(execution_id)
        return Results(execution, found, cases, files, next_token)

    async def logs(
        self, execution_id: str, cursor: str, *, follow: bool, wanted: LogFilter
    ) -> AsyncIterator[tuple[LogBatch, str]]:
        """Batches with their cursor; the same live, late and after the end."""
        await self._parts.store.get(execution_id)
        purpose = f"logs:{execution_id}"
        after = self._decode_position(purpose, cursor) if cursor else -1
        async with aclosing(self._parts.logs.read(execution_id, after, follow=follow)) as batches:
            async for batch in batches:
                if wanted.wants(batch.stream):
                    yield batch, self._parts.cursors.encode(purpose, _POSITION.pack(batch.index))

    async def watch(self, execution_id: str, cursor: str) -> AsyncIterator[tuple[StatusEvent, str]]:
        """Status events: of one execution until it is DONE, or of all, for ever; gap-free from the cursor on."""
        purpose = f"watch:{execution_id}"
        position = self._decode_position(purpose, cursor) if cursor else 0
        if execution_id:
            await self._parts.store.get(execution_id)
        changed = asyncio.Event()
        cancel = self._parts.store.subscribe(lambda key: changed.set() if execution_id in {"", key} else None)
        try:
            while True:
                changed.clear()
                events = await self._events(execution_id, position)
                for event in events:
                    position = event.sequence if execution_id else event.position
                    yield event, self._parts.cursors.encode(purpose, _POSITION.pack(position))
                if len(events) == _EVENTS_AT_ONCE:
                    continue
                last = not events or events[-1].execution.phase is Phase.DONE
                if last and await self._has_ended(execution_id, position):
                    return
                await changed.wait()  # a change since they were read has set it
        finally:
            cancel()

    async def sweep(self, *, dry_run: bool) -> Sequence[Finding]:
        """What is orphaned, why, what was done about it, what blocks it."""
        if self._parts.sweeper is None:
            raise FailedPrecondition("this service has no cluster, so there is nothing to sweep")
        return await self._parts.sweeper.sweep(dry_run=dry_run)

    async def upload_bundle(self, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Store test code; its path is the bundle id."""
        return await self._parts.archive.put_bundle(chunks)

    async def artifact(self, execution_id: str, path: str) -> tuple[StoredFile, AsyncIterator[bytes]]:
        """One kept file: what it is, and its bytes."""
        await self._parts.store.get(execution_id)
        for stored in await self._parts.archive.list(execution_id):
            if stored.path == path:
                return stored, self._parts.archive.get(execution_id, path)
        raise NotFound(f"execution {execution_id} kept no file {path!r}", "GetResults lists the kept files")

    async def _judge(self, call: ExecuteCall) -> tuple[Specification, Sequence[Problem]]:
        prepare = self._parts.checker.prepare
        specification, found = await self._parts.threads.run(prepare, call.specification, call.secrets)
        problems = [*call.problems, *_untold(found, call.problems)]
        source = specification.test_plan.source
        told = any(p.field.startswith("test_plan.source") for p in problems)
        if isinstance(source, BundleSource) and not told and not await self._parts.archive.has_bundle(source.id):
            message = "no bundle of this id was uploaded"
            hint = "send it with UploadBundle first, or use source.local with the command line"
            problems.append(Problem("test_plan.source.bundle.id", source.id[:80], "bundle.exists", message, hint))
        return specification, problems

    async def _view(self, execution: Execution) -> StatusView:
        queued = execution.phase is Phase.QUEUED
        return StatusView(execution, await self._parts.store.queue_position(execution.id) if queued else 0)

    async def _wait_for_change(self, key: str, after: int, changed: asyncio.Event, wait: float) -> Execution:
        deadline = asyncio.get_running_loop().time() + wait
        while True:
            changed.clear()
            execution = await self._parts.store.get(key)
            left = deadline - asyncio.get_running_loop().time()
            if execution.sequence > after or execution.phase is Phase.DONE or left <= 0:
                return execution
            try:
                async with asyncio.timeout(left):
                    await changed.wait()
            except TimeoutError:
                pass  # the loop reads once more and answers what there is

    async def _has_ended(self, execution_id: str, sequence: int) -> bool:
        """Whether an execution is DONE with this event: a watch resumed after it has nothing to wait for."""
        if not execution_id:
            return False
        execution = await self._parts.store.get(execution_id)
        return execution.phase is Phase.DONE and execution.sequence <= sequence

    async def _events(self, execution_id: str, position: int) -> Sequence[StatusEvent]:
        if execution_id:
            return await self._parts.store.events_of(execution_id, position, _EVENTS_AT_ONCE)
        return await self._parts.store.events(position, _EVENTS_AT_ONCE)

    def _decode_position(self, purpose: str, cursor: str) -> int:
        return self._decode(purpose, cursor, _POSITION)[0]

    def _decode(self, purpose: str, cursor: str, shape: struct.Struct) -> tuple[int, ...]:
        payload = self._parts.cursors.decode(purpose, cursor)
        if len(payload) != shape.size:
            raise CursorInvalid("the cursor does not hold a position")
        return shape.unpack(payload)

    def _decode_page(self, purpose: str, token: str) -> tuple[int, str]:
        try:
            payload = self._parts.cursors.decode(purpose, token)
        except CursorInvalid as invalid:
            raise _foreign_token(token) from invalid
        created, _, execution_id = payload.decode().partition(" ")
        return int(created), execution_id

    def _require_cluster(self) -> ClusterReader:
        if self._parts.cluster is None:
            raise FailedPrecondition(
                "this service only shows history: it has no cluster", "start it with --simulate or --kubeconfig"
            )
        return self._parts.cluster


def _listing(wanted: ExecutionFilter) -> str:
    """The purpose of a listing's page tokens: a token is a place in what this filter shows, and in nothing else."""
    shown = json.dumps(encode(wanted), sort_keys=True)
    return f"page:{hashlib.sha256(shown.encode()).hexdigest()}"


def _foreign_token(token: str) -> CursorInvalid:
    message = "is no page token of a listing with this filter"
    hint = "send the filter of the first page with every token, or leave page_token out to begin again"
    problem = Problem("page_token", token[:80], "page_token.listing", message, hint)
    return CursorInvalid(f"page_token: {message}", hint, problems=(problem,))


def _untold(found: Sequence[Problem], told: Sequence[Problem]) -> Iterator[Problem]:
    """What the checker found and the field rules did not say already: of the same field, or of a missing one's parts.

    A rule on a whole list or message (uniqueness, a required command) is told at the whole; the checker says it again
    at the part, by the same kind of rule.
    """
    fields = {p.field for p in told}
    missing = tuple(f"{p.field}." for p in told if p.rule == "required")
    whole = [(p.field, p.rule.rpartition(".")[2]) for p in told]
    for problem in found:
        kind = problem.rule.rpartition(".")[2]
        again = any((kind == k and problem.field.startswith(f)) or problem.field == f"{f}.{k}" for f, k in whole)
        if problem.field not in fields and not again and not problem.field.startswith(missing):
            yield problem


def _page_of_cases(
    suites: Sequence[Sequence[TestCase]], start: tuple[int, int], size: int
) -> tuple[list[TestCase], tuple[int, int] | None]:
    """At most `size` cases from `start` (suite, case) on, and where to go on; always at least one where there is one.

    A position counts suites in plan order, so a suite that ends between two pages repeats and shifts nothing.
    """
    chosen: list[TestCase] = []
    text = 0
    for number in range(start[0], len(suites)):
        first = start[1] if number == start[0] else 0
        for index in range(first, len(suites[number])):
            case = suites[number][index]
            text += len(case.message) + len(case.details) + len(case.name)
            if chosen and (len(chosen) >= size or text > CASES_TEXT):
                return chosen, (number, index)
            chosen.append(case)
    return chosen, None

"""Follows every container of every execution that is ours, and seals their journals.

One tail per run of a container, whoever listens; all tails live in one task group that the composition root enters. A
tail that fails is started again from the journal, apart from its neighbours; nothing here ends the process. It must
not read logs itself (`tail`), nor decide when an execution is sealed: that is the engine's.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Self

from k8s_execution.domain.facts import PodFact
from k8s_execution.domain.naming import STEP_CONTAINER
from k8s_execution.domain.redaction import Masker
from k8s_execution.logs.batching import Batcher, CapReached
from k8s_execution.logs.fill import ReadFrom
from k8s_execution.logs.gaps import GapReason
from k8s_execution.logs.run import Pace, Run
from k8s_execution.logs.segments import Journal, JournalStore
from k8s_execution.logs.tail import Tail
from k8s_execution.logs.targets import Target, targets
from k8s_execution.ports.cluster import ContainerLogs
from k8s_execution.ports.logs import Fill, LogStream, LogSummary
from k8s_execution.runtime.backoff import delay

logger = logging.getLogger(__name__)

SHORTEST_FLUSH = 0.005
MESSAGES_PER_SECOND = 30_000
"""Flushes times followers that one process carries (bench/): the flush interval is chosen to stay below."""


class Follow:
    """One tail with its facts, its batcher and its task."""

    def __init__(self, run: Run, batcher: Batcher) -> None:
        """Not started yet."""
        self.run = run
        self.batcher = batcher
        self.task: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether the tail still runs."""
        return self.task is not None and not self.task.done()


class ExecutionLogs:
    """All follows of one execution."""

    def __init__(self, execution_id: str) -> None:
        """Nothing observed yet."""
        self.id = execution_id
        self.masker: Masker | None = None
        self.pods: Sequence[PodFact] = ()
        self.journal: Journal | None = None
        self.ready = asyncio.Event()
        self.opening: asyncio.Task[None] | None = None
        self.follows: dict[LogStream, Follow] = {}
        self.sealing = False

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The tails that still run."""
        return [f.task for f in self.follows.values() if f.task is not None and not f.task.done()]


class LogManager:
    """Fulfils `ports.logs.LogCollector`; enter it to start, leave it to end every follow."""

    def __init__(
        self, logs: ContainerLogs, store: JournalStore, *, cap: int, pace: Pace | None = None, fill: Fill | None = None
    ) -> None:
        """`cap` bounds one execution's journal in bytes; `fill` reads a step's output file where its log has a gap."""
        self._logs = logs
        self._fill = fill
        self._store = store
        self._cap = cap
        self._pace = pace or Pace()
        self._executions: dict[str, ExecutionLogs] = {}
        self._open_tails = 0
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        """Start; tails run as children of the caller's task."""
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every follow, write what was read, close the journals."""
        try:
            for execution_id in list(self._executions):
                await self.forget(execution_id)
        finally:
            await self._tasks.__aexit__(kind, error, trace)

    def observe(self, execution_id: str, pods: Sequence[PodFact], masker: Masker) -> None:
        """Follow every container of these pods that is not followed yet; the first masker stays.

        While the journal is being sealed nothing new is followed, but tails still learn of restarts: without that, the
        log of a container's next run would look like a rotation.
        """
        logs = self._logs_of(execution_id)
        logs.masker = logs.masker or masker
        logs.pods = pods
        self._follow(logs)

    def unread(self, execution_id: str) -> frozenset[str]:
        """The pods of which a log is not yet read to its proven end."""
        logs = self._executions.get(execution_id)
        if logs is None:
            return frozenset()
        if not logs.ready.is_set():
            return frozenset(pod.name for pod in logs.pods)
        return frozenset(stream.pod for stream, follow in logs.follows.items() if follow.open)

    async def seal(self, execution_id: str, pods: Sequence[PodFact], timeout: float) -> LogSummary:
        """Read every log to its present end, end every stream, seal the journal.

        Logs that are not read in `timeout` seconds end with a gap; TimeoutError if another process still holds the
        journal then. ValueError for pods of an execution that was never observed: without its masker its logs must
        not be stored.
        """
        logs = self._logs_of(execution_id)
        if pods and logs.masker is None:
            raise ValueError("observe an execution before its logs are sealed")
        logs.pods = pods or logs.pods
        await asyncio.wait_for(logs.ready.wait(), timeout)
        journal = logs.journal
        assert journal is not None
        if journal.summary is not None:
            return journal.summary
        self._follow(logs)
        logs.sealing = True
        for follow in logs.follows.values():
            follow.run.finish()
        await self._finish(logs, timeout)
        self._end_all(logs, journal)
        return await self._store.seal(execution_id)

    async def forget(self, execution_id: str) -> None:
        """Stop all follows of an execution, write what was read so far, close its journal."""
        logs = self._executions.pop(execution_id, None)
        if logs is None:
            return
        if logs.opening is not None:
            await _cancelled([logs.opening])
        await _cancelled(logs.tasks)
        for follow in logs.follows.values():
            _flush(follow.batcher)
        await self._store.close(execution_id)

    def _logs_of(self, execution_id: str) -> ExecutionLogs:
        logs = self._executions.get(execution_id)
        if logs is None:
            logs = self._executions[execution_id] = ExecutionLogs(execution_id)
            logs.opening = self._tasks.create_task(self._open(logs), name=f"log journal {execution_id}")
        return logs

    async def _open(self, logs: ExecutionLogs) -> None:
        """Open the journal, however long its disk or its earlier writer takes to let go; then follow."""
        attempt = 0
        while logs.journal is None:
            try:
                logs.journal = await self._store.open(logs.id)
            except (OSError, ValueError) as error:
                logger.warning("cannot open the log journal of %s: %s", logs.id, error)
                await asyncio.sleep(_apart(attempt))
                attempt += 1
        logs.ready.set()
        self._follow(logs)

    def _follow(self, logs: ExecutionLogs) -> None:
        """A tail for each run that has none yet and whose end is not in the journal; newer facts for the others."""
        journal, masker = logs.journal, logs.masker
        if journal is None or journal.summary is not None or masker is None:
            return
        for pod, target in ((p, t) for p in logs.pods for t in targets(p)):
            known = logs.follows.get(target.stream)
            if known is not None:
                known.run.update(target)
            elif not logs.sealing and not journal.state(target.stream).ended:
                file = self._file_of(pod, target)
                logs.follows[target.stream] = self._start(logs.id, target, journal, masker, file)

    def _file_of(self, pod: PodFact, target: Target) -> ReadFrom | None:
        """Only what a step's own container prints is also in a file, and only of its first run."""
        stream = target.stream
        if self._fill is None or not stream.step or stream.container != STEP_CONTAINER or stream.restart:
            return None
        return partial(self._fill, pod)

    def _start(
        self, execution_id: str, target: Target, journal: Journal, masker: Masker, file: ReadFrom | None
    ) -> Follow:
        batcher = Batcher(
            journal,
            target.stream,
            masker,
            cap=self._cap,
            interval=self._interval,
            wake=lambda: self._store.hub.wake(execution_id),
        )
        follow = Follow(Run(target, self._pace), batcher)
        name = f"log {target.stream.pod}/{target.stream.container}#{target.stream.restart}"
        follow.task = self._tasks.create_task(self._contained(follow, journal, masker, file), name=name)
        return follow

    async def _contained(self, follow: Follow, journal: Journal, masker: Masker, file: ReadFrom | None) -> None:
        """The tail, started again from the journal after a fault; a fault here is nobody else's."""
        self._open_tails += 1
        attempt = 0
        stream = follow.run.target.stream
        try:
            while True:
                token = journal.state(stream).token
                try:
                    return await Tail(self._logs, follow.run, token, masker, follow.batcher, file).run()
                except Exception:  # the border that contains one tail's fault; it is logged and tried again
                    logger.exception("following %s/%s failed; trying again", stream.pod, stream.container)
                follow.batcher.close()
                await asyncio.sleep(_apart(attempt))
                attempt += 1
        finally:
            self._open_tails -= 1

    async def _finish(self, logs: ExecutionLogs, timeout: float) -> None:
        """Wait for the tails, and stop those that do not come to their end."""
        tasks = logs.tasks
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        late = [f for f in logs.follows.values() if f.open]
        await _cancelled([f.task for f in late if f.task is not None])
        for follow in late:
            try:
                follow.batcher.gap(GapReason.TIMEOUT)
            except CapReached:
                pass  # its own gap is recorded
            follow.batcher.end()

    def _end_all(self, logs: ExecutionLogs, journal: Journal) -> None:
        """Streams that an earlier owner began and whose pods are gone since: what they still said is lost."""
        for stream, state in list(journal.streams.items()):
            if not state.ended:
                journal.append_gap(stream, GapReason.GONE)
                journal.append_end(stream)
        self._store.hub.wake(logs.id)

    def _interval(self) -> float:
        streams = max(self._store.hub.followers, self._open_tails)
        return max(SHORTEST_FLUSH, streams / MESSAGES_PER_SECOND)


def _apart(attempt: int) -> float:
    return delay(attempt, base=0.5, cap=30.0, spread=random.random())  # noqa: S311 - jitter


def _flush(batcher: Batcher) -> None:
    """What was read and not written yet; whoever follows next reads it again if this fails."""
    try:
        batcher.flush()
    except (OSError, ValueError, CapReached):
        pass  # full disk, sealed journal or full journal: nothing is lost that the token does not say
    batcher.close()


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel and wait until they have ended."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)

"""A container's log as the kubelet would serve it, with scripted ends: the fake of `ports.cluster.ContainerLogs`.

It serves `truth` (times in ns, bytes without newline) with timestamps, filters by `sinceTime` as the kubelet does (by
line, whole seconds), and ends each read as its script says. When the script is used up, reads are whole. It counts
requests, so a test can bound them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, auto

from k8s_execution.domain.facts import ContainerFact, ContainerKind, ContainerState, PodFact
from k8s_execution.logs.segments import JournalStore
from k8s_execution.ports.cluster import LogGone, LogNotReady, LogRequest, Unreachable

SECOND = 1_000_000_000
BASE = 1_700_000_000 * SECOND


class End(Enum):
    """How a scripted read ends."""

    EOF = auto()
    CUT = auto()
    GONE = auto()
    NOT_READY = auto()
    HANG = auto()


@dataclass
class Read:
    """One read: how many lines exist by then, how many bytes are sent, in which chunks, and how it ends.

    `rotated` lines are no longer in the file by then; `rotate` takes this share of the lines that were sent before,
    but leaves the last of them and does not cut through one nanosecond. A read that does not follow and is not cut
    sends all there is, whatever is scripted, unless `late`: then the node had not written the rest yet.
    """

    lines: int
    bytes: int | None = None
    end: End = End.EOF
    chunk: int = 1 << 16
    rotated: int = 0
    rotate: float = 0.0
    late: bool = False


def stamp(time: int) -> bytes:
    """RFC 3339 with nanoseconds, as the kubelet writes it."""
    seconds, nanoseconds = divmod(time, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z ".encode()


@dataclass
class ScriptedLogs:
    """Serves one container's log; `unterminated` leaves the newline off the last line."""

    truth: list[tuple[int, bytes]]
    script: list[Read] = field(default_factory=list)
    unterminated: bool = False
    requests: list[LogRequest] = field(default_factory=list)
    on_request: Callable[[int], None] = lambda _: None
    previous: list[tuple[int, bytes]] | None = None
    rotated: int = 0
    sent: int = 0

    async def read(self, request: LogRequest) -> AsyncGenerator[bytes, None]:
        self.requests.append(request)
        self.on_request(len(self.requests))
        await asyncio.sleep(0)
        source = self.truth
        if request.previous:
            if self.previous is None:
                raise LogGone("gone")
            source, plan = self.previous, Read(len(self.previous))
        else:
            plan = self.script.pop(0) if self.script else Read(len(source), rotated=self.rotated)
            if not request.follow and plan.end in {End.EOF, End.HANG} and not plan.late:
                plan = replace(plan, lines=len(source), bytes=None, end=End.EOF)
            plan = replace(plan, rotated=max(plan.rotated, self._harmless(plan.rotate)))
        self.rotated = max(self.rotated, plan.rotated)
        if plan.end is End.NOT_READY:
            raise LogNotReady
        data = self._text(source[plan.rotated : plan.lines], request.since, whole=plan.lines >= len(source))
        data = data if plan.bytes is None else data[: plan.bytes]
        for at in range(0, len(data), plan.chunk):
            yield data[at : at + plan.chunk]
        self.sent = max(self.sent, self._first(request, plan) + data.count(b"\n"))
        if plan.end is End.HANG:
            await asyncio.Event().wait()
        if plan.end is End.CUT:
            raise Unreachable
        if plan.end is End.GONE:
            raise LogGone("gone")

    def _harmless(self, share: float) -> int:
        rotated = int(share * max(0, self.sent - 1))
        while rotated and self.truth[rotated - 1][0] == self.truth[rotated][0]:
            rotated -= 1
        return rotated

    def _first(self, request: LogRequest, plan: Read) -> int:
        first = 0 if request.since is None else request.since // 1_000_000 * SECOND
        kept = range(plan.rotated, len(self.truth))
        return next((i for i in kept if self.truth[i][0] >= first), len(self.truth))

    def _text(self, lines: list[tuple[int, bytes]], since: int | None, *, whole: bool) -> bytes:
        first = 0 if since is None else since // 1_000_000 * SECOND
        text = b"".join(stamp(t) + d + b"\n" for t, d in lines if t >= first)
        return text[:-1] if whole and self.unterminated else text


def container(
    state: ContainerState = ContainerState.RUNNING,
    *,
    name: str = "application",
    restarts: int = 0,
    identity: str = "c://0",
    last: str = "",
    exit_code: int | None = None,
    finished_at: int | None = None,
    last_finished_at: int | None = None,
) -> ContainerFact:
    """A container status."""
    return ContainerFact(
        name=name,
        kind=ContainerKind.MAIN,
        image="i",
        state=state,
        container_id=identity,
        restart_count=restarts,
        last_container_id=last,
        exit_code=exit_code,
        finished_at=finished_at,
        last_finished_at=last_finished_at,
    )


def pod(*containers: ContainerFact, step: str = "") -> PodFact:
    """A pod of an application, or of a suite's step."""
    return PodFact(
        namespace="ns",
        name="pod-1",
        uid="u",
        execution_id="x1",
        created_at=0,
        application="" if step else "api",
        step=step,
        step_kind="SUITE" if step else "",
        containers=containers,
    )


def stored(store: JournalStore) -> int:
    """How many lines the journal of execution x1 holds, while its writer is there."""
    journal = store.live("x1")
    return journal.lines if journal is not None else 0

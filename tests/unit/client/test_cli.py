"""The command line as its user meets it: a process, its streams and its exit code, against the fake service."""

from __future__ import annotations

import asyncio
import json
import signal
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import grpc
import pytest

from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2 as ex
from k8s_execution_client._gen.maestro.k8s.execution.v1 import results_pb2
from unit.client.driving import DEADLINE, PLAN, cli, ended, play, run, started
from unit.client.fake_service import FakeService, Refusal


async def test_run_follows_reports_and_exits_0(service: FakeService, plan: Path) -> None:
    """Progress and lines on stderr, the report on stdout."""
    answer = await run(
        service, ex.PASSED, str(plan), tests=ex.TestCounts(total=1, passed=1), evidence=ex.Evidence(complete=True)
    )
    assert answer.code == 0, answer.err
    assert answer.err.splitlines()[0] == f"service at {service.target}"
    for part in ("== TESTING", "-- suite unit running (pod unit-pod)", "[unit-pod main] collected 1 item", "== DONE"):
        assert part in answer.err
    assert "PASSED  shop  run0" in answer.out
    assert "nothing left: namespace quality-fabric-run0 is gone" in answer.out


async def test_failed_tests_are_told_once_and_where_they_are_in_full(service: FakeService, plan: Path) -> None:
    """The log's tail went by already."""
    cause = ex.Diagnosis(code="TESTS_FAILED", message="1 of 1 tests failed", excerpt="Collecting pytest\n")
    counts = ex.TestCounts(total=1, failed=1)
    answer = await run(service, ex.TESTS_FAILED, str(plan), tests=counts, diagnosis=cause)
    assert "1 of 1 tests failed" in answer.out
    assert "Collecting pytest" not in answer.out
    assert f"what failed, in full: k8s-execution results run0 --server {service.target}" in answer.out


async def test_each_suite_that_failed_tells_why(service: FakeService, plan: Path) -> None:
    """The execution's own cause once, and not those of suites that were only stopped."""

    def cause(name: str, message: str) -> ex.Diagnosis:
        return ex.Diagnosis(code="REPORT_MISSING", object=f"suite/{name}", message=message)

    steps = [
        ex.Step(name="one", verdict=ex.PLAN_FAILED, diagnosis=cause("one", "no report here")),
        ex.Step(name="two", verdict=ex.PLAN_FAILED, diagnosis=cause("two", "no report there")),
        ex.Step(name="three", verdict=ex.CANCELLED, diagnosis=cause("three", "stopped")),
    ]
    answer = await run(service, ex.PLAN_FAILED, str(plan), diagnosis=cause("one", "no report here"), steps=steps)
    assert answer.out.count("no report here") == 1
    assert "REPORT_MISSING (suite/two): no report there" in answer.out
    assert "stopped" not in answer.out


async def test_run_shows_no_escape_sequences_of_a_log(service: FakeService, plan: Path) -> None:
    """A line cannot command the terminal."""
    answer = await run(service, ex.PASSED, str(plan))
    assert "one \\x1b]52;c;ZXZpbA==\\x07 line" in answer.err
    assert "\x1b" not in answer.err


async def test_run_uploads_the_folder_and_names_the_bundle(service: FakeService, plan: Path) -> None:
    """source.local never leaves the machine."""
    await run(service, ex.PASSED, str(plan))
    request = service.received["Execute"][0]
    assert request.test_plan.source.bundle.id in service.bundles


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (ex.TESTS_FAILED, 1),
        (ex.ENVIRONMENT_FAILED, 3),
        (ex.TIMED_OUT, 4),
        (ex.CANCELLED, 5),
        (ex.APPLICATION_FAILED, 7),
        (ex.INFRASTRUCTURE_FAILED, 8),
        (ex.PLAN_FAILED, 9),
    ],
)
async def test_each_verdict_has_its_exit_code(service: FakeService, plan: Path, verdict: Any, code: int) -> None:
    """As the contract says, with the diagnosis in the report."""
    diagnosis = ex.Diagnosis(code="WHY", message="because", excerpt="last line", hint="do this")
    answer = await run(service, verdict, str(plan), diagnosis=diagnosis)
    assert answer.code == code
    assert "WHY: because" in answer.out
    assert "| last line" in answer.out
    assert "hint: do this" in answer.out


async def test_a_flaky_pass_fails_where_it_shall(service: FakeService, plan: Path) -> None:
    """--fail-on-flaky turns it into TESTS_FAILED's code."""
    counts = ex.TestCounts(total=1, passed=1, flaky=1)
    assert (await run(service, ex.PASSED, str(plan), "--fail-on-flaky", tests=counts)).code == 1


async def test_run_writes_json_junit_and_artifacts(service: FakeService, plan: Path, tmp_path: Path) -> None:
    """stdout is the Execution and nothing else."""
    junit, folder = tmp_path / "out" / "junit.xml", tmp_path / "artifacts"
    answer = await run(service, ex.PASSED, str(plan), "-o", "json", "--junit", str(junit), "--artifacts", str(folder))
    assert json.loads(answer.out)["verdict"] == "PASSED"
    assert [case.get("name") for case in ET.parse(junit).iter("testcase")] == ["test_x"]
    assert await asyncio.to_thread((folder / "report.xml").read_bytes) == b"<x/>"


@pytest.mark.parametrize("option", ["--artifacts", "--junit"])
async def test_what_cannot_be_written_later_is_refused_before_the_run(
    service: FakeService, plan: Path, option: str
) -> None:
    """Nothing is accepted."""
    answer = await cli(service, "run", str(plan), option, "/proc/nothing/here")
    assert (answer.code, "cannot write below" in answer.err) == (2, True)
    assert not service.kept


async def test_ctrl_c_once_cleans_up_and_goes_on_following(service: FakeService, plan: Path) -> None:
    """The service is asked to clean up; the run ends CANCELLED."""
    async with started(service, "run", str(plan)) as process:
        execution_id = await service.accepted.get()
        await _until_following(process)
        process.send_signal(signal.SIGINT)
        await service.called("Cleanup")
        await service.seal(execution_id)
        await service.change(execution_id, phase=ex.CLEANING, verdict=ex.CANCELLED)
        await service.change(execution_id, phase=ex.DONE)
        answer = await ended(process)
    assert answer.code == 5
    assert "cancelling and cleaning up" in answer.err


async def test_ctrl_c_twice_leaves_and_says_how_to_find_it(service: FakeService, plan: Path) -> None:
    """The process ends at once."""
    async with started(service, "run", str(plan)) as process:
        await service.accepted.get()
        await _until_following(process)
        process.send_signal(signal.SIGTERM)
        await service.called("Cleanup")
        process.send_signal(signal.SIGINT)
        answer = await ended(process)
    assert answer.code == 130
    assert f"k8s-execution status run0 --server {service.target}" in answer.err


async def test_sigterm_ends_a_waiting_command_in_order(service: FakeService) -> None:
    """As Ctrl-C does, with the code of SIGTERM and no traceback."""
    service.add("run0")
    async with started(service, "wait", "run0") as process:
        await service.called("Status")
        process.send_signal(signal.SIGTERM)
        answer = await ended(process)
    assert (answer.code, answer.err) == (143, "")


async def test_a_run_whose_progress_nobody_reads_goes_on(service: FakeService, plan: Path) -> None:
    """`run 2>&1 >report | head` must not leave an environment behind."""
    async with started(service, "run", str(plan)) as process:
        assert process.stderr is not None
        await process.stderr.readline()
        process.stderr._transport.close()  # type: ignore[attr-defined]  # asyncio has no public way to close a pipe's reading end
        await play(service, ex.PASSED)
        async with asyncio.timeout(DEADLINE):
            assert process.stdout is not None
            out = await process.stdout.read()
            code = await process.wait()
    assert code == 0
    assert b"nothing left" in out


async def test_a_run_that_cannot_be_followed_says_the_way_back(service: FakeService, plan: Path) -> None:
    """The execution goes on; here the service refuses to show it."""
    gone = Refusal(grpc.StatusCode.PERMISSION_DENIED, "the token is not valid any more", "FORBIDDEN")
    service.refuse("Watch", gone)
    answer = await cli(service, "run", str(plan))
    assert answer.code == 6
    assert "FORBIDDEN" in answer.err
    assert "k8s-execution status run0" in answer.err


async def _until_following(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE):
        while b"== QUEUED" not in await process.stderr.readline():
            pass


async def test_a_bad_plan_is_told_whole_and_sends_nothing(service: FakeService, plan: Path) -> None:
    """All problems, exit code 2."""
    await asyncio.to_thread(plan.write_text, PLAN.replace("name: shop", "nmae: shop").replace("PYTEST", "pytest"))
    answer = await cli(service, "run", str(plan))
    assert answer.code == 2
    assert "did you mean name?" in answer.err
    assert "write PYTEST" in answer.err
    assert not service.received["Execute"]


async def test_a_refused_plan_exits_2_with_the_services_problems(service: FakeService, plan: Path) -> None:
    """The violations of the rich error are shown."""
    violations = (("test_plan.suites[0].image", "must be an image; write python:3"),)
    service.refuse("Execute", Refusal(grpc.StatusCode.INVALID_ARGUMENT, "bad plan", "VALIDATION_FAILED", violations))
    answer = await cli(service, "run", str(plan))
    assert answer.code == 2
    assert "test_plan.suites[0].image: must be an image; write python:3" in answer.err


async def test_a_full_queue_exits_6(service: FakeService, plan: Path) -> None:
    """The service refuses, which is not the caller's fault."""
    service.refuse("Execute", Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", "QUEUE_FULL"))
    assert (await cli(service, "run", str(plan))).code == 6


async def test_no_service_exits_6(service: FakeService) -> None:
    """Said with the address."""
    await service.stop()
    answer = await cli(service, "status", "@last")
    assert answer.code == 6
    assert f"no service answers at {service.target}: Connection refused (is it running?" in answer.err


@pytest.mark.parametrize("identity", ["run0", "ru", "@last"])
async def test_an_id_may_be_a_beginning_or_last(service: FakeService, identity: str) -> None:
    """All mean the one execution."""
    service.add("run0", name="shop")
    answer = await cli(service, "status", identity, "-o", "name")
    assert (answer.code, answer.out) == (0, "run0\n")


async def test_an_ambiguous_beginning_names_the_candidates(service: FakeService) -> None:
    """Nothing is guessed."""
    service.add("run0")
    service.add("run1")
    answer = await cli(service, "status", "run")
    assert answer.code == 2
    assert "run1, run0" in answer.err


async def test_wait_ends_with_the_verdicts_code(service: FakeService) -> None:
    """Held until the verdict is fixed."""
    service.add("run0")
    async with started(service, "wait", "run0") as process:
        await service.called("Status")
        await service.change("run0", phase=ex.CLEANING, verdict=ex.TIMED_OUT)
        answer = await ended(process)
    assert (answer.code, answer.out) == (4, "run0\n")


async def test_logs_of_one_stream_are_the_plain_lines(service: FakeService) -> None:
    """No prefix, and byte for byte what the container wrote, for pipes."""
    service.add("run0")
    await service.log("run0", "a", "\x1b[31mred\x1b[0m")
    answer = await cli(service, "logs", "run0")
    assert answer.out == "a\n\x1b[31mred\x1b[0m\n"


async def test_logs_of_several_streams_say_whose_each_line_is(service: FakeService) -> None:
    """[pod container] before each line."""
    service.add("run0")
    await service.log("run0", "a")
    await service.log("run0", "b", pod="api-1", container="api")
    answer = await cli(service, "logs", "run0")
    assert answer.out == "[unit-pod main] a\n[api-1 api] b\n"


async def test_a_gap_in_a_log_is_seen_but_is_no_line(service: FakeService) -> None:
    """On stderr, with its cause."""
    kept = service.add("run0")
    await service.log("run0", "after")
    kept.batches[0].gap.from_sequence, kept.batches[0].gap.to_sequence = 0, 4
    kept.batches[0].gap.reason = "ROTATED: the node dropped them"
    answer = await cli(service, "logs", "run0")
    assert answer.out == "after\n"
    assert "5 lines are missing before line 5: ROTATED" in answer.err


async def test_logs_go_on_after_a_cursor(service: FakeService) -> None:
    """And tell the one to go on with."""
    service.add("run0")
    await service.log("run0", "a")
    await service.log("run0", "b")
    answer = await cli(service, "logs", "run0", "--cursor", "l-1", "--timestamps", "--show-cursor")
    assert answer.out == "2027-01-15T08:00:00.000000Z b\n"
    assert answer.err == "l-2\n"


async def test_a_reader_that_goes_away_ends_the_command_quietly(service: FakeService) -> None:
    """As `logs | head` does."""
    service.add("run0")
    for _ in range(50):
        await service.log("run0", *["x" * 1000] * 20)
    async with started(service, "logs", "run0") as process:
        assert process.stdout is not None
        await process.stdout.readline()
        process.stdout._transport.close()  # type: ignore[attr-defined]  # asyncio has no public way to close a pipe's reading end
        async with asyncio.timeout(DEADLINE):
            assert process.stderr is not None
            err = await process.stderr.read()
            code = await process.wait()
    assert (code, err) == (141, b"")


async def test_list_shows_newest_first_in_every_format(service: FakeService) -> None:
    """Names, JSON and a table of the same."""
    service.add("run0", name="shop")
    service.add("run1", name="shop")
    assert (await cli(service, "list", "-o", "name")).out == "run1\nrun0\n"
    assert [e["id"] for e in json.loads((await cli(service, "list", "-o", "json")).out)["executions"]] == [
        "run1",
        "run0",
    ]
    assert (await cli(service, "list")).out.splitlines()[0].split() == [
        "ID",
        "NAME",
        "PHASE",
        "VERDICT",
        "TESTS",
        "AGE",
    ]


async def test_an_unknown_filter_names_those_there_are(service: FakeService) -> None:
    """A phase that is none."""
    answer = await cli(service, "list", "--phase", "RUNNING")
    assert answer.code == 2
    assert "TESTING" in answer.err


async def test_sweep_without_yes_changes_nothing(service: FakeService) -> None:
    """The request's default deletes, so the command line says dry_run."""
    service.orphans.append(results_pb2.Orphan(namespace="quality-fabric-x", reason=results_pb2.Orphan.NO_EXECUTION))
    answer = await cli(service, "sweep")
    assert "quality-fabric-x" in answer.out
    assert [r.dry_run for r in service.received["SweepOrphans"]] == [True]
    await cli(service, "sweep", "--yes")
    assert service.received["SweepOrphans"][1].dry_run is False


async def test_cancel_asks_and_answers_at_once(service: FakeService) -> None:
    """The wish is stored."""
    service.add("run0")
    answer = await cli(service, "cancel", "run0")
    assert (answer.code, answer.out) == (0, "run0 QUEUED\n")
    assert service.received["Cleanup"][0].execution_id == "run0"


async def test_render_prints_one_yaml_stream(service: FakeService, plan: Path) -> None:
    """For kubectl apply -f -."""
    service.objects.append(results_pb2.RenderedObject(kind="Namespace", name="a", yaml="kind: Namespace\n"))
    service.objects.append(results_pb2.RenderedObject(kind="Job", name="b", yaml="kind: Job\n"))
    assert (await cli(service, "render", str(plan))).out == "---\nkind: Namespace\n---\nkind: Job\n"


async def test_results_show_what_failed(service: FakeService) -> None:
    """With message and trace."""
    kept = service.add("run0")
    kept.results.suites.add(name="unit", verdict=ex.TESTS_FAILED, tests=ex.TestCounts(total=1, failed=1))
    failed = results_pb2.TestCase.FAILED
    kept.results.cases.add(suite="unit", name="test_a", status=failed, message="assert 1 == 2", details="trace\nhere")
    answer = await cli(service, "results", "run0")
    for part in ("TESTS_FAILED", "FAILED unit test_a", "assert 1 == 2", "| here"):
        assert part in answer.out


async def test_artifacts_are_listed_and_downloaded(service: FakeService, tmp_path: Path) -> None:
    """The folder is made."""
    service.add("run0").files["a/b.txt"] = b"content"
    assert (await cli(service, "artifacts", "run0", "-o", "name")).out == "a/b.txt\n"
    assert (await cli(service, "artifacts", "run0", str(tmp_path / "new"))).code == 0
    assert (tmp_path / "new" / "a" / "b.txt").read_bytes() == b"content"


@pytest.mark.parametrize(("serving", "code"), [(True, 0), (False, 6)])
async def test_health_is_an_exit_code(service: FakeService, serving: bool, code: int) -> None:
    """For container probes."""
    service.serving = serving
    assert (await cli(service, "health")).code == code


async def test_watch_prints_events_until_done(service: FakeService) -> None:
    """One line each, or JSON lines."""
    service.add("run0")
    await service.change("run0", ex.StatusEvent.PHASE_CHANGED, phase=ex.TESTING)
    await service.change("run0", ex.StatusEvent.PHASE_CHANGED, phase=ex.DONE)
    lines = (await cli(service, "watch", "run0", "-o", "json")).out.splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == ["1", "2"]
    assert "PHASE_CHANGED TESTING" in (await cli(service, "watch", "run0")).out


async def test_contradicting_places_are_refused(service: FakeService) -> None:
    """A remote service and a cluster at once."""
    answer = await cli(service, "list", "--server", service.target, "--context", "x")
    assert answer.code == 2
    assert "give one" in answer.err


async def test_a_defect_has_its_own_code(service: FakeService) -> None:
    """What nobody expected is no verdict."""
    service.refuse("Status", Refusal(grpc.StatusCode.INTERNAL, "incident 7f3a"))
    service.add("run0")
    answer = await cli(service, "status", "run0")
    assert answer.code == 70
    assert "incident 7f3a" in answer.err

"""The command line as users and CI jobs have it: what they type, what they read, what the exit code says."""

from __future__ import annotations

import asyncio
import signal
import xml.etree.ElementTree as ET
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from support import oracle, plans
from support.commands import Ended, Folder, ended, until_said
from support.service import Service

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

SMALLEST = (
    "test_plan: {source: {local: {path: .}}, suites: [{name: unit, type: PYTEST, "
    'image: "python:3-slim", install: [[pip, install, -r, requirements.txt]]}]}\n'
)
TESTS = """
import os, pathlib

def test_x():
    pathlib.Path(os.environ["ARTIFACT_DIR"], "kept.txt").write_text("kept")
"""


@pytest.fixture
def service(shared: Service) -> Service:
    """One service for all tests of this file: each leaves it as it was."""
    return shared


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty folder of a user with an empty home."""
    made = tmp_path / "user"
    made.mkdir()
    return Folder(made)


async def test_the_smallest_plan_just_works_and_is_remembered(folder: Folder) -> None:
    """`run plan.yaml` without a cluster: exit code 0; logs, list, results, status and artifacts afterwards."""
    folder.write("test_x.py", TESTS)
    folder.write("requirements.txt", "pytest\n")
    folder.write("plan.yaml", SMALLEST)
    data = ("--data", folder.path / "kept-data")
    ran = await folder.run("run", "plan.yaml", "--junit", "all.xml", *data)
    assert ran.code == 0, ran
    assert "SIMULATED" in ran.err.splitlines()[0]
    assert "PASSED" in ran.out
    (case,) = ET.parse(folder.path / "all.xml").getroot().iter("testcase")
    assert case.get("name") == "test_x"
    logs, listed, results, status, artifacts = await asyncio.gather(
        folder.run("logs", "@last", *data),
        folder.run("list", "-o", "json", *data),
        folder.run("results", "@last", "-o", "wide", *data),
        folder.run("status", "@last", "-o", "json", *data),
        folder.run("artifacts", "@last", "brought", *data),
    )
    for answer in (logs, listed, results, status, artifacts):
        assert answer.code == 0, answer
    assert "1 passed" in logs.out
    assert "test_x" in results.out
    (execution,) = listed.json()["executions"]
    assert (execution["phase"], execution["verdict"]) == ("DONE", "PASSED")
    assert status.json()["id"] == execution["id"]
    assert status.json()["tests"]["passed"] == 1
    assert [p.read_text() for p in (folder.path / "brought").rglob("kept.txt")] == ["kept"]


@pytest.mark.parametrize(
    ("plan", "code", "word"),
    [
        pytest.param(plans.plan(tests="def test_no():\n    assert 1 == 2\n"), 1, "TESTS_FAILED", id="failing test"),
        pytest.param({**plans.plan(), "name": "Bad Name"}, 2, "name", id="bad plan"),
        pytest.param(
            plans.plan(plans.shell("s", "true", image="registry.invalid/x:1")), 3, "IMAGE_PULL", id="missing image"
        ),
        pytest.param(plans.plan(tests="import nowhere\n"), 9, "nowhere", id="missing module"),
    ],
)
async def test_the_exit_code_of_run(service: Service, folder: Folder, plan: plans.Plan, code: int, word: str) -> None:
    """1, 2, 3 and 9 by the verdict, with the cause in words; against a remote service."""
    folder.write("plan.yaml", plan)
    ran = await folder.run("run", "plan.yaml", "--server", service.address)
    assert ran.code == code, ran
    assert word in ran.out + ran.err, ran
    oracle.nothing_left(service.kubeconfig)


async def test_json_on_stdout_and_all_else_on_stderr(service: Service, folder: Folder) -> None:
    """`run -o json` can be piped; `wait` has the same exit code; a prefix of the id is enough."""
    folder.write("plan.json", plans.plan(plans.shell("s", "echo piped; exit 3")))
    at = ("--server", service.address)
    ran = await folder.run("run", "plan.json", "-o", "json", *at)
    assert ran.code == 1, ran
    execution = ran.json()
    assert (execution["verdict"], execution["diagnosis"]["code"]) == ("TESTS_FAILED", "TESTS_FAILED")
    assert "piped" in ran.err
    waited = await folder.run("wait", execution["id"][:12], *at)
    assert waited.code == 1, waited
    await oracle.check(service, execution["id"], "TESTS_FAILED")


async def test_ctrl_c_once_cancels_cleans_and_says_so(simulation: Path, folder: Folder) -> None:
    """Exit code 5, the lines so far kept, the teardown hook run, nothing left in the cluster."""
    plan = plans.plan(plans.shell("s", "echo begun; exec sleep 60"), teardown=[plans.hook("h", "echo torn down")])
    folder.write("plan.yaml", plan)
    data = ("--data", folder.path / "data")
    process = await folder.start("run", "plan.yaml", "--kubeconfig", simulation, *data)
    said = await until_said(process, lambda line: line.rstrip().endswith("begun"))
    process.send_signal(signal.SIGINT)
    ran = await ended(process, said)
    assert ran.code == 5, ran
    assert "cancelling" in ran.err
    oracle.nothing_left(simulation)
    logs = await folder.run("logs", "@last", "--no-prefix", *data)
    assert {"begun", "torn down"} <= set(logs.out.splitlines()), logs


async def kubectl(simulation: Path, *arguments: str, stdin: str = "") -> Ended:
    """kubectl on the cluster."""
    command = [str(oracle.KUBECTL), "--kubeconfig", str(simulation), *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def test_rendered_objects_can_be_applied_twice_and_sweep_finds_them(simulation: Path, folder: Folder) -> None:
    """`render | kubectl apply -f -`, again unchanged; `sweep` shows the namespace and touches nothing."""
    folder.write("plan.yaml", plans.with_api(plans.shell("s", "true")))
    rendered = await folder.run("render", "plan.yaml")
    assert rendered.code == 0, rendered
    first = await kubectl(simulation, "apply", "-f", "-", stdin=rendered.out)
    assert first.code == 0, first
    namespace = next(line.split()[0].removeprefix("namespace/") for line in first.out.splitlines())
    try:
        second = await kubectl(simulation, "apply", "-f", "-", stdin=rendered.out)
        assert second.code == 0, second
        assert {line.rsplit(" ", 1)[-1] for line in second.out.splitlines()} == {"unchanged"}, second
        swept = await folder.run("sweep", "--kubeconfig", simulation, "-o", "json")
        assert swept.code == 0, swept
        assert swept.json()["dry_run"] is True
        assert namespace in [o["namespace"] for o in swept.json()["orphans"]], swept
        still = await kubectl(simulation, "get", "namespace", namespace, "-o", "jsonpath={.status.phase}")
        assert still.out == "Active", still
    finally:
        gone = await kubectl(simulation, "delete", "namespace", namespace, "--wait")
    assert gone.code == 0, gone
    oracle.nothing_left(simulation)


async def test_validate_tells_every_problem_of_a_bad_plan(folder: Folder) -> None:
    """Exit code 2; each field that is wrong is named, and nothing of a good one."""
    plan = plans.with_api(plans.shell("s", "true", timeout="soon"), application=plans.api(image="a b", replicas=99))
    folder.write("bad.yaml", plan)
    folder.write("good.yaml", plans.plan(plans.shell("s", "true")))
    bad, good = await asyncio.gather(folder.run("validate", "bad.yaml"), folder.run("validate", "good.yaml"))
    assert bad.code == 2, bad
    for field in ("test_plan.suites[0].timeout", "applications[0].image", "applications[0].replicas"):
        assert field in bad.out, bad
    assert good.code == 0, good
    assert "good.yaml is valid" in good.out

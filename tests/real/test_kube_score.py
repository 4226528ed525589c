"""kube-score, a linter of manifests, finds nothing critical in what `render` prints and in `deploy/`.

What is critical to it and right here is listed with the reason; an entry that is not found any more must go.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from cluster import builds
from deploy.rules import DEPLOY
from support import plans
from support.service import COMMAND

CRITICAL = 1
ENVIRONMENTS = {
    "container-image-pull-policy": """Environments live for minutes; asking a registry for each of their pods costs
        seconds, and fail with the registry.""",
    "container-ephemeral-storage-request-and-limit": """Where a plan bounds it, the namespace's LimitRange gives every
        container its share, which kube-score does not read; a bound that the plan does not set would evict suites that
        are fine.""",
    "container-security-context-readonlyrootfilesystem": """Users' images and tests write where they like. An
        application can say `writable_root: false`; our own containers do.""",
    "container-security-context-user-group-id": """It wants numbers above 10000. Images are made for their own user
        (postgres 999, most others 1000): not root, no capabilities, no privilege escalation.""",
    "deployment-has-poddisruptionbudget": """A node may be drained; the environments on it end with NODE_LOST.""",
}
SERVICE = {"container-image-pull-policy": "The tag is a release, which does not move."}


@pytest.fixture(scope="module")
def kube_score() -> Path:
    """The program, built once."""
    return builds.build(builds.KUBE_SCORE, print) / "kube-score"


def findings(program: Path, files: Sequence[Path]) -> dict[str, set[str]]:
    """The critical findings: check to the objects and containers that it is about."""
    command = [str(program), "score", "--kubernetes-version=v1.35", "--output-format=json", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found: dict[str, set[str]] = {}
    for scored in json.loads(done.stdout):
        for check in scored["checks"]:
            if not check["skipped"] and check["grade"] <= CRITICAL:
                paths = {f"{scored['object_name']} {c['path']}" for c in check["comments"] or [{"path": ""}]}
                found.setdefault(check["check"]["id"], set()).update(paths)
    return found


def render(plan: plans.Plan, folder: Path) -> Path:
    """The objects of a plan, in a file."""
    source, rendered = folder / "plan.json", folder / "rendered.yaml"
    source.write_text(json.dumps(plan))
    command = [str(COMMAND), "render", str(source), "--data", str(folder / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    rendered.write_text(done.stdout)
    return rendered


def wide() -> plans.Plan:
    """A plan with everything that becomes an object."""
    plan = plans.with_api(
        plans.suite(),
        setup=[plans.hook("prepare", "true")],
        teardown=[plans.hook("dump", "true")],
        application=plans.api(replicas=2, security={"writable_root": False}),
    )
    plan["environment"] |= {"secrets": {"TOKEN": {"value": "a-secret-of-the-test"}}}
    return plan


def test_an_environment_has_no_critical_finding_without_a_reason(kube_score: Path, tmp_path: Path) -> None:
    """And every reason is still needed."""
    assert set(findings(kube_score, [render(wide(), tmp_path)])) == set(ENVIRONMENTS)


def test_only_the_containers_that_run_a_users_command_write_to_their_root(kube_score: Path, tmp_path: Path) -> None:
    """The agent, the collector, and an application that says so do not."""
    found = findings(kube_score, [render(wide(), tmp_path)])["container-security-context-readonlyrootfilesystem"]
    assert {path.rsplit(" ", 1)[1] for path in found} == {"step"}


def test_the_service_has_no_critical_finding_without_a_reason(kube_score: Path) -> None:
    """And every reason is still needed."""
    assert set(findings(kube_score, sorted(DEPLOY.glob("*.yaml")))) == set(SERVICE)

"""What `render` prints can be applied: the API server accepts it dry, takes it, and finds nothing to change."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import plans
from support.kubectl import Kubectl
from support.service import COMMAND

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
WIDE = {
    **plans.with_api(
        plans.suite(),
        plans.shell("s", "true"),
        setup=[plans.hook("prepare", "true")],
        teardown=[plans.hook("dump", "true")],
        application=plans.api(replicas=2, volumes=[{"name": "data", "mount_path": "/data", "size": "16Mi"}]),
    ),
    "name": "wide",
}
WIDE["environment"] |= {
    "env": {"LOG_LEVEL": "debug"},
    "secrets": {"TOKEN": {"value": "a-secret-of-the-test"}},
    "network": {"egress": [{"cidr": "192.0.2.0/24", "ports": [443]}]},
}
PLANS: dict[str, Any] = {
    "one suite": plans.plan(plans.shell("s", "true")),
    "an application": plans.with_api(plans.shell("s", "true")),
    "all there is": WIDE,
}


@pytest.fixture(params=[*PLANS, "the shop example"])
def rendered(request: pytest.FixtureRequest, tmp_path: Path) -> list[dict[str, Any]]:
    """The objects of a plan, as `render` prints them."""
    if (plan := PLANS.get(request.param)) is None:
        file = EXAMPLES / "shop" / "plan.yaml"
    else:
        file = tmp_path / "plan.json"
        file.write_text(json.dumps(plan))
    command = [str(COMMAND), "render", str(file), "--data", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@pytest.fixture
def kubectl(kubeconfig: Path, tmp_path: Path, rendered: list[dict[str, Any]]) -> Iterator[Kubectl]:
    """kubectl in the namespace of the objects, which is gone afterwards."""
    made = Kubectl(kubeconfig, tmp_path / "cache", namespace(rendered))
    try:
        yield made
    finally:
        made.asserted("delete", "namespace", made.namespace, "--ignore-not-found", "--wait")


def namespace(rendered: list[dict[str, Any]]) -> str:
    """The name of the one namespace."""
    (found,) = [o["metadata"]["name"] for o in rendered if o["kind"] == "Namespace"]
    return str(found)


def last_words(lines: str) -> Counter[str]:
    """How often kubectl said `created`, `unchanged` and so on."""
    return Counter(line.removesuffix(" (server dry run)").rsplit(" ", 1)[-1] for line in lines.splitlines())


def test_rendered_objects_are_accepted_dry_taken_and_then_unchanged(
    kubectl: Kubectl, rendered: list[dict[str, Any]]
) -> None:
    """Without a warning, field by field strict."""
    stream = yaml.safe_dump_all(rendered)
    first = yaml.safe_dump(next(o for o in rendered if o["kind"] == "Namespace"))
    kubectl.asserted("apply", "-f", "-", stdin=first)
    kubectl.asserted("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    dry = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=stream)
    assert (dry.code, dry.err) == (0, "")
    assert last_words(dry.out) == {"unchanged": 1, "created": len(rendered) - 1}, dry.out
    taken = kubectl("apply", "--validate=strict", "-f", "-", stdin=stream)
    assert (taken.code, taken.err) == (0, "")
    assert last_words(taken.out) == last_words(dry.out), taken.out
    again = kubectl("apply", "--validate=strict", "-f", "-", stdin=stream)
    assert (again.code, again.err) == (0, "")
    assert last_words(again.out) == {"unchanged": len(rendered)}, again.out
    no_difference = kubectl("diff", "-f", "-", stdin=stream)
    assert no_difference.code == 0, no_difference.out

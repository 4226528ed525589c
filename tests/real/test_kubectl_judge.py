"""kubectl as judge: the same commands on the real and on the simulated cluster print the same.

What differs by intent is a row of DIFFERENCES with its reason, and in docs/simulation.md. Any other difference is a
defect of the simulation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from real.normal import flat, normal
from real.script import STEPS, Step
from support.kubectl import Kubectl, Said

NODE_WORDS = {"docker.io/library/": ""}
"""A real runtime tells an image by its full name; the simulated one as it was asked for."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Lines that are not compared, in the steps whose whole name matches."""

    steps: str
    lines: str
    reason: str

    def covers(self, step: Step, line: str) -> bool:
        """True if this line of this step is not compared."""
        return bool(re.fullmatch(self.steps, step.name) and re.search(self.lines, line))


DIFFERENCES = (
    Difference(
        "get pod/alone -o (yaml|json)",
        r"containerStatuses\[0\]\.user\.",
        "one uid: the node has no groups to tell",
    ),
    Difference(
        "describe pod/alone|events of a pod",
        r"\bNormal  Pull(ing|ed)\b",
        "the images of a real node were imported before; here an image is a folder, and its first use in a pod a pull",
    ),
    Difference(
        "rollout status.*",
        r"^Waiting for deployment",
        "how far a roll-out is when one looks: the moment",
    ),
)


@dataclass(frozen=True, slots=True)
class Played:
    """What each step of the script left on one cluster, and the cluster's own words."""

    said: dict[str, Said]
    names: dict[str, str]

    def lines(self, step: Step) -> list[str]:
        """What is compared: exit code, output, error output."""
        said = self.said[step.name]
        out = flat(said.out) if step.document and said.code == 0 else said.out
        found = [*normal(out, self.names), "--- stderr", *normal(said.err, self.names)]
        kept = [line for line in found if not any(d.covers(step, line) for d in DIFFERENCES)]
        return [f"exit code {said.code}", *(sorted(kept) if step.unordered else kept)]


def play(kubeconfig: Path, cache: Path) -> Played:
    """The whole script in a fresh namespace."""
    cluster, name = Kubectl(kubeconfig, cache), f"judge-{uuid4().hex[:8]}"
    names = {name: "NAMESPACE", cluster.node(): "NODE", **NODE_WORDS}
    with cluster.fresh(name) as kubectl:
        return Played({s.name: kubectl(*s.arguments, stdin=s.stdin) for s in STEPS}, names)


@pytest.fixture(scope="module")
def played(kubeconfig: Path, simulation: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Played]]:
    """The script on the real and on the simulated cluster, side by side."""
    cache = tmp_path_factory.mktemp("kubectl")
    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(play, config, cache / str(i)) for i, config in enumerate((kubeconfig, simulation))]
        yield [run.result() for run in runs]


@pytest.mark.timeout(600)  # the first one plays the script
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_both_clusters_print_the_same(played: list[Played], step: Step) -> None:
    """Exit code and both outputs, after normalising."""
    real, simulated = played
    assert simulated.lines(step) == real.lines(step)


def test_the_script_has_no_step_twice() -> None:
    """Steps are told apart by name."""
    assert len({s.name for s in STEPS}) == len(STEPS)

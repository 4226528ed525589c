"""Runs the tests that want a real Kubernetes on one: the Kubernetes suite, the end-to-end tests, and `tests/real`.

    PYTHONPATH=tests python tools/test_cluster.py [--name NAME] [PYTEST ARGUMENTS]

Uses the cluster of that name if it is up, and leaves it; else brings it up, and takes it down at the end, also when the
tests fail or are interrupted. What a killed run left is removed by the next. Paths among the arguments replace the
three folders. The whole Kubernetes suite is run on a simulated cluster too; `build/kubernetes-suite.md` then has every
case on both (`tools/suite_table.py`). Exit code: that of pytest, or of the table.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster import harness, processes, state
from cluster.faults import ClusterFault
from cluster.layout import ROOT as CLUSTERS
from cluster.layout import Layout

ROOT = Path(__file__).resolve().parents[1]
KUBERNETES = "tests/kubernetes"
SUITES = (KUBERNETES, "tests/e2e", "tests/real")
BUILD = ROOT / "build"
TABLE = BUILD / "kubernetes-suite.md"
TEST_SECONDS = "600"
"""The limit of one test: a real kubelet looks at its pods once a second, and backs off for minutes."""

END_SECONDS = 120.0
"""What interrupted tests may take to end."""

RUN = "K8S_EXECUTION_TEST_RUN"
"""In the environment of all that a run starts: the name of its cluster."""

STAYS = "stays"


def say(message: str) -> None:
    """Progress for a person."""
    sys.stderr.write(f"test-cluster: {message}\n")


@contextmanager
def running(name: str) -> Iterator[Layout]:
    """The cluster of this name; taken down at the end if it was not up before.

    What a killed run left of itself is ended, and its cluster is replaced: nobody knows what it was doing to it.
    """
    with state.tests_lock(name):
        # Tests restart processes of the cluster; those stay.
        processes.stop(set(processes.with_variable(RUN, name)) - set(processes.marked(CLUSTERS / name)), END_SECONDS)
        before = harness.status(name)
        stays = before is not None and before.healthy
        if before is not None and before.layout.tests.exists():
            say(f"an earlier run was killed while it used the cluster {name}: removing that first")
            stays = before.layout.tests.read_text(encoding="ascii") == STAYS
            harness.down(name, say)
        layout = harness.up(name, say)
        layout.tests.write_text(STAYS if stays else "", encoding="ascii")
        try:
            yield layout
        finally:
            if stays:
                layout.tests.unlink(missing_ok=True)
                say(f"the cluster {name} was up before and stays; `make cluster-down CLUSTER={name}` removes it")
            else:
                harness.down(name, say)


def environment(layout: Layout) -> dict[str, str]:
    """What the tests, and the service that they start, must know of the cluster."""
    return {
        **os.environ,
        RUN: layout.name,
        "K8S_EXECUTION_TEST_KUBECONFIG": str(layout.kubeconfig),
        "K8S_EXECUTION_TEST_API_RESTART": restart_of_api_server(layout.name),
        "K8S_EXECUTION_TEST_NODE_CREDENTIALS": str(layout.pki),
        "K8S_EXECUTION_PIP_INDEX_URL": layout.package_index,
        "K8S_EXECUTION_EGRESS": f"{layout.host_address}/32:{layout.relay_port}",
    }


def restart_of_api_server(name: str) -> str:
    """The command that makes the API server forget its history."""
    program = ["env", f"PYTHONPATH={ROOT / 'tests'}", sys.executable, "-m", "cluster", "restart"]
    return shlex.join([*program, "--name", name, "--process", "kube-apiserver"])


def test(layout: Layout, arguments: Sequence[str]) -> int:
    """Run pytest; its exit code. The whole Kubernetes suite is run on a simulated cluster too, and both are tabled."""
    named = [a for a in arguments if (ROOT / a.partition("::")[0]).exists()]
    options, paths = [a for a in arguments if a not in named], named or list(SUITES)
    if KUBERNETES not in paths or any(o.startswith(("-k", "-m", "--lf", "--deselect")) for o in options):
        return pytest(environment(layout), [*paths, *options])
    simulated, real = BUILD / "kubernetes-simulated.xml", BUILD / "kubernetes-real.xml"
    for report in (simulated, real):
        report.unlink(missing_ok=True)  # a table must not be made of yesterday's
    say("the Kubernetes suite on a simulated cluster")
    codes = [pytest(without_cluster(layout), [KUBERNETES, *options, f"--junit-xml={simulated}"])]
    say(f"the tests on the cluster {layout.name}")
    codes.append(pytest(environment(layout), [*paths, *options, f"--junit-xml={real}"]))
    table = [sys.executable, str(ROOT / "tools" / "suite_table.py"), str(simulated), str(real), "--output", str(TABLE)]
    codes.append(subprocess.run(table, check=False).returncode)
    return next((code for code in codes if code), 0)


def without_cluster(layout: Layout) -> dict[str, str]:
    """The environment of tests that must not know of the cluster, and start their own simulated one."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("K8S_EXECUTION_")}
    return {**own, RUN: layout.name}


def pytest(environ: dict[str, str], arguments: Sequence[str]) -> int:
    """One run; its exit code."""
    command = [sys.executable, "-m", "pytest", f"--timeout={TEST_SECONDS}", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env=environ)
    try:
        return process.wait()
    except BaseException:  # interrupted: pytest ends what its tests started, and only then the cluster goes
        process.send_signal(signal.SIGINT)
        process.wait(END_SECONDS)
        raise


def main() -> int:
    """The command; 1 and the reason if the cluster does not come up."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--name", default="default", help="the cluster (default: %(default)s)")
    given, arguments = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began = time.monotonic()
    try:
        with running(given.name) as layout:
            code = test(layout, arguments)
    except ClusterFault as fault:
        say(str(fault))
        return 1
    say(f"ended with {code} after {(time.monotonic() - began) / 60:.1f} minutes")
    return code


if __name__ == "__main__":
    sys.exit(main())

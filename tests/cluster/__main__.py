"""The command line: `python -m cluster up|down|status|build|restart|stop|start [--name NAME]`.

Progress goes to standard error, answers (a kubeconfig's path, a status) to standard output.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cluster import harness, prepare, state
from cluster.faults import ClusterFault
from cluster.layout import ROOT


def say(message: str) -> None:
    """Progress for a person."""
    sys.stderr.write(f"cluster: {message}\n")


def answer(text: str) -> None:
    """What was asked for."""
    sys.stdout.write(f"{text}\n")


def up(name: str, fake_nodes: int, *, fast: bool) -> int:
    """Bring it up and print where its kubeconfig is."""
    answer(str(harness.up(name, say, fake_nodes=fake_nodes, fast=fast).kubeconfig))
    return 0


def down(name: str) -> int:
    """Remove it; fine if there is none."""
    if not harness.down(name, say):
        say(f"there is no cluster {name}")
    return 0


def status(name: str) -> int:
    """Print how it is; 1 if it is not up."""
    found = harness.status(name)
    if found is None:
        others = state.names(ROOT)
        answer(f"there is no cluster {name}" + (f"; there is: {', '.join(others)}" if others else ""))
        return 1
    answer(harness.describe(found))
    return 0 if found.healthy else 1


def change(name: str, command: str, process: str) -> int:
    """Kill a process, start it, or both."""
    {"restart": harness.restart, "stop": harness.stop, "start": harness.start}[command](name, process, say)
    return 0


def run(given: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    match given.command:
        case "up":
            return up(given.name, given.nodes, fast=given.fast)
        case "down":
            return down(given.name)
        case "build":
            prepare.build(say)
            return 0
        case "restart" | "stop" | "start":
            return change(given.name, given.command, given.process or "")
        case _:
            return status(given.name)


def main(arguments: list[str]) -> int:
    """Run one command; 1 and the reason on standard error if it fails."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {Path(__file__).parent.name}", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("command", choices=("up", "down", "status", "build", "restart", "stop", "start"))
    parser.add_argument("--name", default="default", help="several clusters can run at once (default: %(default)s)")
    parser.add_argument("--nodes", type=int, default=0, help="fake nodes that `up` makes beside the real one")
    parser.add_argument("--fast", action="store_true", help="raised rates of controllers and scheduler, for benchmarks")
    parser.add_argument(
        "--process", choices=harness.RESTARTABLE, help="which one `restart`, `stop` and `start` are about"
    )
    try:
        return run(parser.parse_args(arguments))
    except ClusterFault as fault:
        say(str(fault))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The command line: `python -m cluster up|down|status|restart [--name NAME] [--process P]`.

Progress goes to standard error, answers (a kubeconfig's path, a status) to standard output.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cluster import harness, state
from cluster.faults import ClusterFault
from cluster.layout import ROOT


def say(message: str) -> None:
    """Progress for a person."""
    sys.stderr.write(f"cluster: {message}\n")


def answer(text: str) -> None:
    """What was asked for."""
    sys.stdout.write(f"{text}\n")


def up(name: str) -> int:
    """Bring it up and print where its kubeconfig is."""
    answer(str(harness.up(name, say).kubeconfig))
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


def restart(name: str, process: str | None) -> int:
    """Kill a process and start it again."""
    harness.restart(name, process or "", say)
    return 0


def main(arguments: list[str]) -> int:
    """Run one command; 1 and the reason on standard error if it fails."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {Path(__file__).parent.name}", description=str(__doc__).splitlines()[0]
    )
    commands = {"up": up, "down": down, "status": status}
    parser.add_argument("command", choices=[*commands, "restart"])
    parser.add_argument("--name", default="default", help="several clusters can run at once (default: %(default)s)")
    parser.add_argument("--process", choices=harness.RESTARTABLE, help="which one `restart` kills and starts again")
    given = parser.parse_args(arguments)
    try:
        if given.command == "restart":
            return restart(given.name, given.process)
        return commands[given.command](given.name)
    except ClusterFault as fault:
        say(str(fault))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

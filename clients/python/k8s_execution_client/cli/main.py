"""The entry point: one typer application, commands by subject, and what happens to errors nobody expected.

`--help` loads typer and these modules only; grpc, protobuf, yaml and rich are imported inside the commands (a test
holds the list of what is loaded).
"""

from __future__ import annotations

import os
import sys
import traceback

import typer

from k8s_execution_client.cli import doctor, history, logs, operations, plans, run, serve, status, version
from k8s_execution_client.exit_codes import ExitCode

app = typer.Typer(
    name="k8s-execution",
    help="Ephemeral test environments on Kubernetes: run a plan, watch it, read what came of it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (run, status, logs, history, operations, plans, serve, doctor, version):
    app.registered_commands += module.commands.registered_commands


def main() -> None:
    """Run the command line; exits with the codes of `exit_codes`."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # grpc writes its own lines on stderr beside the faults it raises
    try:
        app()
    except Exception:  # noqa: BLE001 - the outermost border: what nobody expected is a defect and gets its own code
        traceback.print_exc()
        print("k8s-execution: this is a defect of k8s-execution; please report the lines above", file=sys.stderr)
        sys.exit(ExitCode.DEFECT)


if __name__ == "__main__":
    main()

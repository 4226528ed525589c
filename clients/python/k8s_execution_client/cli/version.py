"""`version`."""

from __future__ import annotations

import typer

commands = typer.Typer()


@commands.command("version")
def version() -> None:
    """Print the versions of the client and of the server's code."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    print(f"client {version_of('k8s-execution-client')}")
    try:
        print(f"server {version_of('k8s-execution')}")
    except PackageNotFoundError:
        print("server not installed")

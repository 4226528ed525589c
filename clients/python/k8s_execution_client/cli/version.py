"""`version`."""

from __future__ import annotations

import typer

commands = typer.Typer()


@commands.command("version")
def version() -> None:
    """Print the versions of the client and of the server's code."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        print(f"client {version_of('k8s-execution-client')}")
    except PackageNotFoundError:  # run from its sources, as in the service's image
        print("client not installed")
    try:
        print(f"server {version_of('k8s-execution')}")
    except PackageNotFoundError:
        print("server not installed")

"""Options that several commands share, declared once so that they read alike everywhere.

Imports nothing but typer: it is loaded for `--help`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Server = Annotated[
    str | None,
    typer.Option("--server", metavar="ADDR", help="A remote service: host:port. Default: K8S_EXECUTION_SERVER."),
]
Context = Annotated[str | None, typer.Option("--context", metavar="NAME", help="Embedded service on this cluster.")]
Kubeconfig = Annotated[
    Path | None,
    typer.Option("--kubeconfig", metavar="FILE", help="Embedded service on the current context of this file."),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Data folder of embedded runs (default: below the XDG data home)."),
]
Output = Annotated[str, typer.Option("--output", "-o", metavar="FORMAT", help="text, json, yaml, wide or name.")]
Identity = Annotated[str, typer.Argument(metavar="ID", help="An id, the beginning of one, or @last.")]
PlanFile = Annotated[Path, typer.Argument(metavar="FILE", help="The plan, YAML or JSON.")]
Parameters = Annotated[
    list[str] | None, typer.Option("--param", metavar="K=V", help="Value of ${param.K}; may be repeated.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=V", help="Change the plan: applications.api.image=…; may be repeated."),
]
Images = Annotated[
    list[str] | None,
    typer.Option("--image", metavar="REF=DIR", help="Simulated cluster: run this image from a folder."),
]
Unisolated = Annotated[
    bool, typer.Option("--allow-unisolated", help="Simulated cluster: run pods as plain processes if need be.")
]

"""Where a command talks to: a remote service, an embedded one on a cluster, or one that only reads the data folder.

The rule, once for all commands: `--server` (or K8S_EXECUTION_SERVER) is a remote service; `--context` or `--kubeconfig`
an embedded service on that cluster; neither an embedded one on a simulated cluster (`run`), or on none (commands
that read). Never the kubeconfig's current context by itself. The server's code is imported here and in `serve` only,
and only when it is needed.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k8s_execution_client.cli.border import ServerMissing, ServiceBroken, UsageFault
from k8s_execution_client.faults import ClientFault

if TYPE_CHECKING:
    from k8s_execution.settings import Settings
    from k8s_execution_client.client import ExecutionClient

SERVER_VARIABLE = "K8S_EXECUTION_SERVER"
CHOOSE_DATA = "choose another with --data or K8S_EXECUTION_DATA"
EMBEDDED_PATIENCE = 10.0  # nobody restarts a service in this process
_ADDRESS = re.compile(r"unix:.+|[^/\s]+:[0-9]{1,5}")
ACTING = frozenset({"cancel", "cleanup", "sweep"})


@dataclass(frozen=True, slots=True)
class Where:
    """What the options said; the last two are for simulated clusters."""

    server: str | None = None
    context: str | None = None
    kubeconfig: Path | None = None
    data: Path | None = None
    images: tuple[str, ...] = ()
    allow_unisolated: bool = False

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.server and (self.context or self.kubeconfig):
            raise UsageFault("--server names a remote service, --context and --kubeconfig an embedded one: give one")
        if (self.server or self.on_cluster) and (self.images or self.allow_unisolated):
            raise UsageFault("--image and --allow-unisolated are for a simulated cluster only")
        if self.server and not _ADDRESS.fullmatch(self.server):
            raise UsageFault(f"the address {self.server} must be HOST:PORT, such as 127.0.0.1:50051, without a scheme")
        for image in self.images:
            reference, _, folder = image.partition("=")
            if not reference or not folder or not Path(folder).expanduser().is_dir():
                raise UsageFault(f"--image {image} must be REF=DIR, such as shop:1=./shop, and DIR a folder")

    @property
    def on_cluster(self) -> bool:
        """Whether a cluster is named."""
        return bool(self.context or self.kubeconfig)


def where_of(
    server: str | None,
    context: str | None = None,
    kubeconfig: Path | None = None,
    data: Path | None = None,
    simulation: tuple[tuple[str, ...], bool] = ((), False),
) -> Where:
    """What the options say, K8S_EXECUTION_SERVER where they name no place; `simulation`: images, allow_unisolated."""
    if not server and not context and not kubeconfig:
        server = os.environ.get(SERVER_VARIABLE) or None
    return Where(server, context, kubeconfig, data, *simulation)


@dataclass(frozen=True, slots=True)
class Connection:
    """A client, and the options that led to it; `data` is the folder of an embedded service."""

    client: ExecutionClient
    where: Where
    data: Path | None = None

    @property
    def embedded(self) -> bool:
        """Whether the service ends with this process."""
        return not self.where.server

    @property
    def on_simulation(self) -> bool:
        """Whether the cluster ends with this process too."""
        return self.embedded and not self.where.on_cluster

    def options(self, command: str) -> list[str]:
        """The options with which `command` finds the same execution later."""
        where = self.where
        if where.server:
            return ["--server", where.server]
        options = ["--data", str(where.data)] if where.data else []
        if command in ACTING:
            options += ["--context", where.context] if where.context else []
            options += ["--kubeconfig", str(where.kubeconfig)] if where.kubeconfig else []
        return options


@asynccontextmanager
async def reading(where: Where) -> AsyncIterator[ExecutionClient]:
    """For commands that read: the remote service, or the data folder (no cluster is touched)."""
    if where.server:
        async with _remote(where) as connection:
            yield connection.client
        return
    async with _embedded(where, settings_of(where, history_only=not where.on_cluster)) as connection:
        yield connection.client


@asynccontextmanager
async def acting(where: Where, command: str) -> AsyncIterator[ExecutionClient]:
    """For commands that change something that exists: a remote service or a named cluster."""
    if not where.server and not where.on_cluster:
        raise UsageFault(
            f"`{command}` acts on a cluster: say which with --server ADDR (or K8S_EXECUTION_SERVER), "
            "--context NAME or --kubeconfig FILE (a simulated cluster ends with the process that runs it)"
        )
    async with running(where) as connection:
        yield connection.client


@asynccontextmanager
async def running(where: Where, announce: Callable[[str], None] | None = None) -> AsyncIterator[Connection]:
    """For `run`: as the rule says, a simulated cluster when nothing is named. `announce` is told which, before."""
    tell = announce or (lambda _: None)
    if where.server:
        tell(f"service at {where.server}")
        async with _remote(where) as connection:
            yield connection
        return
    settings = settings_of(where, simulate=not where.on_cluster)
    context = f", context {where.context}" if where.context else ""
    cluster = f"the cluster of {settings.kubeconfig}{context}" if where.on_cluster else "a SIMULATED cluster"
    tell(f"embedded service on {cluster}; data in {settings.data}")
    async with _embedded(where, settings) as connection:
        yield connection


def settings_of(where: Where, **more: Any) -> Settings:
    """The server's settings for these options. Raises ServerMissing and UsageFault."""
    try:
        from k8s_execution.settings import Settings, SettingsError
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("k8s_execution"):
            raise ServerMissing from error
        raise
    overrides: dict[str, object] = {
        "context": where.context,
        "kubeconfig": _kubeconfig(where),
        "data": where.data.expanduser().absolute() if where.data else None,
        "images": where.images or None,
        "allow_unisolated": where.allow_unisolated or None,
        **more,
    }
    try:
        return Settings.load(overrides)
    except SettingsError as fault:
        raise UsageFault(f"settings: {fault}") from fault


def _kubeconfig(where: Where) -> Path | None:
    """The file that is meant: the given one, or with `--context` the one kubectl would read."""
    if where.kubeconfig is not None:
        chosen = where.kubeconfig.expanduser()
    elif where.context:
        paths = [Path(p) for p in os.environ.get("KUBECONFIG", "").split(os.pathsep) if p]
        chosen = next((p for p in paths if p.exists()), Path.home() / ".kube" / "config")
    else:
        return None
    if not chosen.is_file():
        way_out = "" if where.kubeconfig else "; name one with --kubeconfig or KUBECONFIG"
        raise UsageFault(f"there is no kubeconfig at {chosen}{way_out}")
    return chosen


@asynccontextmanager
async def _remote(where: Where) -> AsyncIterator[Connection]:
    from k8s_execution_client.client import ExecutionClient

    assert where.server is not None
    async with ExecutionClient(where.server) as client:
        yield Connection(client, where)


@asynccontextmanager
async def _embedded(where: Where, settings: Settings) -> AsyncIterator[Connection]:
    from k8s_execution.app import embedded
    from k8s_execution_client.client import ExecutionClient

    check_data(settings.data)
    inside = False
    try:
        async with embedded(settings) as ready, ExecutionClient(ready.grpc, patience=EMBEDDED_PATIENCE) as client:
            inside = True
            yield Connection(client, where, settings.data)
            inside = False
    except Exception as error:  # outside of the command's own work, it is the service that failed
        if inside or isinstance(error, ClientFault):
            raise
        raise ServiceBroken(f"the embedded service failed: {reason_of(error)}") from error


def check_data(folder: Path) -> None:
    """Make the data folder. Raises UsageFault where that, or writing to it, is not possible."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageFault(f"cannot make the data folder {folder}: {error.strerror}; {CHOOSE_DATA}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageFault(f"the data folder {folder} cannot be written to; {CHOOSE_DATA}")


def reason_of(error: BaseException) -> str:
    """What a fault says, looked for inside exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__

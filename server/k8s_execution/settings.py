"""The settings of a service process: one frozen value, read once at the top from environment, `.env` and flags.

This is the only reader of the environment. It is written by hand and not with a settings library, for two measured
reasons: such a library adds 0.35 s to every start, and it passes over unknown names in silence, where a misspelt
`K8S_EXECUTION_` name must be an error with a suggestion.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PREFIX = "K8S_EXECUTION_"
TEST_PREFIX = "K8S_EXECUTION_TEST_"
"""Names that only the project's own tests read."""
CLIENT_NAMES = frozenset({"K8S_EXECUTION_SERVER"})
AGENT_NAMES = frozenset({"K8S_EXECUTION_STEP", "K8S_EXECUTION_SHARED"})
"""Set inside step pods, where a suite may well start a service of its own."""
EgressRule = tuple[str, tuple[int, ...]]
"""A network and the ports that are open there; no ports means all."""
SHOWN_INSTEAD_OF_SECRETS = "(hidden)"
SERVICE_LINK = re.compile(r"K8S_EXECUTION_(?:SERVICE_(?:HOST|PORT)(?:_.*)?|PORT(?:_.*)?)")
"""What the kubelet sets in every pod of a namespace that has a Service called `k8s-execution` (enableServiceLinks)."""
IS_SERVICE_LINK = "Kubernetes sets this for a Service of that name; switch it off with enableServiceLinks: false"


class SettingsError(Exception):
    """A setting that cannot be read; the message names it, its value, the rule and the way out."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a field comes from: its environment name, how it is read, and whether it is shown."""

    name: str
    read: Callable[[str], Any]
    secret: bool = False


def default_data() -> Path:
    """The data folder below the XDG data home (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "share") / "k8s-execution"


def _text(value: str) -> str:
    return value


def _path(value: str) -> Path:
    return Path(value).expanduser()


def _count(value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise ValueError("must be a whole number")
    return int(value)


def _switch(value: str) -> bool:
    lowered = value.lower()
    if lowered not in {"true", "false", "1", "0", "yes", "no"}:
        raise ValueError("must be true or false")
    return lowered in {"true", "1", "yes"}


def _texts(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _account(value: str) -> str:
    namespace, slash, name = value.partition("/")
    if not namespace or not slash or not name or "/" in name:
        raise ValueError("must be namespace/name of a service account")
    return value


def _counts(value: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in _texts(value))


def _is_network(text: str) -> bool:
    """Whether it is a network as Kubernetes takes it: with a length (no mask), without host bits."""
    try:
        return text.rpartition("/")[2].isdecimal() and "/" in text and bool(ipaddress.ip_network(text))
    except ValueError:
        return False


def _networks(value: str) -> tuple[str, ...]:
    for text in _texts(value):
        if not _is_network(text):
            raise ValueError(f"holds {text!r}: must be networks in CIDR form without host bits, such as 10.0.0.7/32")
    return _texts(value)


def _egress(value: str) -> tuple[EgressRule, ...]:
    return tuple(_egress_rule(part) for part in _texts(value))


def _egress_rule(text: str) -> EgressRule:
    """`CIDR` or `CIDR:PORT`; an IPv6 network keeps its colons before the slash."""
    network, slash, rest = text.partition("/")
    bits, colon, port = rest.partition(":")
    number = int(port) if port.isascii() and port.isdigit() else 0
    if not _is_network(network + slash + bits) or (colon and not 1 <= number <= 65_535):
        rule = "must be CIDR or CIDR:PORT (without host bits, port 1 to 65535)"
        raise ValueError(f"holds {text!r}: {rule}; write for example 10.0.0.7/32:443, or 10.0.0.0/24 for all ports")
    return network + slash + bits, (number,) if colon else ()


def _index(value: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http or https URL with a host, such as https://pypi.example/simple")
    return value


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a process is told. Durations in minutes or seconds as the name says, sizes in bytes."""

    service_name: str = "k8s-execution"
    namespace_prefix: str = "quality-fabric"
    ttl_minutes: int = 60
    timeout_minutes: int = 30
    max_environments: int = 10
    queue_limit: int = 1_000
    max_held_environments: int = 10
    data: Path = field(default_factory=default_data)
    grpc_address: str = "127.0.0.1:50051"
    kubeconfig: Path | None = None
    context: str | None = None
    in_cluster: bool = False
    api_host: str = ""
    api_port: str = ""
    account_folder: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    service_account: str = ""
    environment_role: str = ""
    dry_run_namespace: str = "default"
    simulate: bool = False
    history_only: bool = False
    allow_unisolated: bool = False
    images: tuple[str, ...] = ()
    faults: Path | None = None
    installation: str = ""
    installation_key: str = ""
    agent_image: str = "k8s-execution-agent:0.1.0"
    agent: Path | None = None
    templates: Path | None = None
    dns_cidrs: tuple[str, ...] = ()
    dns_ports: tuple[int, ...] = (53,)
    pip_index_url: str = ""
    egress: tuple[EgressRule, ...] = ()
    log_limit_bytes: int = 1 << 30
    bundle_limit_bytes: int = 256 << 20
    log_level: str = "WARNING"
    ready_file: Path | None = None

    @staticmethod
    def load(overrides: Mapping[str, object], environment: Mapping[str, str] | None = None) -> Settings:
        """Defaults, then `.env` of the working directory, then the environment, then `overrides` (flags; None = unset).

        Raises SettingsError with every problem at once.
        """
        problems: list[str] = []
        given = dict(_read_env_file(Path(".env"), problems))
        given.update(os.environ if environment is None else environment)
        problems += _unknown(given)
        values: dict[str, Any] = {}
        for name, source in SOURCES.items():
            text = given.get(source.name, "")
            if text == "":
                continue
            try:
                values[name] = _refuse_service_link(source.read)(text)
            except ValueError as wrong:
                shown = SHOWN_INSTEAD_OF_SECRETS if source.secret else _without_password(text)[:80]
                problems.append(f"{source.name}={shown!r} {wrong}")
        if values.get("environment_role") and not values.get("service_account"):
            problems.append(
                "K8S_EXECUTION_ENVIRONMENT_ROLE is bound to the service's own account: "
                "name it in K8S_EXECUTION_SERVICE_ACCOUNT (namespace/name)"
            )
        if problems:
            raise SettingsError("; ".join(problems))
        return replace(Settings(**values), **{k: v for k, v in overrides.items() if v is not None})  # type: ignore[arg-type]  # names are checked by replace

    @property
    def package_index(self) -> Mapping[str, str]:
        """What makes pip in every pod use the installation's index; one without TLS must be trusted by name."""
        if not self.pip_index_url:
            return {}
        index = urlsplit(self.pip_index_url)
        trusted = {"PIP_TRUSTED_HOST": index.hostname or ""} if index.scheme == "http" else {}
        return {"PIP_INDEX_URL": self.pip_index_url, **trusted}

    def shown(self) -> list[tuple[str, str]]:
        """Environment name and value of every setting, secrets hidden."""
        rows: list[tuple[str, str]] = []
        hidden = SHOWN_INSTEAD_OF_SECRETS
        for item in fields(self):
            source = SOURCES.get(item.name)
            if source is not None:
                value = getattr(self, item.name)
                rows.append((source.name, hidden if source.secret and value else _without_password(_plain(value))))
        return rows


SOURCES: Mapping[str, _Source] = {
    "service_name": _Source("SERVICE_NAME", _text),
    "namespace_prefix": _Source("K8S_NAMESPACE_PREFIX", _text),
    "ttl_minutes": _Source("K8S_TTL_MINUTES", _count),
    "timeout_minutes": _Source("DEFAULT_TIMEOUT_MINUTES", _count),
    "max_environments": _Source("MAX_CONCURRENT_ENVIRONMENTS", _count),
    "queue_limit": _Source("K8S_EXECUTION_QUEUE_LIMIT", _count),
    "max_held_environments": _Source("K8S_EXECUTION_MAX_HELD_ENVIRONMENTS", _count),
    "data": _Source("K8S_EXECUTION_DATA", _path),
    "grpc_address": _Source("K8S_EXECUTION_GRPC_ADDRESS", _text),
    "in_cluster": _Source("K8S_IN_CLUSTER", _switch),
    "api_host": _Source("KUBERNETES_SERVICE_HOST", _text),
    "api_port": _Source("KUBERNETES_SERVICE_PORT", _text),
    "account_folder": _Source("K8S_EXECUTION_ACCOUNT_FOLDER", _path),
    "service_account": _Source("K8S_EXECUTION_SERVICE_ACCOUNT", _account),
    "environment_role": _Source("K8S_EXECUTION_ENVIRONMENT_ROLE", _text),
    "dry_run_namespace": _Source("K8S_EXECUTION_DRY_RUN_NAMESPACE", _text),
    "allow_unisolated": _Source("K8S_EXECUTION_ALLOW_UNISOLATED", _switch),
    "installation": _Source("K8S_EXECUTION_INSTALLATION", _text),
    "installation_key": _Source("K8S_EXECUTION_KEY", _text, secret=True),
    "agent_image": _Source("K8S_EXECUTION_AGENT_IMAGE", _text),
    "agent": _Source("K8S_EXECUTION_AGENT", _path),
    "templates": _Source("K8S_EXECUTION_TEMPLATES", _path),
    "dns_cidrs": _Source("K8S_EXECUTION_DNS_CIDRS", _networks),
    "dns_ports": _Source("K8S_EXECUTION_DNS_PORTS", _counts),
    "pip_index_url": _Source("K8S_EXECUTION_PIP_INDEX_URL", _index),
    "egress": _Source("K8S_EXECUTION_EGRESS", _egress),
    "log_limit_bytes": _Source("K8S_EXECUTION_LOG_LIMIT_BYTES", _count),
    "bundle_limit_bytes": _Source("K8S_EXECUTION_BUNDLE_LIMIT_BYTES", _count),
    "log_level": _Source("K8S_EXECUTION_LOG_LEVEL", _text),
}
"""Which setting has which environment name; `.env.example` lists the same names (checked by a test)."""


def _unknown(given: Mapping[str, str]) -> list[str]:
    known = {s.name for s in SOURCES.values()} | CLIENT_NAMES | AGENT_NAMES
    unknown = sorted(n for n in given if n.startswith(PREFIX) and not n.startswith(TEST_PREFIX) and n not in known)
    return [f"{name} is no setting of this service{_way_out(name, known)}" for name in unknown]


def _way_out(name: str, known: Collection[str]) -> str:
    if SERVICE_LINK.fullmatch(name):
        return f"; {IS_SERVICE_LINK}"
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def _refuse_service_link(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """No setting has such a value, and those that take any text would fail later, far from the cause."""

    def checked(text: str) -> Any:
        if text.startswith(("tcp://", "udp://")):
            raise ValueError(IS_SERVICE_LINK)
        return read(text)

    return checked


def _without_password(text: str) -> str:
    """A URL as it may be shown: a package index may have a user and a password."""
    return re.sub(r"(?<=://)[^/@\s]+@", f"{SHOWN_INSTEAD_OF_SECRETS}@", text)


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(_rule(v) if isinstance(v, tuple) else str(v) for v in value)
    return "" if value is None else str(value)


def _rule(rule: EgressRule) -> str:
    network, ports = rule
    return f"{network}:{ports[0]}" if ports else network


def _read_env_file(path: Path, problems: list[str]) -> Mapping[str, str]:
    """`NAME=value` lines; blank lines and `#` comments are passed over, quotes around a value are taken off."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):  # some name a virtual environment so
        return {}
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path} cannot be read: {error}")
        return {}
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, sign, value = line.strip().removeprefix("export ").partition("=")
        if sign and not name.startswith("#"):
            values[name.strip()] = _unquoted(value.strip())
    return values


def _unquoted(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in {"'", '"'}
    return value[1:-1] if quoted else value

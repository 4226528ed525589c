"""Reads a kubeconfig file into what a connection needs.

It must not look at the environment, choose a default file or connect: the composition root says which file and which
context. Apart from `transport` so that it is tested on files alone. The format is Kubernetes' client-go
`clientcmd/api/v1`; where both are given, data wins over a file and a token over a token file, as there.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


class KubeConfigError(ValueError):
    """The kubeconfig cannot be used; the message names the file and the entry, never a credential."""


@dataclass(frozen=True, slots=True)
class Pem:
    """Certificates or a key, either in a file (read at connecting) or as data; empty if neither."""

    file: str = ""
    data: bytes = field(default=b"", repr=False)

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.file or self.data)


PLUGIN_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_CLUSTER_EXTENSION = "client.authentication.k8s.io/exec"


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints a credential (client-go's `ExecConfig`). `argv` never passes through a shell.

    `argv[0]` is a bare name (looked up in PATH) or an absolute path. `cluster_config` is what the cluster's entry
    keeps for the plug-in; it is told, with the cluster's address and CA, only where `provide_cluster_info` is set.
    """

    argv: tuple[str, ...]
    api_version: str
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    install_hint: str = ""
    provide_cluster_info: bool = False
    cluster_config: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class KubeConfig:
    """One cluster and one user. `file` is where that was read, empty where it was not.

    `token_file` is read again while connected, since its content rotates.
    """

    server: str
    context: str = ""
    file: str = ""
    certificate_authority: Pem = Pem()
    insecure: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    client_certificate: Pem = Pem()
    client_key: Pem = Pem()
    plugin: ExecPlugin | None = None


def load_kubeconfig(path: Path | str, context: str | None = None) -> KubeConfig:
    """The named context of a kubeconfig file, or its current-context.

    Raises KubeConfigError where the file, the context, its cluster or its user is missing or of a kind that this
    service cannot use (plug-ins that must ask a person, auth-providers, user names and passwords).
    """
    file = Path(path).expanduser().absolute()
    document = _read(file)
    name = context or str(document.get("current-context") or "")
    if not name:
        raise KubeConfigError(f"{file}: no current-context; name a context")
    chosen = _entry(document, "contexts", "context", name, file)
    cluster = _entry(document, "clusters", "cluster", str(chosen.get("cluster") or ""), file)
    user_name = str(chosen.get("user") or "")
    user = _entry(document, "users", "user", user_name, file) if user_name else {}
    return _build(name, cluster, user, file)


def _read(file: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise KubeConfigError(f"{file}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        # The parser's own message quotes the file, which holds credentials.
        raise KubeConfigError(f"{file}: not a YAML document") from error
    if not isinstance(document, Mapping):
        raise KubeConfigError(f"{file}: not a kubeconfig")
    return document


def _entry(document: Mapping[str, Any], group: str, inner: str, name: str, file: Path) -> Mapping[str, Any]:
    for item in document.get(group) or ():
        if isinstance(item, Mapping) and item.get("name") == name:
            value = item.get(inner) or {}
            if not isinstance(value, Mapping):
                break
            return value
    raise KubeConfigError(f"{file}: no {inner} called {name!r}")


def _build(context: str, cluster: Mapping[str, Any], user: Mapping[str, Any], file: Path) -> KubeConfig:
    server = str(cluster.get("server") or "").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise KubeConfigError(f"{file}: context {context!r}: the cluster has no server address")
    _refuse_unusable(user, context, file)
    token = str(user.get("token") or "")
    config = KubeConfig(
        server=server,
        context=context,
        file=str(file),
        certificate_authority=_pem(cluster, "certificate-authority", file),
        insecure=cluster.get("insecure-skip-tls-verify") is True,
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        proxy_url=str(cluster.get("proxy-url") or ""),
        token=token,
        token_file="" if token else _resolve(user.get("tokenFile"), file),
        client_certificate=_pem(user, "client-certificate", file),
        client_key=_pem(user, "client-key", file),
        plugin=_plugin(user, cluster, f"{file}: context {context!r}", file),
    )
    if bool(config.client_certificate) != bool(config.client_key):
        raise KubeConfigError(
            f"{file}: context {context!r}: a client certificate needs its key, and the key its certificate"
        )
    if config.insecure and config.certificate_authority:
        raise KubeConfigError(
            f"{file}: context {context!r}: insecure-skip-tls-verify and a certificate authority contradict"
        )
    return config


def _refuse_unusable(user: Mapping[str, Any], context: str, file: Path) -> None:
    others = ("token", "tokenFile", "client-certificate", "client-certificate-data", "exec")
    has_other = any(user.get(k) for k in others)
    if user.get("auth-provider"):
        raise KubeConfigError(f"{file}: context {context!r}: auth-provider was removed from Kubernetes; use a token")
    if user.get("username") and not has_other:
        raise KubeConfigError(
            f"{file}: context {context!r}: user names and passwords were removed from Kubernetes; use a token"
        )


def _plugin(user: Mapping[str, Any], cluster: Mapping[str, Any], where: str, file: Path) -> ExecPlugin | None:
    """The user's exec plug-in; the checks are those of client-go's `clientcmd/validation.go`."""
    entry = user.get("exec")
    if not entry or user.get("token") or user.get("tokenFile"):
        return None  # a token wins over a plug-in, as there
    if not isinstance(entry, Mapping) or not entry.get("command"):
        raise KubeConfigError(f"{where}: exec has no command")
    version = str(entry.get("apiVersion") or "")
    if version not in PLUGIN_VERSIONS:
        raise KubeConfigError(
            f"{where}: exec.apiVersion {version!r} is not one of {', '.join(PLUGIN_VERSIONS)}; update the plug-in"
        )
    mode = str(entry.get("interactiveMode") or ("IfAvailable" if version.endswith("beta1") else ""))
    if mode == "Always":
        raise KubeConfigError(f"{where}: the plug-in asks a person (interactiveMode Always), and here is nobody to ask")
    if mode not in {"Never", "IfAvailable"}:
        raise KubeConfigError(f"{where}: exec.interactiveMode must be Never or IfAvailable")
    command = str(entry["command"])
    if os.sep in command:
        command = _resolve(command, file)
    return ExecPlugin(
        argv=(command, *(str(a) for a in entry.get("args") or ())),
        api_version=version,
        env=tuple((str(e.get("name")), str(e.get("value") or "")) for e in _mappings(entry.get("env"))),
        install_hint=str(entry.get("installHint") or ""),
        provide_cluster_info=entry.get("provideClusterInfo") is True,
        cluster_config=_cluster_config(cluster),
    )


def _cluster_config(cluster: Mapping[str, Any]) -> Any:
    extensions = _mappings(cluster.get("extensions"))
    return next((e.get("extension") for e in extensions if e.get("name") == _CLUSTER_EXTENSION), None)


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _pem(source: Mapping[str, Any], key: str, file: Path) -> Pem:
    data = source.get(f"{key}-data")
    if data:
        try:
            return Pem(data=base64.b64decode(str(data), validate=True))
        except binascii.Error as error:
            raise KubeConfigError(f"{file}: {key}-data is not base64") from error
    return Pem(file=_resolve(source.get(key), file))


def _resolve(name: Any, file: Path) -> str:
    """A path of the kubeconfig: relative ones are relative to its folder."""
    return str(file.parent / Path(str(name)).expanduser()) if name else ""

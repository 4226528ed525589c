"""How the node reaches its API server: address, authority and credentials, from files or from a kubeconfig.

Only reads; nothing connects here. Apart from the client because a node can join any cluster, and what a kubeconfig may
hold is a matter of its own. Exec plug-ins and passwords are refused with a sentence: a node has nobody to ask.
"""

from __future__ import annotations

import ssl
import tempfile
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]


class BadAccess(Exception):
    """The kubeconfig cannot be used; the message says which part and why."""


@dataclass(frozen=True, slots=True)
class Access:
    """One API server and who we are there. All PEM texts may be empty; `token_file` wins over `token`."""

    server: str
    authority: str = ""
    token: str = ""
    token_file: Path | None = None
    certificate: str = ""  # our client certificate and its key, one PEM text

    def headers(self) -> dict[str, str]:
        """The Authorization header, if we have a token. A token file is read each time: it is rotated in place."""
        token = self.token_file.read_text(encoding="utf-8").strip() if self.token_file else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def tls(self) -> ssl.SSLContext | bool:
        """What to connect with; True for plain HTTP. Raises BadAccess for a certificate that is none."""
        if not self.server.startswith("https"):
            return True
        try:
            context = ssl.create_default_context(cadata=self.authority or None)
            if self.certificate:
                _load(context, self.certificate)
        except ssl.SSLError as error:
            raise BadAccess(f"the certificates for {self.server} cannot be used: {error}") from error
        return context


def from_files(server: str, token_file: Path, authority: Path) -> Access:
    """The access of a node whose control plane started it; over plain HTTP the authority is not read."""
    pem = authority.read_text(encoding="utf-8") if server.startswith("https") else ""
    return Access(server.rstrip("/"), pem, token_file=token_file)


def from_kubeconfig(file: Path) -> Access:
    """The current context of a kubeconfig. Raises BadAccess or OSError."""
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        context = _named(config, "contexts", "context", config["current-context"])
        cluster = _named(config, "clusters", "cluster", context["cluster"])
        user = _named(config, "users", "user", context["user"])
        server = str(cluster["server"])
    except (KeyError, TypeError, yaml.YAMLError) as error:
        raise BadAccess(f"{file} has no usable current context: {error}") from error
    for key in ("exec", "auth-provider", "username"):
        if user.get(key):
            raise BadAccess(f"{file}: the node cannot log in by {key!r}; it needs a client certificate or a token")
    folder = file.parent
    pair = [_pem(user, key, folder) for key in ("client-certificate", "client-key")]
    token_file = folder / user["tokenFile"] if user.get("tokenFile") else None
    return Access(
        server.rstrip("/"),
        _pem(cluster, "certificate-authority", folder),
        str(user.get("token") or ""),
        token_file,
        "\n".join(pair) if all(pair) else "",
    )


def _named(config: Object, many: str, one: str, name: str) -> Object:
    for entry in config.get(many) or []:
        if entry["name"] == name:
            return entry.get(one) or {}
    raise KeyError(f"no {one} {name!r}")


def _pem(holder: Object, key: str, folder: Path) -> str:
    """The PEM text of a key that is there as data or as a file, or nothing."""
    if data := holder.get(f"{key}-data"):
        return b64decode(data).decode()
    return (folder / holder[key]).read_text(encoding="utf-8") if holder.get(key) else ""


def _load(context: ssl.SSLContext, pem: str) -> None:
    """Give the context a certificate; Python reads them from files only."""
    with tempfile.TemporaryDirectory() as folder:  # mode 0700
        file = Path(folder, "client.pem")
        file.write_text(pem, encoding="utf-8")
        context.load_cert_chain(file)

"""Runs a credential plug-in of a kubeconfig and reads what it prints.

The protocol is Kubernetes' `client.authentication.k8s.io` (v1, v1beta1), as client-go's `plugin/pkg/client/auth/exec`
speaks it: what the plug-in should know is in KUBERNETES_EXEC_INFO, an ExecCredential comes back on standard output. The
program gets no terminal and no standard input, runs under a time limit in a process group of its own, and never
through a shell. What it prints on standard output never enters a message or a log. Apart from `credentials`, which says
when to run it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from k8s_execution.kube.answers import PassingFault
from k8s_execution.kube.kubeconfig import ExecPlugin, KubeConfig

_OUTPUT_LIMIT = 1 << 20
_SHOWN = 500  # characters of standard error in a message: where plug-ins say "log in again"


@dataclass(frozen=True, slots=True)
class PluginCredential:
    """What a plug-in gave: a token, a client certificate with its key, or both. `lifetime` is None for "for ever"."""

    token: str = field(default="", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    lifetime: float | None = None


class PluginRunner:
    """One plug-in and what it is told."""

    def __init__(self, plugin: ExecPlugin, config: KubeConfig, timeout: float, executor: Executor) -> None:
        """`timeout` is in seconds; `config` tells of the cluster where the plug-in wants to know."""
        self._plugin = plugin
        self._config = config
        self._timeout = timeout
        self._executor = executor

    async def run(self) -> PluginCredential:
        """Run the plug-in once; PassingFault, with its own words, where it gives no credential."""
        name = Path(self._plugin.argv[0]).name
        information = await asyncio.get_running_loop().run_in_executor(self._executor, self._information)
        # Plug-ins find their own settings (AWS_PROFILE, HOME) in our environment: inherited, not read.
        environment = {**os.environ, **dict(self._plugin.env), "KUBERNETES_EXEC_INFO": information}
        try:
            code, output, errors = await _run(self._plugin.argv, environment, self._timeout)
        except TimeoutError as error:
            raise _failed(f"credential plug-in {name} did not end within {self._timeout:g} s") from error
        except OSError as error:
            hint = f"; {self._plugin.install_hint}" if self._plugin.install_hint else ""
            raise _failed(f"credential plug-in {name} cannot be run: {error.strerror or error}{hint}") from error
        if code != 0:
            said = errors.decode("utf-8", "replace").strip()[-_SHOWN:]
            raise _failed(f"credential plug-in {name} ended with exit code {code}: {said}")
        try:
            return read_credential(output, self._plugin.api_version, time.time())
        except ValueError as error:
            raise _failed(f"credential plug-in {name}: {error}") from error

    def _information(self) -> str:
        spec: dict[str, Any] = {"interactive": False}
        if self._plugin.provide_cluster_info:
            spec["cluster"] = _cluster(self._config, self._plugin.cluster_config)
        return json.dumps({"kind": "ExecCredential", "apiVersion": self._plugin.api_version, "spec": spec})


def read_credential(output: bytes, api_version: str, now: float) -> PluginCredential:
    """The credential of a printed ExecCredential; `now` is Unix time. ValueError says what is wrong, not with what."""
    try:
        document = json.loads(output)
    except ValueError:
        raise ValueError("what it printed is not JSON") from None  # the cause quotes the output
    document = _mapping(document)
    if document.get("kind") != "ExecCredential":
        raise ValueError("what it printed is not an ExecCredential")
    if document.get("apiVersion") != api_version:
        raise ValueError(f"it speaks {str(document.get('apiVersion'))[:80]!r}, the kubeconfig says {api_version!r}")
    status = _mapping(document.get("status"))
    if not status:
        raise ValueError("its ExecCredential has no status")
    token = str(status.get("token") or "")
    certificate = str(status.get("clientCertificateData") or "").encode()
    key = str(status.get("clientKeyData") or "").encode()
    if bool(certificate) != bool(key):
        raise ValueError("it gave a client certificate without its key, or a key without its certificate")
    if not token and not certificate:
        raise ValueError("it gave neither a token nor a client certificate")
    return PluginCredential(token, certificate, key, _lifetime(status.get("expirationTimestamp"), now))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _lifetime(expires: Any, now: float) -> float | None:
    if not expires:
        return None
    try:
        moment = datetime.fromisoformat(str(expires))  # RFC 3339; the local clock decides, as in client-go
    except ValueError:
        raise ValueError("its expirationTimestamp is no RFC 3339 time") from None
    if moment.tzinfo is None:
        raise ValueError("its expirationTimestamp names no time zone")
    return max(0.0, moment.timestamp() - now)


def _cluster(config: KubeConfig, extension: Any) -> dict[str, Any]:
    """`Cluster` of the protocol; absent values are left out."""
    ca = config.certificate_authority
    try:
        pem = ca.data or (Path(ca.file).read_bytes() if ca.file else b"")
    except OSError as error:
        raise _failed(f"the certificate authority {ca.file} cannot be read") from error
    told = {
        "server": config.server,
        "tls-server-name": config.tls_server_name,
        "insecure-skip-tls-verify": config.insecure,
        "certificate-authority-data": base64.b64encode(pem).decode(),
        "proxy-url": config.proxy_url,
        "config": extension,
    }
    return {name: value for name, value in told.items() if value}


def _failed(message: str) -> PassingFault:
    return PassingFault(message, perhaps_executed=False)


async def _run(argv: tuple[str, ...], environment: Mapping[str, str], timeout: float) -> tuple[int, bytes, bytes]:
    """Exit code, standard output and the end of standard error; TimeoutError or OSError. Leaves no process behind."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        async with asyncio.timeout(timeout):
            output, errors = await asyncio.gather(_read(process.stdout), _read(process.stderr))
            return await process.wait(), output, errors
    finally:
        if process.returncode is None:
            _kill_group(process.pid)
            await process.wait()


async def _read(stream: asyncio.StreamReader) -> bytes:
    """All of a stream; what is over the limit is read and dropped, so that the writer never blocks."""
    kept = bytearray()
    while chunk := await stream.read(1 << 16):
        kept += chunk[: max(0, _OUTPUT_LIMIT - len(kept))]
    return bytes(kept)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended by itself in this moment

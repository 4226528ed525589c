"""One connection pool to one API server: sends requests, hands back raw answers, translates network errors.

It must not retry, interpret bodies or write anything of a request to a log. Apart from `client` so that what is
kubernetes_asyncio's (session, TLS, proxy, URL building) stays behind one small class. That library's defaults which
do not fit are overruled here: no timeout at all, proxies from the environment even for loopback, 100 connections in
which every watch counts, bodies logged at DEBUG (only where it reads them itself, which it is told not to), and the
generator's User-Agent.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from k8s_execution.kube import stub
from k8s_execution.kube.answers import PassingFault, fault
from k8s_execution.kube.credentials import Credentials, PluginCredentials, TokenCredentials
from k8s_execution.kube.execplugin import PluginCredential, PluginRunner
from k8s_execution.kube.kubeconfig import KubeConfig, KubeConfigError, Pem
from k8s_execution.kube.limits import KubeLimits
from k8s_execution.kube.reach import words
from k8s_execution.ports.clock import Clock

Params = Sequence[tuple[str, str]]
"""Query parameters; a name may come more than once."""

_CHUNK = 128 * 1024  # whoever splits a chunk holds the event loop meanwhile; the library's buffer holds megabytes

NETWORK_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError)
"""What aiohttp raises when the network, and not the server, says no."""


class ByteStream:
    """The body of an answer, read in chunks."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        """Wrap an answer whose headers have come; a dead peer is noticed by TCP keepalive within about a minute."""
        self._response = response
        _keep_alive(response)

    async def read(self) -> bytes:
        """The next bytes as they came, b"" at the end; PassingFault if the connection broke."""
        try:
            return await self._response.content.read(_CHUNK)
        except NETWORK_ERRORS as error:
            raise PassingFault(f"the stream was cut: {words(error)}") from error

    def close(self) -> None:
        """Drop the connection (an unfinished body cannot be reused)."""
        self._response.close()


class Transport:
    """Sends single requests over a shared pool."""

    def __init__(self, rest: Any, config: KubeConfig, credentials: Credentials, limits: KubeLimits) -> None:
        """`rest` is kubernetes_asyncio's RESTClientObject, made by `open_transport`."""
        self._rest = rest
        self._config = config
        self._credentials = credentials
        self._limits = limits
        pool: aiohttp.ClientSession = rest.pool_manager
        self._sockets = aiohttp.ClientSession(
            connector=pool.connector,
            connector_owner=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=limits.connect_timeout, sock_read=limits.request_timeout
            ),
            raise_for_status=_refuse_upgrade,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._sockets.close()
        await self._rest.close()

    async def renew_credentials(self) -> bool:
        """After a 401: whether there is something new to try."""
        return await self._credentials.renew()

    async def exchange(
        self, method: str, path: str, params: Params = (), body: Mapping[str, Any] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request and read its whole answer: status, headers, body. PassingFault if none came."""
        timeout = aiohttp.ClientTimeout(total=self._limits.request_timeout, sock_connect=self._limits.connect_timeout)
        response = await self._send(method, path, params, body, timeout)
        try:
            answer = response.status, response.headers, await response.read()
        except NETWORK_ERRORS as error:
            raise PassingFault(f"the answer was cut: {words(error)}") from error
        finally:
            response.release()
        if response.status == 401:
            response.close()  # a connection keeps the client certificate that it began with
        return answer

    async def stream(self, path: str, params: Params, silence: float | None) -> ByteStream:
        """GET whose body is read in chunks; `silence` is the longest wait for a byte in seconds, None for ever.

        Raises PassingFault or StatusError where the answer is not 200.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_timeout, sock_read=silence)
        response = await self._send("GET", path, params, None, timeout)
        if response.status == 200:
            return ByteStream(response)
        try:
            async with asyncio.timeout(self._limits.request_timeout):
                raise fault(response.status, response.headers, await response.read())
        except NETWORK_ERRORS as error:
            raise PassingFault(f"HTTP {response.status}, answer cut", status=response.status) from error
        finally:
            response.close()

    async def web_socket(
        self, path: str, params: Params, protocols: Sequence[str]
    ) -> aiohttp.ClientWebSocketResponse[bool]:
        """Open a WebSocket; PassingFault or StatusError with the server's own words where it refuses."""
        headers = {"User-Agent": self._limits.user_agent, **await self._credentials.headers()}
        try:
            return await self._sockets.ws_connect(
                self._config.server + path,
                params=list(params),
                protocols=protocols,
                headers=headers,
                proxy=self._config.proxy_url or None,
                server_hostname=self._config.tls_server_name or None,
            )
        except NETWORK_ERRORS as error:
            raise PassingFault(f"cannot open a WebSocket: {words(error)}") from error

    async def _send(
        self, method: str, path: str, params: Params, body: Mapping[str, Any] | None, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        headers = {"User-Agent": self._limits.user_agent, "Accept": "application/json"}
        headers |= await self._credentials.headers()
        try:
            response: aiohttp.ClientResponse = await self._rest.request(
                method,
                self._config.server + path,
                query_params=list(params),
                headers=headers,
                body=body,
                _preload_content=False,
                _request_timeout=timeout,
            )
        except aiohttp.ClientConnectorError as error:
            raise PassingFault(
                f"cannot connect to {self._config.server}: {words(error)}", perhaps_executed=False
            ) from error
        except NETWORK_ERRORS as error:
            raise PassingFault(f"{self._config.server}: {words(error)}") from error
        return response


@asynccontextmanager
async def open_transport(
    config: KubeConfig, limits: KubeLimits, clock: Clock, executor: Executor
) -> AsyncIterator[Transport]:
    """Build the pool (TLS files are read once, here) and close it in the end; KubeConfigError if they are unusable."""
    rest = _rest_client(config)
    credentials: Credentials
    if config.plugin is not None:
        runner = PluginRunner(config.plugin, config, limits.plugin_timeout, executor)
        credentials = PluginCredentials(runner, clock, lambda made: _present(rest, made))
    else:
        credentials = TokenCredentials(config.token, config.token_file, limits.token_lifetime, clock, executor)
    transport = Transport(rest, config, credentials, limits)
    try:
        yield transport
    finally:
        await transport.close()


def _rest_client(config: KubeConfig) -> Any:
    configuration = stub.load("client.configuration").Configuration()
    configuration.host = config.server
    configuration.verify_ssl = not config.insecure
    # client-go does not ask for RFC 5280's optional extensions either; many clusters' own CAs lack them.
    configuration.disable_strict_ssl_verification = True
    configuration.tls_server_name = config.tls_server_name or None
    configuration.proxy = config.proxy_url or None
    configuration.connection_pool_maxsize = 0  # unlimited: each watch and each log follow holds one
    # The library wants files. Keys given as data lie on disk only while the TLS context reads them.
    with tempfile.TemporaryDirectory(prefix="k8s-execution-") as folder:
        configuration.ssl_ca_cert = _as_file(config.certificate_authority, folder, "ca")
        configuration.cert_file = _as_file(config.client_certificate, folder, "certificate")
        configuration.key_file = _as_file(config.client_key, folder, "key")
        try:
            rest = stub.load("client.rest").RESTClientObject(configuration)
        except (OSError, ValueError) as error:
            raise KubeConfigError(f"context {config.context!r}: certificates or key cannot be used: {error}") from error
    # A proxy is what the kubeconfig names, not what the environment does (which would apply to loopback too), and
    # netrc must not add credentials. The library offers no switch for it.
    rest.pool_manager._trust_env = False  # noqa: SLF001
    return rest


def _present(rest: Any, made: PluginCredential) -> None:
    """Show this client certificate on connections from now on; the library made the TLS context and hides it."""
    context = rest.pool_manager.connector._ssl  # noqa: SLF001
    with tempfile.TemporaryDirectory(prefix="k8s-execution-") as folder:
        certificate = _as_file(Pem(data=made.certificate), folder, "certificate")
        key = _as_file(Pem(data=made.key), folder, "key")
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ValueError) as error:
            message = f"the credential plug-in's certificate cannot be used: {error}"
            raise PassingFault(message, perhaps_executed=False) from error


def _as_file(pem: Pem, folder: str, name: str) -> str | None:
    if not pem.data:
        return pem.file or None
    path = Path(folder, name)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem.data)
    return str(path)


async def _refuse_upgrade(response: aiohttp.ClientResponse) -> None:
    """Turn a refused handshake into its Status; aiohttp's own error would drop the body."""
    if response.status != 101:
        raise fault(response.status, response.headers, await response.read())


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    connection = response.connection
    raw = connection.transport.get_extra_info("socket") if connection and connection.transport else None
    if raw is None:
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

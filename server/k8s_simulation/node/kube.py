"""A small Kubernetes client on dictionaries: requests, and one list-and-watch loop.

Must not interpret objects. It is apart from the API server's code because the node has to work against any API
server. Errors of HTTP and of the network are translated once, here, into `ApiError` and `ApiUnreachable`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp

from k8s_simulation.node.access import Access

Object = dict[str, Any]
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
_WATCH_SECONDS = 240
# A watch that says nothing for this long is taken for dead; bookmarks come about once a minute.
_WATCH_SILENCE = 150.0

log = logging.getLogger(__name__)


class ApiError(Exception):
    """The API server answered with an error: its HTTP status, Kubernetes' reason word and message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message = status, reason, message


class ApiUnreachable(Exception):
    """No answer: connection refused, cut or timed out."""


class KubeClient:
    """Talks to one API server. Use as an async context manager."""

    def __init__(self, access: Access) -> None:
        self._base = access.server
        self._access = access
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._access.tls(), limit=0)
        # trust_env stays off: a proxy variable would otherwise be used even for 127.0.0.1.
        self._session = aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Object:
        """GET one object or list."""
        return await self._request("GET", path, params=params)

    async def create(self, path: str, body: Object) -> Object:
        """POST an object to its collection."""
        return await self._request("POST", path, body=body)

    async def replace(self, path: str, body: Object) -> Object:
        """PUT a whole object."""
        return await self._request("PUT", path, body=body)

    async def patch(self, path: str, body: Object, content_type: str = MERGE) -> Object:
        """PATCH an object or subresource."""
        return await self._request("PATCH", path, body=body, content_type=content_type)

    async def delete(self, path: str, uid: str, grace_seconds: int = 0) -> Object:
        """DELETE one object if it still has this uid."""
        options = {"gracePeriodSeconds": grace_seconds, "preconditions": {"uid": uid}}
        return await self._request("DELETE", path, body={"kind": "DeleteOptions", "apiVersion": "v1", **options})

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers() | ({"Content-Type": content_type} if data is not None else {})
        try:
            async with self._open.request(
                method, self._base + path, params=params, data=data, headers=headers
            ) as response:
                text = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiUnreachable(f"{method} {path}: {type(error).__name__} {error}") from error
        if response.status >= 400:
            raise _api_error(response.status, text)
        answer: Object = json.loads(text) if text else {}
        return answer

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("KubeClient is used outside its context")
        return self._session

    def _headers(self) -> dict[str, str]:
        return {**self._access.headers(), "User-Agent": "simulated-node"}

    async def follow(
        self,
        path: str,
        params: Mapping[str, str],
        on_list: Callable[[list[Object]], None],
        on_change: Callable[[str, Object], None],
    ) -> None:
        """List, then watch, for ever: `on_list` gets every whole state, `on_change` each ADDED, MODIFIED, DELETED.

        A cut watch goes on from the last resource version, 410 leads to a new list, errors back off up to 5 s.
        """
        version = ""
        pause = 0.1
        while True:
            try:
                if not version:
                    listed = await self.get(path, params)
                    version = listed["metadata"]["resourceVersion"]
                    on_list(listed.get("items") or [])
                version = await self._watch(path, params, version, on_change)
                pause = 0.1
            except (ApiError, ApiUnreachable) as error:
                gone = isinstance(error, ApiError) and error.status == 410
                version = version if isinstance(error, ApiUnreachable) else ""
                log.log(logging.DEBUG if gone else logging.WARNING, "watch of %s: %s", path, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)

    async def _watch(
        self, path: str, params: Mapping[str, str], version: str, on_change: Callable[[str, Object], None]
    ) -> str:
        """One watch request until the server ends it; the last resource version seen."""
        query = {
            **params,
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_WATCH_SILENCE)
        lines = _Lines()
        request = self._open.get(self._base + path, params=query, headers=self._headers(), timeout=timeout)
        try:
            async with request as response:
                if response.status >= 400:
                    raise _api_error(response.status, await response.read())
                async for chunk in response.content.iter_any():
                    version = _deliver(lines.feed(chunk), version, on_change)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.debug("watch of %s was cut: %s %s", path, type(error).__name__, error)
            await asyncio.sleep(0.2)
        return version


class _Lines:
    """Cuts chunks into lines of any length; aiohttp's own reader gives up on long ones."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes."""
        if b"\n" not in chunk:
            self._parts.append(chunk)
            return []
        *lines, rest = b"".join([*self._parts, chunk]).split(b"\n")
        self._parts = [rest]
        return lines


def _deliver(lines: list[bytes], version: str, on_change: Callable[[str, Object], None]) -> str:
    """Hand watch lines on; the resource version after them. Raises ApiError for an ERROR event."""
    for line in lines:
        if not line.strip():
            continue
        event: Object = json.loads(line)
        kind, changed = event["type"], event["object"]
        if kind == "ERROR":
            raise ApiError(int(changed.get("code", 500)), changed.get("reason") or "", changed.get("message") or "")
        if kind != "BOOKMARK":
            on_change(kind, changed)
        version = str(changed["metadata"]["resourceVersion"])
    return version


def _api_error(status: int, text: bytes) -> ApiError:
    """The error of an answer, whether or not its body is a Status."""
    try:
        body = json.loads(text)
        return ApiError(status, str(body.get("reason", "")), str(body.get("message", "")))
    except (ValueError, AttributeError):
        return ApiError(status, "", text[:500].decode("utf-8", "replace"))

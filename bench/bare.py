"""A bare client of the API server: aiohttp, JSON, client certificate, nothing else. The oracle of the benchmarks.

It does what a request costs at least in asyncio. No retries but those that a fresh namespace makes necessary.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

Json = dict[str, Any]
FRESH_SECONDS = 0.005  # between tries of what a fresh namespace refuses
GROUPS = {
    "Deployment": "apis/apps/v1",
    "ReplicaSet": "apis/apps/v1",
    "Job": "apis/batch/v1",
    "NetworkPolicy": "apis/networking.k8s.io/v1",
}


def path_of(kind: str, namespace: str = "", name: str = "") -> str:
    """The path of a collection, or of one object in it."""
    plural = "networkpolicies" if kind == "NetworkPolicy" else f"{kind.lower()}s"
    parts = [GROUPS.get(kind, "api/v1"), *(["namespaces", namespace] if namespace else []), plural]
    return "/" + "/".join([*parts, *([name] if name else [])])


class RequestRefused(Exception):
    """An answer that is not 2xx."""

    def __init__(self, status: int, text: str) -> None:
        """Hold the HTTP status; the message is the body."""
        super().__init__(f"{status}: {text[:500]}")
        self.status = status


class Api:
    """One API server; made by `connect`."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        """Hold the session."""
        self._session = session
        self._server = server

    async def text(self, method: str, path: str, body: Mapping[str, Any] | None = None, **headers: str) -> str:
        """One request and its whole answer. RequestRefused if it is not 2xx."""
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        async with self._session.request(method, self._server + path, data=data, headers=sent) as answer:
            text = await answer.text()
            if not 200 <= answer.status < 300:
                raise RequestRefused(answer.status, text)
            return text

    async def json(self, method: str, path: str, body: Mapping[str, Any] | None = None, **headers: str) -> Json:
        """The same, decoded."""
        found: Json = json.loads(await self.text(method, path, body, **headers))
        return found

    async def create(self, body: Mapping[str, Any]) -> Json:
        """POST an object, again and again while its namespace is too fresh for it."""
        path = path_of(body["kind"], body["metadata"].get("namespace", ""))
        while True:
            try:
                return await self.json("POST", path, body)
            except RequestRefused as refused:
                if "status unknown for quota" not in str(refused) and "service account" not in str(refused):
                    raise
            await asyncio.sleep(FRESH_SECONDS)

    async def drain(self, path: str) -> None:
        """Read an answer as it comes, and throw it away. RequestRefused if it is not 2xx."""
        async with self._session.get(self._server + path) as answer:
            if not 200 <= answer.status < 300:
                raise RequestRefused(answer.status, await answer.text())
            async for _ in answer.content.iter_any():
                pass

    async def watch(self, path: str, query: str) -> AsyncIterator[tuple[str, Json]]:
        """Events of a watch: type and object."""
        async with self._session.get(f"{self._server}{path}?watch=true&{query}") as answer:
            answer.raise_for_status()
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    yield event["type"], event["object"]


@asynccontextmanager
async def connect(kubeconfig: Path) -> AsyncIterator[Api]:
    """A client with the certificate of the kubeconfig's first user."""
    config = yaml.safe_load(kubeconfig.read_text())  # noqa: ASYNC240 - once, before anything runs
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    with tempfile.NamedTemporaryFile() as pair:
        for part in ("client-certificate-data", "client-key-data"):
            pair.write(base64.b64decode(user[part]) + b"\n")
        pair.flush()
        context.load_cert_chain(pair.name)
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=1 << 20) as session:
        yield Api(session, cluster["server"])

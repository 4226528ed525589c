"""A small Kubernetes client for tests: plain requests, JSON in and out, no client library and none of our own code.

It knows paths, tokens and certificates of a kubeconfig, and nothing about what the answers mean. Written so that the
same tests run against any cluster.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

Object = dict[str, Any]
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATIENCE = 90.0  # seconds that a condition may take before a test gives up

_GROUPS = {
    "deployments": "apps/v1", "replicasets": "apps/v1", "statefulsets": "apps/v1", "jobs": "batch/v1",
    "endpointslices": "discovery.k8s.io/v1", "leases": "coordination.k8s.io/v1",
    "networkpolicies": "networking.k8s.io/v1", "roles": "rbac.authorization.k8s.io/v1",
    "rolebindings": "rbac.authorization.k8s.io/v1",
}  # fmt: skip
_PLURALS = {"NetworkPolicy": "networkpolicies", "Endpoints": "endpoints"}


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def message(self) -> str:
        """The message of a Status, or the text."""
        return str(self.body.get("message", "")) if isinstance(self.body, dict) else str(self.body)

    @property
    def reason(self) -> str:
        """The reason of a Status."""
        return str(self.body.get("reason", "")) if isinstance(self.body, dict) else ""


@dataclass
class ExecResult:
    """What an exec left: the bytes of both streams, the status object, and the WebSocket's close code."""

    stdout: bytes = b""
    stderr: bytes = b""
    status: Object = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """The exit code that the status tells."""
        if self.status.get("status") == "Success":
            return 0
        causes = self.status.get("details", {}).get("causes", [])
        return next((int(c["message"]) for c in causes if c.get("reason") == "ExitCode"), -1)


class Kube:
    """Use with `async with Kube(path)`."""

    def __init__(self, kubeconfig: Path) -> None:
        """Read the current context of the file."""
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        context = next(c for c in config["contexts"] if c["name"] == config["current-context"])["context"]
        cluster = next(c for c in config["clusters"] if c["name"] == context["cluster"])["cluster"]
        user = next(u for u in config["users"] if u["name"] == context["user"])["user"]
        self.kubeconfig = kubeconfig
        self.url = cluster["server"].rstrip("/")
        self._headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        self._ssl = _ssl_context(cluster, user)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        self._session = aiohttp.ClientSession(
            headers=self._headers, connector=aiohttp.TCPConnector(ssl=self._ssl, limit=0), trust_env=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        assert self._session is not None
        await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP session, for what the helpers do not cover."""
        assert self._session is not None
        return self._session

    async def request(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", **params: Any
    ) -> Reply:
        """Any request; `params` become the query."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": content_type} if data is not None else {}
        query = {k: str(v) for k, v in params.items() if v is not None}
        async with self.session.request(method, self.url + path, data=data, params=query, headers=headers) as answer:
            raw = await answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "")
            body = json.loads(raw) if is_json else raw.decode(errors="replace")
            return Reply(answer.status, body, dict(answer.headers))

    async def create(self, obj: Object, **params: Any) -> Reply:
        """POST an object to where its kind belongs."""
        plural = plural_of(obj["kind"])
        return await self.request("POST", path(plural, obj["metadata"].get("namespace", "")), obj, **params)

    async def created(self, obj: Object) -> Object:
        """POST an object that must be accepted; the stored object."""
        reply = await self.create(obj)
        assert reply.status == 201, reply.body
        return dict(reply.body)

    async def get(self, plural: str, namespace: str, name: str, subresource: str = "") -> Reply:
        """GET one object."""
        return await self.request("GET", path(plural, namespace, name, subresource))

    async def items(self, plural: str, namespace: str = "", **params: Any) -> list[Object]:
        """The items of a list."""
        reply = await self.request("GET", path(plural, namespace), **params)
        assert reply.status == 200, reply.body
        return list(reply.body["items"])

    async def delete(self, plural: str, namespace: str, name: str, options: Object | None = None) -> Reply:
        """DELETE with options."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", **(options or {})}
        return await self.request("DELETE", path(plural, namespace, name), body)

    async def patch(
        self, plural: str, namespace: str, name: str, body: Any, kind: str = MERGE_PATCH, **params: object
    ) -> Reply:
        """PATCH with any of the four types."""
        return await self.request("PATCH", path(plural, namespace, name), body, content_type=kind, **params)

    @asynccontextmanager
    async def watch(self, plural: str, namespace: str = "", **params: object) -> AsyncGenerator[WatchReader, None]:
        """A watch; read it with `next`."""
        query = {k: str(v) for k, v in {"watch": "true", **params}.items()}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=PATIENCE)
        async with self.session.get(self.url + path(plural, namespace), params=query, timeout=timeout) as answer:
            yield WatchReader(answer)

    async def until(
        self, plural: str, namespace: str, name: str, test: Callable[[Object], object], patience: float = PATIENCE
    ) -> Object:
        """Watch one object until the test holds for it; the object. Fails with its last state."""
        last: Object = {}
        async with asyncio.timeout(patience), self.watch(plural, namespace, fieldSelector=f"metadata.name={name}") as w:
            try:
                while True:
                    event = await w.next()
                    last = event["object"]
                    if event["type"] != "DELETED" and test(last):
                        return last
            except TimeoutError as error:
                raise AssertionError(f"{plural}/{name} did not become what was expected: {json.dumps(last)}") from error

    async def until_gone(self, plural: str, namespace: str, name: str, patience: float = PATIENCE) -> None:
        """Wait until the object is gone."""
        async with asyncio.timeout(patience), self.watch(plural, namespace, fieldSelector=f"metadata.name={name}") as w:
            if (await self.get(plural, namespace, name)).status == 404:
                return
            while (await w.next())["type"] != "DELETED":
                pass

    async def log(self, namespace: str, pod: str, **params: object) -> Reply:
        """GET the log as text."""
        query = {k: str(v) for k, v in params.items()}
        address = self.url + path("pods", namespace, pod, "log")
        async with self.session.get(address, params=query) as answer:
            raw = await answer.read()
            body = json.loads(raw) if answer.status != 200 else raw.decode(errors="replace")
            return Reply(answer.status, body, dict(answer.headers))

    async def exec(
        self,
        namespace: str,
        pod: str,
        command: list[str],
        *,
        container: str = "",
        stdin: bytes | None = None,
        protocol: str = "v5",
    ) -> ExecResult:
        """Run a command, in the only container or the one named; with `stdin` its bytes are sent and, on v5, the
        stream is closed.
        """
        query = [("command", c) for c in command] + [("stdout", "true"), ("stderr", "true")]
        query += [("container", container)] if container else []
        query += [("stdin", "true")] if stdin is not None else []
        found = ExecResult()
        address = self.url + path("pods", namespace, pod, "exec")
        async with self.session.ws_connect(
            address, params=query, protocols=[f"{protocol}.channel.k8s.io"], max_msg_size=0
        ) as socket:
            assert socket.protocol == f"{protocol}.channel.k8s.io"
            if stdin is not None:
                for start in range(0, len(stdin), 32768):
                    await socket.send_bytes(b"\x00" + stdin[start : start + 32768])
                if protocol == "v5":
                    await socket.send_bytes(b"\xff\x00")
            async with asyncio.timeout(PATIENCE):
                async for message in socket:
                    channel, data = message.data[0], bytes(message.data[1:])
                    if channel == 1:
                        found.stdout += data
                    elif channel == 2:
                        found.stderr += data
                    elif channel == 3:
                        found.status = json.loads(data)
        return found


class WatchReader:
    """Reads the events of one watch."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        """The open response."""
        self.answer = answer

    async def next(self, patience: float = PATIENCE) -> Object:
        """The next event. Raises EOFError at the end of the stream."""
        async with asyncio.timeout(patience):
            line = await self.answer.content.readline()
        if not line:
            raise EOFError
        return dict(json.loads(line))


def plural_of(kind: str) -> str:
    """The plural of a kind."""
    return _PLURALS.get(kind) or f"{kind.lower()}s"


def path(plural: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The URL path of a resource, an object or a subresource."""
    group = _GROUPS.get(plural)
    parts = [f"/apis/{group}" if group else "/api/v1"]
    if namespace:
        parts.append(f"namespaces/{namespace}")
    parts += [p for p in (plural, name, subresource) if p]
    return "/".join(parts)


def _ssl_context(cluster: Object, user: Object) -> ssl.SSLContext | bool:
    if not cluster["server"].startswith("https"):
        return False
    context = ssl.create_default_context()
    if "certificate-authority-data" in cluster:
        context.load_verify_locations(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    elif "certificate-authority" in cluster:
        context.load_verify_locations(cafile=cluster["certificate-authority"])
    if "client-certificate-data" in user:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "client.pem"
            file.touch(mode=0o600)
            both = base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"])
            file.write_bytes(both)
            context.load_cert_chain(file)
    elif "client-certificate" in user:
        context.load_cert_chain(user["client-certificate"], user["client-key"])
    return context

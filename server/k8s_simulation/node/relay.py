"""The package relay: a Python package index inside the pod network, fed by the host's own pip configuration.

Pods have no route out. The relay listens on the gateway, answers `/simple/<project>/` with what the host's pip would
find (its index, extra indexes and `find-links` folders, with its certificates and proxies) and lets the files come
through itself, so `pip install` works in a pod as it does on the host, hashes included. Files are cached on disk.
A pod can only ask for files whose links the relay has handed out: it is no open proxy.
"""

from __future__ import annotations

import asyncio
import hashlib
import html
import json
import logging
import os
import re
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp
from aiohttp import web

from k8s_simulation.node.python_image import HostPython

PORT = 3141
_PAGE_SECONDS = 600.0
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_ASK = """
import json
from pip._internal.configuration import Configuration
from pip._internal.models.index import PyPI
c = Configuration(isolated=False); c.load()
found = {"index-url": PyPI.simple_url}
for key, value in c.items():
    if isinstance(value, dict):
        for k, v in value.items(): found[k.rpartition(".")[2]] = v
    else:
        found[key.rpartition(".")[2]] = value
print(json.dumps(found))
"""
_SUFFIXES = (".whl", ".tar.gz", ".zip", ".tar.bz2")

log = logging.getLogger(__name__)


class RelayFault(Exception):
    """The host could not get what was asked for; the message is for the pod."""


@dataclass(frozen=True, slots=True)
class PipSettings:
    """What of the host's pip configuration matters: where packages are and how to reach it."""

    indexes: tuple[str, ...]
    find_links: tuple[str, ...]
    cert: str | None
    proxy: str | None


@dataclass(frozen=True, slots=True)
class Link:
    """One file of a project: its name, where it is (a URL or a local path), its hash fragment and page attributes."""

    name: str
    source: str
    fragment: str = ""
    attributes: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """The token under which the relay serves it."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:32]


def read_settings(python: HostPython) -> PipSettings:
    """Ask pip for its configuration, environment variables included. Blocking."""
    env = dict(os.environ) | {"PYTHONPATH": str(python.pip)}
    done = subprocess.run([python.executable, "-c", _ASK], capture_output=True, text=True, env=env, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    indexes = (
        () if _true(found.get("no-index")) else (found["index-url"], *str(found.get("extra-index-url", "")).split())
    )
    return PipSettings(indexes, tuple(str(found.get("find-links", "")).split()), found.get("cert"), found.get("proxy"))


def _true(value: object) -> bool:
    return str(value).lower() in {"1", "true", "yes", "on"}


def normalized(project: str) -> str:
    """A project name as indexes spell it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", project).lower()


def parse_page(base: str, content_type: str, text: str) -> list[Link]:
    """The links of an index page, HTML (PEP 503) or JSON (PEP 691)."""
    if "json" in content_type:
        return [_json_link(base, entry) for entry in json.loads(text)["files"]]
    parser = _Anchors()
    parser.feed(text)
    links = []
    for attributes in parser.found:
        url, _, fragment = urljoin(base, attributes.pop("href")).partition("#")
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        links.append(Link(name, url, fragment, tuple(attributes.items())))
    return links


def _json_link(base: str, entry: dict[str, Any]) -> Link:
    algorithm, digest = next(iter(sorted(entry.get("hashes", {}).items(), key=lambda p: p[0] != "sha256")), ("", ""))
    attributes: dict[str, str] = {}
    if entry.get("requires-python"):
        attributes["data-requires-python"] = entry["requires-python"]
    if (yanked := entry.get("yanked")) not in {None, False}:
        attributes["data-yanked"] = yanked if isinstance(yanked, str) else ""
    metadata = entry.get("core-metadata", entry.get("dist-info-metadata"))
    if metadata:
        sha = metadata.get("sha256") if isinstance(metadata, dict) else None
        attributes["data-core-metadata"] = attributes["data-dist-info-metadata"] = f"sha256={sha}" if sha else "true"
    fragment = f"{algorithm}={digest}" if digest else ""
    return Link(entry["filename"], urljoin(base, entry["url"]), fragment, tuple(attributes.items()))


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep every anchor that leads somewhere."""
        attributes = {k: v or "" for k, v in attrs}
        if tag == "a" and attributes.get("href"):
            self.found.append(attributes)


def render_page(project: str, links: list[Link]) -> str:
    """The relay's own index page of a project."""
    rows = []
    for link in links:
        href = f"/files/{link.key}/{link.name}" + (f"#{link.fragment}" if link.fragment else "")
        attributes = "".join(f' {k}="{html.escape(v)}"' for k, v in link.attributes if k.startswith("data-"))
        rows.append(f'<a href="{html.escape(href)}"{attributes}>{html.escape(link.name)}</a><br/>')
    title = f"<title>Links for {html.escape(project)}</title>"
    return f"<!DOCTYPE html><html><head>{title}</head><body>\n" + "\n".join(rows) + "\n</body></html>\n"


def local_links(folder: Path, project: str) -> list[Link]:
    """The files of a `find-links` folder that belong to a project. Blocking."""
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir()):
        stem = path.name.partition("-")[0] if path.name.endswith(".whl") else path.name.rpartition("-")[0]
        if path.name.endswith(_SUFFIXES) and normalized(stem) == project:
            found.append(Link(path.name, str(path)))
    return found


class Relay:
    """The index server. `python` finds the interpreter whose pip's configuration counts, at the first request."""

    def __init__(self, python: Callable[[], Awaitable[HostPython]], cache: Path) -> None:
        self._python = python
        self._cache = cache / "files"
        self._settings: PipSettings | None = None
        self._session: aiohttp.ClientSession | None = None
        self._links: dict[str, Link] = {}
        self._pages: dict[str, tuple[float, str]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._runner: web.AppRunner | None = None

    async def start(self, listener: socket.socket) -> None:
        """Serve on a listening socket of the pod network."""
        application = web.Application()
        application.router.add_get("/simple/{project}/", self._page)
        application.router.add_get("/files/{key}/{name}", self._file)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()

    async def close(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _ready(self) -> tuple[PipSettings, aiohttp.ClientSession]:
        """Settings and session, made at the first use: asking pip costs a quarter of a second."""
        async with self._locks.setdefault("", asyncio.Lock()):
            if self._settings is None or self._session is None:
                self._settings = await asyncio.to_thread(read_settings, await self._python())
                tls = ssl.create_default_context(cafile=self._settings.cert)
                timeout = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
                self._session = aiohttp.ClientSession(
                    trust_env=True, timeout=timeout, connector=aiohttp.TCPConnector(ssl=tls, limit=8)
                )
            return self._settings, self._session

    async def _page(self, request: web.Request) -> web.Response:
        project = normalized(request.match_info["project"])
        async with self._locks.setdefault(project, asyncio.Lock()):
            made, page = self._pages.get(project, (0.0, ""))
            if not page or time.monotonic() - made > _PAGE_SECONDS:
                try:
                    links = await self._find(project)
                except RelayFault as fault:
                    return web.Response(status=502, text=f"{fault}\n")
                if not links:
                    return web.Response(status=404, text=f"no project {project}\n")
                self._links |= {link.key: link for link in links}
                page = render_page(project, links)
                self._pages[project] = (time.monotonic(), page)
        return web.Response(text=page, content_type="text/html")

    async def _find(self, project: str) -> list[Link]:
        settings, session = await self._ready()
        links: list[Link] = []
        for folder in settings.find_links:
            place = urlsplit(folder)
            if place.scheme in {"", "file"}:
                links += await asyncio.to_thread(local_links, Path(unquote(place.path)), project)
        for index in settings.indexes:
            links += await self._index_links(session, settings, f"{index.rstrip('/')}/{project}/", bool(links))
        return links

    async def _index_links(
        self, session: aiohttp.ClientSession, settings: PipSettings, url: str, have_some: bool
    ) -> list[Link]:
        try:
            async with session.get(url, headers={"Accept": _ACCEPT}, proxy=settings.proxy) as response:
                if response.status == 404:
                    return []
                response.raise_for_status()
                text = await response.text()
                return await asyncio.to_thread(parse_page, str(response.url), response.content_type, text)
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            if have_some:
                log.warning("package index: %s", error)
                return []
            raise RelayFault(f"the host's package index did not answer: {type(error).__name__} {error}") from error

    async def _file(self, request: web.Request) -> web.StreamResponse:
        link, name = self._links.get(request.match_info["key"]), request.match_info["name"]
        if link is None or name not in {link.name, f"{link.name}.metadata"}:
            return web.Response(status=404, text="ask for the project's page first\n")
        suffix = name[len(link.name) :]
        if "://" not in link.source:
            return web.FileResponse(link.source) if not suffix else web.Response(status=404)
        path = self._cache / link.key / name
        try:
            async with self._locks.setdefault(f"{link.key}{suffix}", asyncio.Lock()):
                if not await asyncio.to_thread(path.is_file):
                    await self._download(link.source + suffix, path)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return web.Response(status=502, text=f"the host could not fetch {name}: {type(error).__name__} {error}\n")
        return web.FileResponse(path)

    async def _download(self, url: str, path: Path) -> None:
        settings, session = await self._ready()
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                await _fetch(session, url, settings.proxy, file)
            os.replace(partial, path)  # noqa: PTH105 - a rename, on names that came from mkstemp
        except BaseException:
            os.unlink(partial)  # noqa: PTH108 - as above
            raise


async def _fetch(session: aiohttp.ClientSession, url: str, proxy: str | None, file: BinaryIO) -> None:
    async with session.get(url, proxy=proxy) as response:
        response.raise_for_status()
        async for chunk in response.content.iter_chunked(1 << 18):
            file.write(chunk)

"""The catalogue: which local program an image reference stands for. What it cannot run is an honest pull error.

Knows names and folders; must not start containers. `python_image` is apart because it is about the interpreter's
insides, this about names.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from k8s_simulation.node.python_image import SYSTEM_PATH, HostPython, find_python, install_requirements
from k8s_simulation.node.references import ImageName, parse_image
from k8s_simulation.node.sandbox import Mount, SandboxFault

SHELLS = ("busybox", "alpine", "debian")
SHELL_TAGS = ("latest", "1")
AGENT = "k8s-execution-agent"
_ETC = ("alternatives", "ssl", "ca-certificates", "ld.so.cache", "mime.types", "localtime", "services", "protocols")


@dataclass(frozen=True, slots=True)
class Image:
    """What an image runs as: defaults of its configuration, mounts on top of the container's layer."""

    name: str
    ran_as: str
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: int = 0
    mounts: tuple[Mount, ...] = ()
    python: HostPython | None = None
    extra_site: Path | None = None

    @property
    def image_id(self) -> str:
        """`simulated://NAME@sha256:DIGEST#WHAT IT RAN AS`; the digest is one of what it ran as."""
        digest = hashlib.sha256(self.ran_as.encode()).hexdigest()
        return f"simulated://{self.name}@sha256:{digest}#{self.ran_as}"


@dataclass(frozen=True, slots=True)
class PullProblem:
    """Why an image cannot be had: kubelet's waiting reason (ErrImagePull or InvalidImageName) and a message."""

    reason: str
    message: str


def system_mounts() -> tuple[tuple[Mount, ...], dict[str, str]]:
    """The host's programs and libraries read-only, and the top-level links of a merged /usr, for a container's root."""
    mounts = [Mount(Path("/usr"), "/usr")]
    links: dict[str, str] = {}
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        top = Path("/", name)
        if top.is_symlink():
            links[f"/{name}"] = str(top.readlink())
        elif top.is_dir():
            mounts.append(Mount(top, f"/{name}"))
    mounts += [Mount(Path("/etc", name), f"/etc/{name}") for name in _ETC if Path("/etc", name).exists()]
    return tuple(mounts), links


class Catalogue:
    """Resolves references. `user_images` maps a reference to a folder; `agent` is the agent's program, if any."""

    def __init__(self, user_images: Mapping[str, Path], agent: Path | None, cache: Path) -> None:
        self._user_images = {_key(reference): folder for reference, folder in user_images.items()}
        self._agent = agent
        self._cache = cache
        self._python: HostPython | None = None
        self._lock = asyncio.Lock()

    async def pull(self, reference: str) -> Image | PullProblem:
        """The image for a reference; slow the first time an image needs its packages installed."""
        name = parse_image(reference)
        if isinstance(name, str):
            return PullProblem(
                "InvalidImageName",
                f'Failed to apply default image tag "{reference}": couldn\'t parse image name "{reference}": {name}',
            )
        try:
            return await self._resolve(name) or PullProblem("ErrImagePull", self._refusal(name))
        except (SandboxFault, OSError, ValueError) as error:
            return PullProblem("ErrImagePull", f'failed to pull and unpack image "{name.canonical}": {error}')

    async def _resolve(self, name: ImageName) -> Image | None:
        if (folder := self._user_images.get(name.canonical)) is not None:
            return await self._user_image(name, folder)
        if name.repository.rpartition("/")[2].startswith(AGENT):
            return self._agent_image(name)
        if name.digest or name.host != "docker.io" or not name.repository.startswith("library/"):
            return None
        base = name.repository.removeprefix("library/")
        if base in SHELLS and name.tag in {"", *SHELL_TAGS}:
            return Image(name.canonical, f"the host's /bin/sh and core utilities ({platform.system()})", cmd=("sh",))
        if base == "python":
            python = await self.host_python()
            version = name.tag.removesuffix("-slim")
            if version in {"3", python.minor, python.version}:
                return self._python_image(name.canonical, python)
        return None

    async def host_python(self) -> HostPython:
        """The host's interpreter, found at the first call."""
        async with self._lock:
            if self._python is None:
                self._python = await asyncio.to_thread(find_python, self._cache)
            return self._python

    def _python_image(self, name: str, python: HostPython) -> Image:
        env = {"LANG": "C.UTF-8", "PYTHON_VERSION": python.version, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return Image(name, f"Python {python.version} at {python.prefix}", cmd=("python3",), env=env, python=python)

    def _agent_image(self, name: ImageName) -> Image:
        if self._agent is None or not self._agent.is_file():
            raise SandboxFault("the agent's program is not built; start the node with --agent PATH")
        return Image(
            name.canonical,
            f"the agent's program {self._agent}",
            entrypoint=(f"/{AGENT}",),
            env={"PATH": f"{SYSTEM_PATH}:/"},
            mounts=(Mount(self._agent, f"/{AGENT}"),),
        )

    async def _user_image(self, name: ImageName, folder: Path) -> Image:
        """A folder at the image's working directory, on the Python image; image.json and requirements.txt optional."""
        config = await asyncio.to_thread(read_config, folder)
        python = await self.host_python()
        async with self._lock:
            site = await asyncio.to_thread(self._installed, python, folder / "requirements.txt")
        base = self._python_image(name.canonical, python)
        workdir = str(config.get("workdir", "/app"))
        return Image(
            name.canonical,
            f"the folder {folder} on Python {python.version}",
            entrypoint=tuple(config.get("entrypoint", ())),
            cmd=tuple(config.get("cmd", ("python3",))),
            env={**base.env, **config.get("env", {})},
            workdir=workdir,
            user=int(config.get("user", 0)),
            mounts=(Mount(folder, workdir),),
            python=python,
            extra_site=site,
        )

    def _installed(self, python: HostPython, requirements: Path) -> Path | None:
        if not requirements.is_file():
            return None
        key = hashlib.sha256(f"{python.executable} {python.version}\n".encode() + requirements.read_bytes()).hexdigest()
        target = self._cache / f"site-{key[:24]}"
        if not target.is_dir():
            self._cache.mkdir(parents=True, exist_ok=True)
            install_requirements(python, requirements, target)
        return target

    def _refusal(self, name: ImageName) -> str:
        python = f"python:3, python:3-slim, python:3.N[-slim] for this machine's Python ({platform.python_version()})"
        shells = f"{', '.join(SHELLS)} (tag {' or '.join(SHELL_TAGS)})"
        return (
            f'failed to pull and unpack image "{name.canonical}": the simulated node has no registry; it runs '
            f"{python}, {shells}, and folders given as --image {name.familiar}=DIR"
        )


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's image.json: entrypoint, cmd (lists), env (strings), workdir, user (a number). Raises SandboxFault."""
    if not folder.is_dir():
        raise SandboxFault(f"the folder {folder} of --image is not there")
    path = folder / "image.json"
    if not path.is_file():
        return {}
    config = json.loads(path.read_text())
    if not isinstance(config, dict):
        raise SandboxFault(f"{path} is not a JSON object")
    if unknown := set(config) - {"entrypoint", "cmd", "env", "workdir", "user"}:
        raise SandboxFault(f"{path} has unknown keys: {', '.join(sorted(unknown))}")
    return config


def cache_folder() -> Path:
    """Where unpacked pips, image packages and relayed files stay between runs: below XDG_CACHE_HOME."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base, "k8s-execution", "simulation")


def _key(reference: str) -> str:
    name = parse_image(reference)
    if isinstance(name, str):
        raise ValueError(f"--image {reference}: {name}")  # noqa: TRY004 - the string is the problem's text
    return name.canonical

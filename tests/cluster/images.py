"""The container images of the cluster, made from folders and kept in the cache as docker archives.

There is no registry: a root folder becomes a one-layer archive that containerd imports. An archive's name holds a
sha256 of its recipe, so it is made once. `python:3-slim` has, like the official image, an interpreter and pip and no
other package. Apart from `node` because nothing here needs a running cluster.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster import builds, configs, debian
from cluster.builds import Programs, Say
from cluster.faults import ClusterFault

LIBRARY = "docker.io/library/"  # what a name without a registry means
SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COREDNS = "coredns:1.12.4"
PYTHON = "python:3-slim"
AGENT = "k8s-execution-agent:0.1.0"
BUILD_AGENT = Path(__file__).resolve().parent.parent.parent / "tools" / "build_agent.py"
PYTHON_PACKAGES = (
    "base-files", "base-passwd", "bash", "ca-certificates", "coreutils", "dash", "diffutils", "findutils", "grep",
    "gzip", "hostname", "libc-bin", "libstdc++6", "mawk", "procps", "python3", "python3-pip", "sed", "tar",
    "usr-is-merged",
)  # fmt: skip
RECIPES_VERSION = 2  # raise it when a recipe changes in what its words do not show
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

Fill = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Image:
    """One image: the names it gets, how its root is filled, and the words its cache key is made of.

    `run` adds members to its OCI configuration (`User`, `WorkingDir` …). `owners` keeps who owns the files; otherwise
    all of them are root's.
    """

    names: tuple[str, ...]
    fill: Fill
    recipe: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = (SEARCH_PATH,)
    run: Mapping[str, Any] = field(default_factory=dict)
    owners: bool = False

    def key(self) -> str:
        """A short sha256 of the recipe."""
        words = [str(RECIPES_VERSION), *self.names, *self.recipe, *self.entrypoint, *self.command, *self.environment]
        return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]

    def archive(self) -> Path:
        """Where its docker archive is when it is made."""
        short = self.names[0].rpartition("/")[2].replace(":", "-")
        return builds.cache_folder() / "images" / f"{short}-{self.key()}.tar"


def _one_program(program: Path, name: str) -> Fill:
    def fill(root: Path) -> None:
        shutil.copy(program, root / name)
        (root / name).chmod(0o755)

    return fill


def _fill_busybox(root: Path) -> None:
    """busybox with a link for each of its commands; not the static one, which crashes when it resolves a name."""
    debian.unpack(("busybox", "base-passwd", "base-files", "usr-is-merged"), root)
    debian.complete(root)
    program = root / "usr/bin/busybox"
    listed = subprocess.run([program, "--list-full"], capture_output=True, text=True, check=True).stdout.split()
    for path in listed:
        link = root / "usr/bin" / Path(path).name
        if not link.exists():
            link.symlink_to("busybox")


def fill_python(root: Path, packages: Sequence[str] = PYTHON_PACKAGES) -> None:
    """Debian's Python and pip, free to install packages, with its modules compiled: pods cannot write them."""
    debian.unpack(packages, root)
    debian.complete(root)
    for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    # By their sources' content: `_layer` takes the files' times away, and by time every module would be compiled anew.
    command = ["chroot", str(root), "/usr/bin/python3", "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash"]
    library = next(root.glob("usr/lib/python3.*"), root)
    subprocess.run(
        [*builds.gently(), *command, "/usr/lib/python3", f"/usr/lib/{library.name}"], capture_output=True, check=False
    )


def _agent() -> Path:
    """The service's agent, built by the project's own tool. Raises ClusterFault if it does not build."""
    done = subprocess.run([sys.executable, BUILD_AGENT], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterFault(f"the agent cannot be built:\n{done.stderr}")
    return Path(done.stdout.strip())


def catalogue(programs: Programs) -> list[Image]:
    """All images of the cluster. Builds the agent if its sources changed."""
    agent = _agent()
    pause, coredns = programs.paths["pause"], programs.paths["coredns"]
    return [
        Image((configs.PAUSE_IMAGE,), _one_program(pause, "pause"), (str(pause),), ("/pause",)),
        Image((LIBRARY + COREDNS,), _one_program(coredns, "coredns"), (str(coredns),), ("/coredns",)),
        Image((LIBRARY + AGENT,), _one_program(agent, "k8s-execution-agent"), (str(agent),), ("/k8s-execution-agent",)),
        Image((LIBRARY + "busybox:1",), _fill_busybox, ("busybox",), command=("sh",)),
        Image(
            (LIBRARY + PYTHON, LIBRARY + "python:3"),
            fill_python,
            PYTHON_PACKAGES,
            command=("python3",),
            environment=(SEARCH_PATH, "LANG=C.UTF-8"),
        ),
    ]


def _without_time(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    return _without_time(entry)


def _layer(root: Path, destination: Path, *, owners: bool) -> str:
    """Pack a root folder, in order and without times; returns the layer's sha256."""
    with tarfile.open(destination, "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(root, ".", filter=_without_time if owners else _owned_by_root)
    with destination.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_config(image: Image, layer: str) -> bytes:
    """The image's configuration (OCI image specification, config.md)."""
    run = {
        "Env": list(image.environment),
        "Entrypoint": list(image.entrypoint) or None,
        "Cmd": list(image.command) or None,
        "WorkingDir": "/",
        **image.run,
    }
    machine = os.uname().machine
    content = {
        "architecture": ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
    }
    return json.dumps(content).encode()


def write_archive(image: Image, root: Path, destination: Path) -> None:
    """Write a root folder as a docker archive (the format of `docker save`)."""
    layer_file = destination.with_suffix(".layer")
    layer = _layer(root, layer_file, owners=image.owners)
    config = image_config(image, layer)
    config_name, layer_name = f"{hashlib.sha256(config).hexdigest()}.json", f"{layer}/layer.tar"
    manifest = [{"Config": config_name, "RepoTags": list(image.names), "Layers": [layer_name]}]
    with tarfile.open(destination, "w") as tar:
        for name, data in ((config_name, config), ("manifest.json", json.dumps(manifest).encode())):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        tar.add(layer_file, layer_name)
    layer_file.unlink()


def unpack(archive: Path, root: Path) -> None:
    """Fill `root` with what is in the only layer of an archive that `write_archive` made."""
    with tarfile.open(archive) as outer:
        manifest = outer.extractfile("manifest.json")
        assert manifest is not None, "a docker archive has a manifest"
        (described,) = json.load(manifest)
        (layer,) = described["Layers"]
        with tarfile.open(fileobj=outer.extractfile(layer)) as tar:
            tar.extractall(root, filter="fully_trusted")  # made by ourselves, with links as a root needs them


def make(image: Image, say: Say) -> Path:
    """The image's archive, made if it is not there. Raises ClusterFault if its parts cannot be had."""
    archive = image.archive()
    if archive.is_file():
        return archive
    with builds.exclusive(archive.with_suffix(".lock"), f"the image {image.names[0]}", say) as unfinished:
        if not archive.is_file():
            say(f"making the image {image.names[0]}")
            root = unfinished / "root"
            root.mkdir(mode=0o755)
            image.fill(root)
            write_archive(image, root, unfinished / "image.tar")
            (unfinished / "image.tar").rename(archive)
    return archive


def make_all(programs: Programs, say: Say) -> list[Path]:
    """The archives of all images."""
    return [make(image, say) for image in catalogue(programs)]

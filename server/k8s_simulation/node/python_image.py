"""The host's Python offered as if it were the official image: the interpreter read-only at its own path, nothing else.

Tried: an interpreter works only at its own path (never a venv, never relocated); the host's packages and the
EXTERNALLY-MANAGED marker have to be covered, or tests see what the image would not have. So each container gets clean
site-packages that hold only pip (from the interpreter's own ensurepip wheel), writable when it runs as uid 0 and
read-only otherwise, as in a real image. Without namespaces the same is offered as a hand-made virtual environment.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from k8s_simulation.node.sandbox import Mount, SandboxFault

_ASK = """
import glob, json, os, site, sys, sysconfig
wheels = sysconfig.get_config_var("WHEEL_PKG_DIR") or ""
try:
    import ensurepip
    bundled = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
except ImportError:
    bundled = ""
found = [w for d in (bundled, wheels) if d for w in sorted(glob.glob(os.path.join(d, "pip-*.whl")))]
print(json.dumps({
    "version": "%d.%d.%d" % sys.version_info[:3], "prefix": sys.prefix, "executable": os.path.realpath(sys.executable),
    "purelib": sysconfig.get_path("purelib"), "scripts": sysconfig.get_path("scripts"),
    "stdlib": sysconfig.get_path("stdlib"), "sites": site.getsitepackages(), "wheels": found,
}))
"""
_PIP_SCRIPT = "#!{python}\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class HostPython:
    """The interpreter below any virtual environment, where it keeps things, and a folder that holds only pip."""

    version: str
    prefix: str
    executable: str
    purelib: str
    scripts: str
    stdlib: str
    sites: tuple[str, ...]
    pip: Path

    @property
    def minor(self) -> str:
        """`3.11` of `3.11.7`."""
        return self.version.rpartition(".")[0]


def find_python(cache: Path) -> HostPython:
    """Ask the base interpreter about itself and unpack its pip into the cache. Blocking, seconds the first time.

    Raises SandboxFault when the interpreter brings no pip.
    """
    base = getattr(sys, "_base_executable", sys.executable) or sys.executable
    told = json.loads(subprocess.run([base, "-I", "-c", _ASK], capture_output=True, check=True, text=True).stdout)
    if not told["wheels"]:
        raise SandboxFault(
            f"the Python at {base} has no ensurepip wheel, so there is no pip (Debian: package python3-venv)"
        )
    wheel = Path(told["wheels"][-1])
    home = cache / f"{wheel.stem}-{told['version']}"
    if not home.is_dir():
        _unpack(wheel, home)
    return HostPython(
        told["version"],
        told["prefix"],
        told["executable"],
        told["purelib"],
        told["scripts"],
        told["stdlib"],
        tuple(told["sites"]),
        home,
    )


def _unpack(wheel: Path, home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=home.parent))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(partial)
    # Containers see it read-only and could never cache the bytecode themselves.
    compileall.compile_dir(partial, quiet=2)
    try:
        partial.chmod(0o755)
        partial.rename(home)
    except OSError:
        shutil.rmtree(partial)  # another node was faster
        if not home.is_dir():
            raise


def furnish(python: HostPython, layer: Path, *, root: bool, extra_site: Path | None) -> tuple[list[Mount], str]:
    """Prepare one container's layer for namespaces; the mounts to add, and its PATH. Blocking, a few milliseconds."""
    mounts: list[Mount] = []
    if python.prefix == "/usr":
        local = layer / ".usr-local"
        local.mkdir(parents=True, exist_ok=True)
        mounts.append(Mount(local, "/usr/local", writable=True))
        scripts = (
            local / python.scripts.removeprefix("/usr/local/") if python.scripts.startswith("/usr/local/") else None
        )
    else:
        if not python.prefix.startswith("/usr/"):
            mounts.append(Mount(Path(python.prefix), python.prefix))
        scripts = layer / ".python-scripts"
        mounts.append(Mount(scripts, python.scripts, writable=root))
    if scripts is not None:
        _write_scripts(python, scripts)
        if python.prefix != "/usr":
            mounts.append(Mount(Path(python.executable), python.executable))
    mounts += _cover_sites(python, layer, root=root, extra_site=extra_site)
    marker = f"{python.stdlib}/EXTERNALLY-MANAGED"
    if Path(marker).exists():
        mounts.append(Mount(Path(os.devnull), marker))
    extra = f"{extra_site}/bin:" if extra_site is not None else ""
    return mounts, f"{extra}{python.scripts}:{SYSTEM_PATH}"


def _cover_sites(python: HostPython, layer: Path, *, root: bool, extra_site: Path | None) -> list[Mount]:
    """Clean folders over every site-packages of the interpreter, pip in the one that pip itself installs into."""
    mounts = []
    for index, site in enumerate(dict.fromkeys([python.purelib, *python.sites])):
        below_layer = python.prefix == "/usr" and site.startswith("/usr/local/")
        if not Path(site).is_dir() and not below_layer:
            continue
        clean = layer / f".site-{index}"
        clean.mkdir(parents=True, exist_ok=True)
        mounts.append(Mount(clean, site, writable=root))
        if site != python.purelib:
            continue
        for part in python.pip.iterdir():
            (clean / part.name).mkdir(exist_ok=True)
            mounts.append(Mount(part, f"{site}/{part.name}"))
        if extra_site is not None:
            (clean / "image.pth").write_text(f"{extra_site}\n")
            mounts.append(Mount(extra_site, str(extra_site)))
    return mounts


def _write_scripts(python: HostPython, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(python.executable).name
    inside = Path(python.scripts) / name == Path(python.executable)
    if inside:
        (folder / name).touch()  # the mount point of the interpreter itself
    for alias in ("python", "python3", f"python{python.minor}"):
        if alias != name or not inside:
            (folder / alias).symlink_to(name if inside else python.executable)
    for alias in ("pip", "pip3"):
        script = folder / alias
        script.write_text(_PIP_SCRIPT.format(python=python.executable))
        script.chmod(0o755)


def make_environment(python: HostPython, folder: Path, extra_site: Path | None) -> str:
    """Without namespaces: a virtual environment that holds only pip, private to one container; its PATH. Blocking."""
    scripts, site = folder / "bin", folder / "lib" / f"python{python.minor}" / "site-packages"
    scripts.mkdir(parents=True)
    site.mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text(
        f"home = {Path(python.executable).parent}\ninclude-system-site-packages = false\nversion = {python.version}\n"
    )
    for alias in ("python", "python3", f"python{python.minor}"):
        (scripts / alias).symlink_to(python.executable)
    for part in python.pip.iterdir():
        (site / part.name).symlink_to(part)
    if extra_site is not None:
        (site / "image.pth").write_text(f"{extra_site}\n")
    for alias in ("pip", "pip3"):
        (scripts / alias).write_text(_PIP_SCRIPT.format(python=scripts / "python3"))
        (scripts / alias).chmod(0o755)
    extra = f"{extra_site}/bin:" if extra_site is not None else ""
    return f"{extra}{scripts}:{SYSTEM_PATH}"


def install_requirements(python: HostPython, requirements: Path, target: Path) -> None:
    """Install a requirements file into `target` with the clean pip and the host's pip configuration. Blocking.

    Raises SandboxFault with pip's last words.
    """
    partial = Path(tempfile.mkdtemp(dir=target.parent))
    argv = [python.executable, "-m", "pip", "install", "--quiet", "--target", str(partial), "-r", str(requirements)]
    env = dict(os.environ) | {"PYTHONPATH": str(python.pip), "PYTHONNOUSERSITE": "1"}
    done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
    if done.returncode != 0:
        shutil.rmtree(partial)
        raise SandboxFault(f"pip install -r {requirements}: {' '.join(done.stderr.split()[-60:])}")
    partial.chmod(0o755)
    try:
        partial.rename(target)
    except OSError:
        shutil.rmtree(partial)
        if not target.is_dir():
            raise

"""Folders that look like the root of a Debian container, made from Debian packages without a registry or a container.

apt resolves and verifies the packages as for an empty machine and only downloads them; they are unpacked, their
installation scripts do not run. What those scripts would have made and a program needs is made by `complete`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cluster.faults import ClusterFault

DOWNLOAD_SECONDS = 600
MERGED = ("bin", "sbin", "lib", "lib64")  # since Debian 12 links into /usr


def _run(command: Sequence[str], seconds: int, what: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=seconds, check=False)
    if done.returncode != 0:
        raise ClusterFault(f"{what} failed:\n{(done.stderr or done.stdout)[-3000:]}")


def update_lists() -> None:
    """Fetch apt's package lists. Raises ClusterFault if that fails."""
    _run(["apt-get", "-qq", "update"], DOWNLOAD_SECONDS, "apt-get update")


def install(packages: Sequence[str]) -> None:
    """Install packages on this machine. Raises ClusterFault if apt does."""
    update_lists()
    _run(
        ["apt-get", "-qq", "-y", "--no-install-recommends", "install", *packages],
        DOWNLOAD_SECONDS,
        f"installing {' '.join(packages)}",
    )


def _download(packages: Sequence[str], folder: Path) -> list[Path]:
    """Download packages and all they depend on, as if nothing were installed; signatures and hashes are verified."""
    (folder / "status").touch()
    (folder / "archives" / "partial").mkdir(parents=True)
    options = {
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",
    }
    settings = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    command = ["apt-get", "-qq", "-y", "--no-install-recommends", *settings, "--download-only", "install", *packages]
    what = f"downloading the Debian packages {' '.join(packages)}"
    try:
        _run(command, DOWNLOAD_SECONDS, what)
    except ClusterFault:  # the lists are missing, or name versions that were replaced since
        update_lists()
        _run(command, DOWNLOAD_SECONDS, what)
    found = sorted((folder / "archives").glob("*.deb"))
    if not found:
        raise ClusterFault(f"apt downloaded none of {' '.join(packages)}")
    return found


def unpack(packages: Sequence[str], root: Path) -> None:
    """Unpack packages and their dependencies into `root`. Raises ClusterFault if they cannot be had."""
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    with tempfile.TemporaryDirectory(dir=root.parent) as temporary:
        for package in _download(packages, Path(temporary)):
            _extract(package, root)


def _extract(package: Path, root: Path) -> None:
    """Unpack one package; not `dpkg-deb --extract`, which replaces the links of merged /usr by folders."""
    with tempfile.TemporaryFile() as content:
        listed = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], stdout=content, check=False)
        content.seek(0)
        command = ["tar", "--extract", "--keep-directory-symlink", "--preserve-permissions", f"--directory={root}"]
        done = subprocess.run(command, stdin=content, capture_output=True, text=True, check=False)
    if listed.returncode != 0 or done.returncode != 0:
        raise ClusterFault(f"{package.name} cannot be unpacked: {done.stderr}")


def complete(root: Path) -> None:
    """Make what the packages' scripts would have made: users, name look-ups, certificates, the usual names."""
    etc, share = root / "etc", root / "usr/share"
    for name in ("passwd", "group"):
        shutil.copy(share / f"base-passwd/{name}.master", etc / name)
    # Without this file the C library asks DNS before /etc/hosts.
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n", encoding="ascii")
    certificates = sorted((share / "ca-certificates").rglob("*.crt"))
    if certificates:
        bundle = etc / "ssl/certs/ca-certificates.crt"
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_bytes(b"".join(path.read_bytes() for path in certificates))
    for link, target in (("awk", "mawk"), ("python", "python3")):
        if (root / "usr/bin" / target).exists():
            (root / "usr/bin" / link).symlink_to(target)
    for folder in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"):
        shutil.rmtree(root / folder, ignore_errors=True)

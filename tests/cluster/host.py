"""What the harness needs of the machine: Linux, root, and some Debian packages, which it installs itself.

Asked before anything is changed, so that who cannot run it learns why in one sentence.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from cluster import configs, debian
from cluster.builds import Say
from cluster.faults import ClusterFault

# A program (or file) to the Debian package that brings it.
NEEDED = {
    "runc": "runc",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "sysctl": "procps",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "dpkg-deb": "dpkg",
    "bwrap": "bubblewrap",
    f"{configs.CNI_PROGRAMS}/ptp": "containernetworking-plugins",
}


def missing() -> list[str]:
    """The Debian packages that are needed and not there."""
    return sorted({package for name, package in NEEDED.items() if shutil.which(name) is None})


def check() -> None:
    """Raise ClusterFault with one sentence if this machine cannot run a cluster."""
    if sys.platform != "linux":
        raise ClusterFault("the test cluster needs Linux: its node lives in Linux namespaces")
    if os.geteuid() != 0:
        raise ClusterFault("the test cluster needs root: its node makes namespaces, mounts and network links")
    if not Path("/sys/fs/cgroup").is_dir():
        raise ClusterFault("the test cluster needs control groups at /sys/fs/cgroup")


def prepare(say: Say) -> None:
    """Install what is missing. Raises ClusterFault naming it where there is no apt."""
    check()
    packages = missing()
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise ClusterFault(f"please install what these Debian packages bring: {' '.join(packages)}")
    say(f"installing the Debian packages {' '.join(packages)}")
    debian.install(packages)
    if still := missing():
        raise ClusterFault(f"still missing after their installation: {' '.join(still)}")

"""Fetch the source distribution of a real project and unpack it beside this file, once.

The project is more-itertools: its own test suite needs only pytest. The archive comes by pip from the package index
that pip is configured for, and its SHA-256 must be the one written here.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

NAME, VERSION = "more-itertools", "10.8.0"
SHA256 = "f638ddf8a1a0d134181275fb5d58b086ead7c6a72429ad725c67503f13ba30bd"
TARGET = Path(__file__).resolve().parent / "project"


def main() -> int:
    """Download, verify, unpack; nothing to do if it is there already."""
    if (TARGET / "tests").is_dir():
        print(f"{NAME} {VERSION} is in {TARGET}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", folder]
        subprocess.run([*command, f"{NAME}=={VERSION}"], check=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != SHA256:
            print(f"{archive.name} has the SHA-256 {digest}, not {SHA256}: not unpacked", file=sys.stderr)
            return 1
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        (unpacked,) = (p for p in Path(folder).iterdir() if p.is_dir())
        subprocess.run(["cp", "-R", str(unpacked), str(TARGET)], check=True)
    print(f"{NAME} {VERSION} is in {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

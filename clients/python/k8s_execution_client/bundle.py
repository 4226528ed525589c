"""Packs a folder of test code as a tar.gz: the same content gives the same bytes, whoever packs it and when.

Left out: what `.gitignore` files in the folder say (each for its own folder, deeper ones win), the given patterns,
`.git`, `__pycache__`, and Python virtual environments (folders with a `pyvenv.cfg`). Symbolic links stay links where
they lead to something inside the folder; one that leads outside is refused, as are sockets, pipes and devices. It must
not talk to the service.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pathspec import GitIgnoreSpec

from k8s_execution_client.faults import BundleFault

MAX_BYTES = 1 << 30
MAX_FILES = 100_000
CHUNK = 1 << 20
MODIFIED = 946_684_800  # 2000-01-01: zip files, which wheels are, cannot hold a time before 1980
NEVER = frozenset({".git", "__pycache__"})
IGNORE_FILE = ".gitignore"


@dataclass(frozen=True, slots=True)
class Packed:
    """What was packed: SHA-256 in hexadecimal and size of the archive in bytes, count of files and links."""

    sha256: str
    size: int
    files: int


@dataclass(frozen=True, slots=True)
class _Rules:
    """The `.gitignore` of one folder: `base` is its path below the root, with a trailing slash, or empty."""

    base: str
    spec: GitIgnoreSpec


def pack(folder: Path, exclude: Sequence[str], output: IO[bytes], *, max_bytes: int = MAX_BYTES) -> Packed:
    """Write the archive of `folder` to `output` (seekable). `max_bytes` bounds the unpacked content.

    Raises BundleFault: no such folder, nothing in it, too much in it, a link that leads outside.
    """
    if not folder.is_dir():
        raise BundleFault(f"test_plan.source.local.path: {folder} is no folder")
    start = output.tell()
    files = total = 0
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=output, compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, path in entries(folder, exclude):
            total += _add(archive, folder, name, path)
            files += not path.is_dir() or path.is_symlink()
            if total > max_bytes or files > MAX_FILES:
                raise BundleFault(_too_much(folder, exclude, max_bytes))
    if not files:
        raise BundleFault(f"{folder} holds no files to send; all are excluded or ignored")
    size = output.tell() - start
    output.seek(start)
    digest = hashlib.sha256()
    while chunk := output.read(CHUNK):
        digest.update(chunk)
    output.seek(start)
    return Packed(digest.hexdigest(), size, files)


def entries(folder: Path, exclude: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Names below `folder` and their paths, folders before what is in them, in a fixed order."""
    excluded = GitIgnoreSpec.from_lines(exclude)
    yield from _walk(folder, "", [], excluded)


def _walk(folder: Path, base: str, rules: list[_Rules], excluded: GitIgnoreSpec) -> Iterator[tuple[str, Path]]:
    own = _rules_of(folder, base)
    here = [*rules, own] if own else rules
    for child in sorted(folder.iterdir(), key=lambda p: p.name):
        name = base + child.name
        is_folder = child.is_dir() and not child.is_symlink()
        shown = f"{name}/" if is_folder else name
        if child.name in NEVER or excluded.match_file(shown) or _ignored(shown, here):
            continue
        if is_folder and (child / "pyvenv.cfg").is_file():
            continue
        yield name, child
        if is_folder:
            yield from _walk(child, f"{name}/", here, excluded)


def _rules_of(folder: Path, base: str) -> _Rules | None:
    try:
        lines = (folder / IGNORE_FILE).read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    return _Rules(base, GitIgnoreSpec.from_lines(lines))


def _ignored(name: str, rules: list[_Rules]) -> bool:
    """Whether git would ignore it: the deepest file that says anything decides."""
    for rule in reversed(rules):
        answer = rule.spec.check_file(name.removeprefix(rule.base)).include
        if answer is not None:
            return answer
    return False


def _add(archive: tarfile.TarFile, root: Path, name: str, path: Path) -> int:
    """Add one entry; the bytes of its content."""
    status = path.lstat()
    info = tarfile.TarInfo(name)
    info.mtime = MODIFIED
    if stat.S_ISLNK(status.st_mode):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, _link(root, name, path), 0o777
        archive.addfile(info)
        return 0
    if stat.S_ISDIR(status.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(info)
        return 0
    if not stat.S_ISREG(status.st_mode):
        raise BundleFault(f"{path} is neither file nor folder; put it into test_plan.source.local.exclude")
    info.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    try:
        with path.open("rb") as content:
            info.size = os.fstat(content.fileno()).st_size
            archive.addfile(info, content)
    except OSError as error:
        raise BundleFault(f"{path} cannot be packed: {error.strerror or 'it changed while it was read'}") from error
    return info.size


def _link(root: Path, name: str, path: Path) -> str:
    """The target of a link, relative to it. Raises BundleFault where it leads outside."""
    inside = root.resolve()
    target = path.parent / path.readlink()
    lexical = Path(os.path.normpath(target.absolute()))
    if not path.resolve().is_relative_to(inside) or not (
        lexical.is_relative_to(root.absolute()) or lexical.is_relative_to(inside)
    ):
        hint = f"put {name} into test_plan.source.local.exclude, or copy what it leads to"
        raise BundleFault(f"{path} is a link that leads out of {root}; {hint}")
    base = root.absolute() if lexical.is_relative_to(root.absolute()) else inside
    return os.path.relpath(lexical.relative_to(base), Path(name).parent)


def _too_much(folder: Path, exclude: Sequence[str], max_bytes: int) -> str:
    sizes = [(path.stat().st_size, name) for name, path in entries(folder, exclude) if path.is_file()]
    largest = ", ".join(f"{name} ({size >> 20} MiB)" for size, name in sorted(sizes, reverse=True)[:3])
    return (
        f"{folder} holds more than {max_bytes >> 20} MiB or {MAX_FILES} files; the largest: {largest}; "
        "leave out what the tests do not need with test_plan.source.local.exclude"
    )

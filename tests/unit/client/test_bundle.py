"""Packing a folder: what goes in, what stays out, and that it is always the same bytes."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from k8s_execution_client.bundle import pack
from k8s_execution_client.faults import BundleFault


def write(folder: Path, *names: str) -> None:
    """Files with their own name as content."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def packed(folder: Path, *exclude: str) -> bytes:
    """The archive."""
    output = io.BytesIO()
    result = pack(folder, exclude, output)
    assert result.size == len(output.getvalue())
    return output.getvalue()


def names(folder: Path, *exclude: str) -> list[str]:
    """Names of files and links in the archive."""
    with tarfile.open(fileobj=io.BytesIO(packed(folder, *exclude))) as archive:
        return [member.name for member in archive if not member.isdir()]


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    """Whatever the times, the order of making and the folder's place."""
    first, second = tmp_path / "one", tmp_path / "two"
    write(first, "b.py", "a/x.py", "a.py")
    write(second, "a.py", "a/x.py", "b.py")
    os.utime(second / "a.py", (1, 1))
    assert packed(first) == packed(second)


def test_git_and_caches_and_virtual_environments_stay_out(tmp_path: Path) -> None:
    """Without being told."""
    write(
        tmp_path, "test_x.py", ".git/config", "__pycache__/x.pyc", "env/pyvenv.cfg", "env/bin/python", "sub/.git/HEAD"
    )
    assert names(tmp_path) == ["test_x.py"]


def test_ignore_files_are_honoured_where_they_stand(tmp_path: Path) -> None:
    """Each for its own folder; the deeper one wins."""
    write(tmp_path, "keep.py", "x.log", "a/x.log", "a/b/x.log", "build/out", "a/build.py", "a/only", "only")
    (tmp_path / ".gitignore").write_text("*.log\n/build/\n")
    (tmp_path / "a" / ".gitignore").write_text("!x.log\n/only\n")
    (tmp_path / "a" / "b" / ".gitignore").write_text("x.log\n")
    assert names(tmp_path) == [
        ".gitignore",
        "a/.gitignore",
        "a/b/.gitignore",
        "a/build.py",
        "a/x.log",
        "keep.py",
        "only",
    ]


def test_given_patterns_stay_out_even_where_git_would_keep_them(tmp_path: Path) -> None:
    """exclude is stronger than .gitignore's exceptions."""
    write(tmp_path, "a.py", "data/big.bin", "b.bin")
    (tmp_path / ".gitignore").write_text("!b.bin\n")
    assert names(tmp_path, "*.bin") == [".gitignore", "a.py"]


def test_links_inside_stay_links(tmp_path: Path) -> None:
    """Relative, also where they were absolute."""
    write(tmp_path, "a/x.py")
    (tmp_path / "a" / "near").symlink_to("x.py")
    (tmp_path / "far").symlink_to(tmp_path / "a" / "x.py")
    (tmp_path / "folder").symlink_to("a")
    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path))) as archive:
        links = {member.name: member.linkname for member in archive if member.issym()}
    assert links == {"a/near": "x.py", "far": "a/x.py", "folder": "a"}


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "hop", "gone/../../outside"])
def test_a_link_that_leads_outside_is_refused(tmp_path: Path, target: str) -> None:
    """Directly, absolutely, or by a second link."""
    folder = tmp_path / "folder"
    write(folder, "a.py")
    write(tmp_path, "outside")
    (folder / "hop").symlink_to(tmp_path / "outside")
    (folder / "link").symlink_to(target)
    with pytest.raises(BundleFault, match="leads out of"):
        packed(folder)


def test_an_excluded_link_is_no_problem(tmp_path: Path) -> None:
    """What is not packed is not judged."""
    write(tmp_path, "a.py")
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert names(tmp_path, "link") == ["a.py"]


def test_a_pipe_is_refused_and_not_opened(tmp_path: Path) -> None:
    """Opening it would wait for ever."""
    write(tmp_path, "a.py")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleFault, match="pipe is neither file nor folder"):
        packed(tmp_path)


def test_scripts_stay_executable_and_nothing_else_of_the_owner_goes_in(tmp_path: Path) -> None:
    """Mode 0755 or 0644, no user, no group, no times."""
    write(tmp_path, "run.sh", "a.py")
    (tmp_path / "run.sh").chmod(0o700)
    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path))) as archive:
        members = {m.name: m for m in archive}
    assert (members["run.sh"].mode, members["a.py"].mode) == (0o755, 0o644)
    assert {(m.uid, m.gid, m.uname, m.gname) for m in members.values()} == {(0, 0, "", "")}
    assert len({m.mtime for m in members.values()}) == 1


def test_too_much_is_refused_and_names_the_largest(tmp_path: Path) -> None:
    """So that one knows what to exclude."""
    write(tmp_path, "a.py")
    (tmp_path / "video.bin").write_bytes(b"x" * 4096)
    with pytest.raises(BundleFault, match=r"the largest: video\.bin"):
        pack(tmp_path, [], io.BytesIO(), max_bytes=1024)


@pytest.mark.parametrize("content", [[], [".git/config"]])
def test_nothing_to_send_is_refused(tmp_path: Path, content: list[str]) -> None:
    """An empty folder is most likely the wrong one."""
    write(tmp_path, *content)
    with pytest.raises(BundleFault, match="no files"):
        packed(tmp_path)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    """Named by the field."""
    with pytest.raises(BundleFault, match=r"source\.local\.path"):
        packed(tmp_path / "none")


def test_long_and_foreign_names_survive(tmp_path: Path) -> None:
    """More than the 100 bytes of old tar, and no ASCII."""
    name = f"{'d' * 90}/{'f' * 120}-prüfung.py"
    write(tmp_path, name)
    assert names(tmp_path) == [name]

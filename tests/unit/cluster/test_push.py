"""What is sent to a registry: parts once, each with its digest, and a manifest that names them."""

from __future__ import annotations

from pathlib import Path

from cluster import images, push
from cluster.images import Image
from cluster.push import Target


def test_a_password_is_sent_only_where_there_is_one(tmp_path: Path) -> None:
    assert Target("a:1", tmp_path).headers() == {}
    assert Target("a:1", tmp_path, "tests", "word").headers() == {"Authorization": "Basic dGVzdHM6d29yZA=="}


def test_an_archive_tells_its_names(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    image = Image(("docker.io/library/a:1", "docker.io/library/a:2"), lambda _: None, ())
    images.write_archive(image, tmp_path / "root", tmp_path / "image.tar")
    assert push.names(tmp_path / "image.tar") == list(image.names)


def test_an_archive_fills_a_root_again(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "program").write_text("x")
    (root / "link").symlink_to("/bin/program")
    images.write_archive(Image(("a:1",), lambda _: None, ()), root, tmp_path / "image.tar")
    images.unpack(tmp_path / "image.tar", tmp_path / "again")
    assert (tmp_path / "again" / "bin" / "program").read_text() == "x"
    assert (tmp_path / "again" / "link").readlink() == Path("/bin/program")

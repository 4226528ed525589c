"""Programs and images are found again by what they are made of."""

from __future__ import annotations

import json
import tarfile
import threading
from pathlib import Path

import pytest

from cluster import builds, images
from cluster.images import Image


def test_every_module_has_its_versions_and_checksums() -> None:
    for module in builds.ALL:
        folder = builds.MODULES / module.name
        assert (folder / "go.mod").is_file()
        assert (folder / "go.sum").is_file() or "require" not in (folder / "go.mod").read_text(encoding="utf-8")


def test_the_kubernetes_version_is_that_of_its_module() -> None:
    text = (builds.MODULES / "kubernetes" / "go.mod").read_text(encoding="utf-8")
    assert f"k8s.io/kubernetes {builds.KUBERNETES_VERSION}" in text


def test_flags_are_part_of_the_key() -> None:
    kubernetes = next(m for m in builds.ALL if m.name == "kubernetes")
    assert builds.key(kubernetes) != builds.key(builds.Module("kubernetes", kubernetes.programs))


def test_checksums_are_never_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOFLAGS", "-mod=mod -insecure")
    assert builds.environment()["GOFLAGS"] == "-mod=readonly -p=2"
    assert {k: v for k, v in builds.environment().items() if k in {"GONOSUMCHECK", "GOINSECURE"}} == {}


def test_an_image_archive_holds_its_root_owned_by_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "program").write_bytes(b"x")
    (root / "program").chmod(0o755)
    image = Image(("docker.io/library/a:1", "docker.io/library/a:2"), lambda _: None, (), ("/program",))
    images.write_archive(image, root, tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as tar:
        (manifest,) = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
        config = json.loads(tar.extractfile(manifest["Config"]).read())  # type: ignore[union-attr]
        with tarfile.open(fileobj=tar.extractfile(manifest["Layers"][0])) as layer:
            program = layer.getmember("./program")
    assert manifest["RepoTags"] == list(image.names)
    assert config["config"]["Entrypoint"] == ["/program"]
    assert (program.uid, program.gid, program.mtime, program.mode & 0o777) == (0, 0, 0, 0o755)


def test_the_same_root_makes_the_same_archive(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name in ("b", "a"):
        (root / name).write_text(name, encoding="ascii")
    image = Image(("a:1",), lambda _: None, ())
    first, second = tmp_path / "1.tar", tmp_path / "2.tar"
    images.write_archive(image, root, first)
    (root / "a").touch()
    images.write_archive(image, root, second)
    with tarfile.open(first) as one, tarfile.open(second) as two:
        assert one.getnames() == two.getnames()


def test_a_second_builder_waits_and_what_a_killed_one_left_is_removed(tmp_path: Path) -> None:
    lock, said = tmp_path / "x.lock", threading.Event()
    left = tmp_path / ".unfinished-x.lock-1"
    left.mkdir()
    order: list[str] = []

    def second() -> None:
        with builds.exclusive(lock, "x", lambda _: said.set()):
            order.append("second")

    with builds.exclusive(lock, "x", pytest.fail) as unfinished:
        assert unfinished.is_dir() and not left.exists()
        thread = threading.Thread(target=second)
        thread.start()
        assert said.wait(60)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.lock"]

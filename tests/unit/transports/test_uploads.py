"""Bundles in pieces: what is kept, what is refused, and that nothing is half-stored."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_execution.transports.tarball import Inspector, Unfit
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as pb
from unit.transports.conftest import Answered, Serve
from unit.transports.fakes import World

if TYPE_CHECKING:
    from unit.transports.conftest import Stub


def archive(*names: str, form: int = tarfile.PAX_FORMAT, content: bytes = b"x" * 700) -> bytes:
    """A tar.gz of files of these names."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=form) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def entry(name: str, kind: bytes) -> bytes:
    """A tar.gz of one entry of a kind."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.type = kind
        info.linkname = "target"
        tar.addfile(info)
    return out.getvalue()


LONG = "/".join(["folder-of-some-length"] * 12) + "/test_\u00e4.py"
GOOD = archive("test_a.py", LONG)


async def pieces(*given: pb.UploadBundleRequest) -> AsyncIterator[pb.UploadBundleRequest]:
    for piece in given:
        yield piece


def chunks(data: bytes, size: int = 100) -> list[pb.UploadBundleRequest]:
    return [pb.UploadBundleRequest(chunk=data[i : i + size]) for i in range(0, len(data), size)]


def said(**given: object) -> pb.UploadBundleRequest:
    return pb.UploadBundleRequest(metadata=pb.BundleMetadata(**given))  # type: ignore[arg-type]  # fields by name


async def test_an_archive_is_stored_whole_under_its_hash(stub: Stub, world: World) -> None:
    digest = hashlib.sha256(GOOD).hexdigest()
    answer = await stub.UploadBundle(pieces(said(sha256=digest, size_bytes=len(GOOD)), *chunks(GOOD)))
    assert world.archive.bundles == {answer.bundle_id: GOOD}
    assert (answer.sha256, answer.size_bytes, answer.files) == (digest, len(GOOD), 2)
    again = await stub.UploadBundle(pieces(*chunks(GOOD, 1 << 20)))
    assert again.bundle_id == answer.bundle_id


REFUSED: dict[str, tuple[list[pb.UploadBundleRequest], tuple[str, str]]] = {
    "another sha256": ([said(sha256="0" * 64), *chunks(GOOD)], ("metadata.sha256", "bundle.sha256")),
    "another size": ([said(size_bytes=1), *chunks(GOOD)], ("metadata.size_bytes", "bundle.size")),
    "no sha256": ([said(sha256="abc"), *chunks(GOOD)], ("metadata.sha256", "bundle.sha256")),
    "metadata later": ([*chunks(GOOD), said(size_bytes=1)], ("metadata", "upload.first")),
    "an empty message": ([pb.UploadBundleRequest()], ("", "upload.one_of")),
    "nothing": ([], ("chunk", "bundle.form")),
    "no archive": (chunks(b"hello"), ("chunk", "bundle.form")),
    "gzip of no tar": (chunks(gzip.compress(b"hello" * 200)), ("chunk", "bundle.form")),
    "cut off": (chunks(GOOD[:-40]), ("chunk", "bundle.form")),
    "a tar that does not end": (chunks(gzip.compress(gzip.decompress(archive("a"))[:1000])), ("chunk", "bundle.form")),
    "bytes after it": (chunks(GOOD + b"more"), ("chunk", "bundle.form")),
    "an absolute path": (chunks(archive("/etc/passwd")), ("chunk", "bundle.path")),
    "a path upwards": (chunks(archive("a/../../b")), ("chunk", "bundle.path")),
    "a long path upwards": (chunks(archive(LONG + "/../" * 90 + "x")), ("chunk", "bundle.path")),
    "a long gnu path": (chunks(archive("/" + LONG, form=tarfile.GNU_FORMAT)), ("chunk", "bundle.path")),
    "a device": (chunks(entry("dev", tarfile.CHRTYPE)), ("chunk", "bundle.entry")),
    "a pipe": (chunks(entry("pipe", tarfile.FIFOTYPE)), ("chunk", "bundle.entry")),
    "a large piece": ([pb.UploadBundleRequest(chunk=b"\0" * (2 << 20) + b"x")], ("chunk", "bytes.max_len")),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_bundle_is_refused_and_not_stored(name: str, stub: Stub, world: World) -> None:
    sent, problem = REFUSED[name]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.UploadBundle(pieces(*sent))
    answer = Answered(refused.value)
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.problems == {problem}
    assert not world.archive.bundles


async def test_an_archive_over_the_limit_is_too_large(serve: Serve, world: World) -> None:
    world.archive.limit = 100
    stub = await serve(world.use_cases())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.UploadBundle(pieces(*chunks(GOOD)))
    answer = Answered(refused.value)
    assert (answer.code, answer.info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_LARGE")
    assert not world.archive.bundles


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked() -> None:
    """A bomb: its one header says more than is taken."""
    info = tarfile.TarInfo("zeros")
    info.size = 1 << 40
    inspector = Inspector()
    with pytest.raises(Unfit) as refused:
        inspector.feed(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)))
    assert refused.value.rule == "bundle.unpacked"


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=40), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
)
def test_where_the_pieces_are_cut_does_not_matter(sizes: list[int], form: int) -> None:
    data = archive("a", LONG, "b/c", form=form)
    inspector = Inspector()
    at = 0
    for size in sizes:
        inspector.feed(data[at : at + size])
        at += size
    inspector.feed(data[at:])
    assert inspector.finish() == 3


@given(st.binary(max_size=600), st.integers(0, 600))
def test_damaged_archives_are_refused_and_nothing_else_is_raised(noise: bytes, at: int) -> None:
    data = bytearray(gzip.decompress(GOOD))
    data[at : at + len(noise)] = noise
    inspector = Inspector()
    with suppress(Unfit):
        inspector.feed(gzip.compress(bytes(data)))
        assert inspector.finish() >= 0

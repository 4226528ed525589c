"""Pushes an image archive to a registry: the upload in one piece of the OCI distribution specification, no more.

Knows archives and HTTP only, so that tests can make and push images of their own.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import ssl
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from cluster.faults import ClusterFault

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
TIMEOUT_SECONDS = 120.0
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Target:
    """A registry: host:port, the certificate that signs its own, and a user with a password, or none."""

    address: str
    authority: Path
    user: str = ""
    password: str = ""

    def headers(self) -> dict[str, str]:
        """What tells the registry who is asking."""
        if not self.user:
            return {}
        return {"Authorization": "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()}


@dataclass(frozen=True, slots=True)
class Blob:
    """One part of an image, as its manifest names it."""

    kind: str
    digest: str
    size: int

    def descriptor(self) -> dict[str, Any]:
        """The OCI descriptor."""
        return {"mediaType": self.kind, "digest": self.digest, "size": self.size}


def push(archive: Path, target: Target, name: str) -> str:
    """Push a docker archive with uncompressed layers as `name` (`repository:tag`); the digest of its manifest.

    Parts that are there are not sent again. Raises ClusterFault with the registry's words if it refuses.
    """
    repository, _, tag = name.rpartition(":")
    context = ssl.create_default_context(cafile=str(target.authority))
    connection = http.client.HTTPSConnection(
        target.address, timeout=TIMEOUT_SECONDS, context=context, blocksize=BLOCK_BYTES
    )
    try:
        with tarfile.open(archive) as tar:
            upload = _Upload(connection, target, repository)
            return upload.manifest(tag, *_parts(tar, upload))
    except (OSError, http.client.HTTPException) as error:
        raise ClusterFault(f"{name} cannot be pushed to {target.address}: {error}") from error
    finally:
        connection.close()


def names(archive: Path) -> list[str]:
    """The names of an archive's image."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile("manifest.json")
        assert file is not None, "a docker archive has a manifest"
        (described,) = json.load(file)
    return [str(name) for name in described["RepoTags"]]


def _parts(tar: tarfile.TarFile, upload: _Upload) -> tuple[Blob, list[Blob]]:
    """Send configuration and layers. A layer's digest is in the configuration, since it is not compressed."""

    def content(name: str) -> IO[bytes]:
        file = tar.extractfile(name)
        assert file is not None, f"{name} is no file of the archive"
        return file

    (described,) = json.load(content("manifest.json"))
    data = upload.signed(content(described["Config"]).read())
    config = Blob(CONFIG, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
    upload.blob(config, io.BytesIO(data))
    digests = json.loads(data)["rootfs"]["diff_ids"]
    layers = [
        Blob(LAYER, digest, tar.getmember(name).size) for name, digest in zip(described["Layers"], digests, strict=True)
    ]
    for layer, name in zip(layers, described["Layers"], strict=True):
        upload.blob(layer, content(name))
    return config, layers


class _Upload:
    """Requests about one repository over one connection."""

    def __init__(self, connection: http.client.HTTPSConnection, target: Target, repository: str) -> None:
        self._connection = connection
        self._target = target
        self._base = f"/v2/{repository}"

    def _ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, http.client.HTTPMessage]:
        self._connection.request(method, path, body, {**self._target.headers(), **headers})
        answer = self._connection.getresponse()
        said = answer.read()
        absent = method == "HEAD" and answer.status == http.HTTPStatus.NOT_FOUND
        if answer.status >= 300 and not absent:
            raise ClusterFault(f"{self._target.address} refuses {method} {path}: {answer.status} {said.decode()[:500]}")
        return answer.status, answer.headers

    def signed(self, config: bytes) -> bytes:
        """The image's configuration with the registry in it, which makes it another image than the imported one.

        Of an image (known by its configuration's digest) that was pulled once under one name, the kubelet believes no
        other name without asking that registry, also if it was imported before (KEP-2535, on by default in 1.35).
        """
        return json.dumps(json.loads(config) | {"author": self._target.address}).encode()

    def blob(self, blob: Blob, content: IO[bytes]) -> None:
        """Send a part, unless it is there."""
        if self._ask("HEAD", f"{self._base}/blobs/{blob.digest}")[0] == http.HTTPStatus.OK:
            return
        _, headers = self._ask("POST", f"{self._base}/blobs/uploads/", b"")
        place = urlsplit(headers["Location"])
        path = f"{place.path}?{place.query}&digest={blob.digest}"
        length = {"Content-Length": str(blob.size), "Content-Type": "application/octet-stream"}
        self._ask("PUT", path, content, **length)

    def manifest(self, tag: str, config: Blob, layers: list[Blob]) -> str:
        """Name the whole."""
        content = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor() for layer in layers],
        }
        data = json.dumps(content).encode()
        self._ask("PUT", f"{self._base}/manifests/{tag}", data, **{"Content-Type": MANIFEST})
        return f"sha256:{hashlib.sha256(data).hexdigest()}"

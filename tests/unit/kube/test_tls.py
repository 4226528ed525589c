"""Certificates: whom we believe, and how we show who we are."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from k8s_execution.kube.client import Client
from k8s_execution.kube.kubeconfig import ExecPlugin, KubeConfig, KubeConfigError, Pem
from k8s_execution.kube.transport import open_transport
from k8s_execution.ports.cluster import Unreachable
from unit.kube.conftest import LIMITS, ProcessClock
from unit.kube.fake_api import FakeApi


@dataclass(slots=True)
class Authority:
    """A certificate authority of one test."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *names: x509.GeneralName) -> tuple[bytes, bytes]:
        """(certificate, key) for a server of these names, or for a client of none."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder("leaf", self.certificate.subject, key)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM), secret


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def new_authority() -> Authority:
    """A fresh one."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("ca", _name("ca"), key).add_extension(x509.BasicConstraints(True, None), critical=True)
    return Authority(key, builder.sign(key, hashes.SHA256()))


@pytest.fixture(scope="module")
def authority() -> Authority:
    return new_authority()


def server_tls(authority: Authority, folder: Path, *names: x509.GeneralName) -> ssl.SSLContext:
    """A server's context, which asks for a client certificate of the same authority if there is one."""
    certificate, key = authority.issue(*names)
    for name, data in (("server.pem", certificate), ("server.key", key), ("ca.pem", authority.pem)):
        (folder / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


@pytest.fixture
async def secure(authority: Authority, tmp_path: Path) -> AsyncIterator[FakeApi]:
    async with FakeApi(server_tls(authority, tmp_path, LOOPBACK)) as api:
        yield api


async def version(config: KubeConfig, executor: ThreadPoolExecutor) -> str:
    """Ask the server something."""
    limits = type(LIMITS)(attempts=1)
    async with open_transport(config, limits, ProcessClock(), executor) as transport:
        return str((await Client(transport, limits, ProcessClock()).get("/version"))["gitVersion"])


async def test_the_kubeconfigs_authority_is_believed(
    secure: FakeApi, authority: Authority, executor: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """As data and as file."""
    for pem in (Pem(data=authority.pem), Pem(file=str(tmp_path / "ca.pem"))):
        assert await version(secure.config(certificate_authority=pem), executor) == "v1.34.0"


async def test_another_authority_is_not(secure: FakeApi, executor: ThreadPoolExecutor) -> None:
    """Unreachable, and the reason names the certificate."""
    with pytest.raises(Unreachable, match="certificate verify failed"):
        await version(secure.config(certificate_authority=Pem(data=new_authority().pem)), executor)
    with pytest.raises(Unreachable, match="certificate verify failed"):
        await version(secure.config(), executor)


async def test_insecure_believes_everybody(secure: FakeApi, executor: ThreadPoolExecutor) -> None:
    """Only because the file says so."""
    assert await version(secure.config(insecure=True), executor) == "v1.34.0"


async def test_tls_server_name_replaces_the_address(
    authority: Authority, executor: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """The certificate names another host than the one connected to."""
    async with FakeApi(server_tls(authority, tmp_path, x509.DNSName("kube.example"))) as api:
        trusted = Pem(data=authority.pem)
        config = api.config(certificate_authority=trusted, tls_server_name="kube.example")
        assert await version(config, executor) == "v1.34.0"
        with pytest.raises(Unreachable):
            await version(api.config(certificate_authority=trusted), executor)


async def test_a_client_certificate_is_shown_and_its_key_does_not_stay_on_disk(
    secure: FakeApi, authority: Authority, executor: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given as data; the server sees it; the temporary folder is empty afterwards."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    certificate, key = authority.issue()
    config = secure.config(
        certificate_authority=Pem(data=authority.pem),
        client_certificate=Pem(data=certificate),
        client_key=Pem(data=key),
    )
    limits = LIMITS
    async with open_transport(config, limits, ProcessClock(), executor) as transport:
        assert list(scratch.iterdir()) == []
        await Client(transport, limits, ProcessClock()).get("/version")
    assert secure.peers[-1] is not None
    assert secure.peers[-1]["subject"] == ((("commonName", "leaf"),),)


async def test_a_plugins_certificate_is_shown(
    secure: FakeApi, authority: Authority, executor: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """It comes before the first connection, and its key does not stay on disk either."""
    certificate, key = authority.issue()
    status = {"clientCertificateData": certificate.decode(), "clientKeyData": key.decode()}
    answer = {"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": status}
    (tmp_path / "answer").write_text(json.dumps(answer))
    plugin = ExecPlugin(("cat", str(tmp_path / "answer")), "client.authentication.k8s.io/v1")
    config = secure.config(certificate_authority=Pem(data=authority.pem), plugin=plugin)
    assert await version(config, executor) == "v1.34.0"
    assert secure.peers[-1] is not None
    assert secure.peers[-1]["subject"] == ((("commonName", "leaf"),),)


async def test_unusable_certificates_are_named(executor: ThreadPoolExecutor) -> None:
    """At connecting, as an error of the configuration."""
    config = KubeConfig(
        "https://127.0.0.1:1", context="c", client_certificate=Pem(data=b"x"), client_key=Pem(data=b"y")
    )
    with pytest.raises(KubeConfigError, match="context 'c'"):
        await version(config, executor)
    config = KubeConfig("https://127.0.0.1:1", context="c", certificate_authority=Pem(file="/nowhere"))
    with pytest.raises(KubeConfigError, match="context 'c'"):
        await version(config, executor)

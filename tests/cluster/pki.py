"""The cluster's own certificate authority and the certificates of its components.

Every component gets the name and group that Kubernetes' built-in roles expect (kubernetes.io/docs/setup/best-practices/
certificates). Only makes bytes: who writes them where is `controlplane`.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.layout import Layout

LIFETIME = dt.timedelta(days=30)
PROCESS_NODE = "process-node"


@dataclass(frozen=True, slots=True)
class Pair:
    """A private key and its certificate (or public key), both PEM."""

    key: bytes
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a certificate is for: common name (the user), group, and the names and addresses it serves under."""

    user: str
    group: str | None = None
    hosts: tuple[str, ...] = ()


def subjects(layout: Layout) -> dict[str, Subject]:
    """All certificates of a cluster, by file name."""
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
    return {
        "etcd": Subject("etcd", hosts=("localhost", "127.0.0.1")),
        "apiserver": Subject("kube-apiserver", hosts=(*service, "127.0.0.1", layout.host_address, layout.api_service)),
        "apiserver-kubelet": Subject("kube-apiserver-kubelet-client", "system:masters"),
        "admin": Subject("admin", "system:masters"),
        "controller-manager": Subject("system:kube-controller-manager"),
        "scheduler": Subject("system:kube-scheduler"),
        "proxy": Subject("system:kube-proxy"),
        "policies": Subject("kube-network-policies", "system:masters"),
        "node": Subject(f"system:node:{layout.node_name}", "system:nodes", (layout.node_name, layout.node_address)),
        "registry": Subject("registry", hosts=(layout.host_address,)),
        # a second node, which tests start as a process of the host (tests/real/test_process_node.py)
        "process-node": Subject(f"system:node:{PROCESS_NODE}", "system:nodes", (PROCESS_NODE, "127.0.0.1")),
    }


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(subject: Subject) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, subject.user)]
    if subject.group:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, subject.group))
    return x509.Name(parts)


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
    )


class Authority:
    """A certificate authority that exists only for one cluster."""

    def __init__(self, name: str) -> None:
        """Make its key and self-signed certificate."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        own = _name(Subject(f"k8s-execution test cluster {name}"))
        self._certificate = (
            _builder(own, own, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def certificate(self) -> bytes:
        """Its certificate, PEM; the key never leaves this object."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, subject: Subject) -> Pair:
        """A key and a certificate that serves and that identifies as a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(subject), self._certificate.subject, key.public_key())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if subject.hosts:
            names = x509.SubjectAlternativeName([_alternative(host) for host in subject.hosts])
            builder = builder.add_extension(names, critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        return Pair(_key_pem(key), signed.public_bytes(serialization.Encoding.PEM))


def service_account_pair() -> Pair:
    """The key that signs service account tokens, and its public half in the certificate's place."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Pair(_key_pem(key), public)

"""The certificates of a simulated cluster: a CA of its own and the server's certificate, made anew at each start.

Keys never touch the disk except in a private folder while the SSL context is loaded, because Python's ssl reads files
only.
"""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

_VALID_FOR = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: `ca_pem` is public."""

    ca_pem: bytes
    _certificate: Any
    _key: Any

    def server_context(self, hosts: list[str]) -> ssl.SSLContext:
        """A context for a server known by these names and addresses."""
        from cryptography.hazmat.primitives import serialization

        certificate, key = _issue(hosts[0], hosts, self._certificate, self._key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with tempfile.TemporaryDirectory(prefix="k8s-simulation-") as folder:
            file = Path(folder) / "server.pem"
            file.touch(mode=0o600)
            private = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
            context.load_cert_chain(file)
        return context


def make_authority(name: str = "k8s-simulation") -> Authority:
    """A new authority with a random key (ECDSA P-256: made in a millisecond)."""
    from cryptography.hazmat.primitives import serialization

    certificate, key = _issue(name, [], None, None)
    return Authority(certificate.public_bytes(serialization.Encoding.PEM), certificate, key)


def _issue(name: str, hosts: list[str], issuer: Any, issuer_key: Any) -> tuple[Any, Any]:
    """A certificate for `name`, signed by the issuer or, without one, by itself as a CA."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer_key or key
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if issuer is None:
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(h) for h in hosts]), critical=False)
    return builder.sign(signer, hashes.SHA256()), key


def _alternative(host: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)

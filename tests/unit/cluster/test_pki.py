"""Certificates carry the names, groups and addresses that Kubernetes asks for."""

from __future__ import annotations

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster import pki
from cluster.layout import Layout

LAYOUT = Layout("two", 2)


def issued(name: str) -> x509.Certificate:
    """A certificate of a cluster."""
    pair = pki.Authority("two").issue(pki.subjects(LAYOUT)[name])
    return x509.load_pem_x509_certificate(pair.certificate)


def alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    """Names and addresses it serves under."""
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_the_api_server_is_reached_by_every_name_and_address_it_has() -> None:
    names = alternative_names(issued("apiserver"))
    assert {"kubernetes.default.svc", "localhost"} <= set(names.get_values_for_type(x509.DNSName))
    addresses = {str(a) for a in names.get_values_for_type(x509.IPAddress)}
    assert addresses == {"127.0.0.1", "192.168.77.9", "10.98.0.1"}


def test_the_node_is_who_node_authorisation_expects() -> None:
    certificate = issued("node")
    subject = {part.oid: part.value for part in certificate.subject}
    assert subject == {NameOID.COMMON_NAME: "system:node:two-node", NameOID.ORGANIZATION_NAME: "system:nodes"}
    found = alternative_names(certificate).get_values_for_type(x509.IPAddress)
    assert found == [ipaddress.ip_address("192.168.77.10")]


@pytest.mark.parametrize("name", sorted(pki.subjects(LAYOUT)))
def test_every_certificate_serves_and_identifies(name: str) -> None:
    usage = issued(name).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}


def test_the_authority_signs_what_it_issues() -> None:
    authority = pki.Authority("two")
    root = x509.load_pem_x509_certificate(authority.certificate)
    issued_one = x509.load_pem_x509_certificate(authority.issue(pki.Subject("someone")).certificate)
    issued_one.verify_directly_issued_by(root)
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_keys_belong_to_their_certificates() -> None:
    pair = pki.Authority("two").issue(pki.Subject("someone"))
    key = serialization.load_pem_private_key(pair.key, password=None)
    assert key.public_key() == x509.load_pem_x509_certificate(pair.certificate).public_key()


def test_the_public_half_of_the_token_key_belongs_to_it() -> None:
    pair = pki.service_account_pair()
    key = serialization.load_pem_private_key(pair.key, password=None)
    assert serialization.load_pem_public_key(pair.certificate) == key.public_key()

"""The configuration that a pod finds about its own cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from k8s_execution.kube.incluster import in_cluster
from k8s_execution.kube.kubeconfig import KubeConfig, KubeConfigError, Pem


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the kubelet mounts."""
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_text("PEM")
    return tmp_path


def test_address_authority_and_token_file_are_taken(folder: Path) -> None:
    """The token stays in its file, where it rotates."""
    assert in_cluster("10.96.0.1", "443", folder) == KubeConfig(
        server="https://10.96.0.1:443",
        context="in-cluster",
        certificate_authority=Pem(file=str(folder / "ca.crt")),
        token_file=str(folder / "token"),
    )


def test_an_ipv6_address_gets_brackets(folder: Path) -> None:
    """As in a URL."""
    assert in_cluster("fd00::1", "443", folder).server == "https://[fd00::1]:443"


def test_outside_a_pod_it_says_so(folder: Path) -> None:
    """The setting and what is missing."""
    with pytest.raises(KubeConfigError, match="in no pod: KUBERNETES_SERVICE_HOST"):
        in_cluster("", "443", folder)


def test_a_pod_without_token_says_so(folder: Path) -> None:
    """With the field that gives it one."""
    (folder / "token").unlink()
    with pytest.raises(KubeConfigError, match=r"token missing.*automountServiceAccountToken"):
        in_cluster("10.96.0.1", "443", folder)

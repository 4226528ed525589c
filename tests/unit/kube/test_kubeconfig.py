"""Kubeconfig files, good and bad."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s_execution.kube.kubeconfig import KubeConfig, KubeConfigError, Pem, load_kubeconfig


def write(
    folder: Path, *, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **top: Any
) -> Path:
    """A kubeconfig with one context `c`."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:6443", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        **top,
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(document))
    return path


def test_current_context_is_used_where_none_is_named(tmp_path: Path) -> None:
    """The file's current-context, with a token."""
    file = write(tmp_path, user={"token": "secret"})
    expected = KubeConfig(server="https://127.0.0.1:6443", context="c", file=str(file), token="secret")
    assert load_kubeconfig(file) == expected


def test_a_named_context_wins(tmp_path: Path) -> None:
    """An explicit context is used instead of the current one."""
    contexts = [{"name": "c", "context": {"cluster": "k"}}, {"name": "d", "context": {"cluster": "l", "user": "u"}}]
    clusters = [
        {"name": "k", "cluster": {"server": "https://one"}},
        {"name": "l", "cluster": {"server": "https://two/"}},
    ]
    path = write(tmp_path, contexts=contexts, clusters=clusters)
    assert load_kubeconfig(path, "d").server == "https://two"
    assert load_kubeconfig(path).server == "https://one"


def test_data_wins_over_files_and_files_are_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    """Certificate authority as data, client certificate as files, token file: as client-go reads them."""
    data = base64.b64encode(b"PEM").decode()
    path = write(
        tmp_path,
        cluster={"certificate-authority": "ca.pem", "certificate-authority-data": data},
        user={"client-certificate": "pki/c.pem", "client-key": "/abs/k.pem", "tokenFile": "token"},
    )
    config = load_kubeconfig(path)
    assert config.certificate_authority == Pem(data=b"PEM")
    assert config.client_certificate == Pem(file=str(tmp_path / "pki/c.pem"))
    assert config.client_key == Pem(file="/abs/k.pem")
    assert config.token_file == str(tmp_path / "token")


def test_a_token_wins_over_its_file(tmp_path: Path) -> None:
    """As in client-go, where both are given."""
    config = load_kubeconfig(write(tmp_path, user={"token": "t", "tokenFile": "f"}))
    assert (config.token, config.token_file) == ("t", "")


def test_insecure_proxy_and_server_name_are_taken_over(tmp_path: Path) -> None:
    """Only the file can make a connection insecure."""
    more = {"insecure-skip-tls-verify": True, "proxy-url": "http://proxy:3128", "tls-server-name": "kube"}
    config = load_kubeconfig(write(tmp_path, cluster=more))
    assert (config.insecure, config.proxy_url, config.tls_server_name) == (True, "http://proxy:3128", "kube")
    assert not load_kubeconfig(write(tmp_path, cluster={"insecure-skip-tls-verify": "true"})).insecure


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"current-context": ""}, "no current-context"),
        ({"current-context": "x"}, "no context called 'x'"),
        ({"clusters": []}, "no cluster called 'k'"),
        ({"users": None}, "no user called 'u'"),
        ({"clusters": [{"name": "k", "cluster": {}}]}, "no server address"),
        ({"clusters": [{"name": "k", "cluster": {"server": "ftp://x"}}]}, "no server address"),
        ({"user": {"exec": {"command": "aws"}}}, "update the plug-in"),
        ({"user": {"auth-provider": {"name": "gcp"}}}, "auth-provider"),
        ({"user": {"username": "a", "password": "b"}}, "passwords were removed"),
        ({"user": {"client-certificate": "c.pem"}}, "needs its key"),
        ({"cluster": {"certificate-authority-data": "%%%"}}, "not base64"),
        ({"cluster": {"insecure-skip-tls-verify": True, "certificate-authority": "ca"}}, "contradict"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    """Each fault of a file is named."""
    with pytest.raises(KubeConfigError, match=says):
        load_kubeconfig(write(tmp_path, **change))


@pytest.mark.parametrize("text", ["", "[]", "a: [", "token: !!python/object:os.system x", "\udcff"])
def test_a_file_that_is_no_kubeconfig_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    """Nothing of the content reaches the message."""
    path = tmp_path / "config"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(KubeConfigError) as caught:
        load_kubeconfig(path)
    assert "os.system" not in str(caught.value)


def test_a_missing_file_is_named() -> None:
    """No traceback of the file system."""
    with pytest.raises(KubeConfigError, match=r"/nowhere/config: No such file"):
        load_kubeconfig("/nowhere/config")


def test_credentials_do_not_show_in_repr() -> None:
    """A configuration may be logged."""
    config = KubeConfig(server="https://x", token="s3cret", client_key=Pem(data=b"s3cret"))
    assert "s3cret" not in repr(config)

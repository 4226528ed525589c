"""How a node reaches a cluster that somebody else runs, and whom it lets ask for logs and commands."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s_simulation.api.registry import Registry
from k8s_simulation.api.server import ApiServer, Tokens
from k8s_simulation.api.storage import Storage
from k8s_simulation.faults import FaultBook
from k8s_simulation.node import __main__ as program
from k8s_simulation.node.access import Access, BadAccess, from_kubeconfig
from k8s_simulation.node.callers import Caller, ReviewedCertificates, SharedToken, identity
from k8s_simulation.node.kube import KubeClient
from k8s_simulation.node.node import Taint

SUBJECT = {"subject": ((("organizationName", "system:masters"),), (("commonName", "kubelet-client"),))}


def kubeconfig(folder: Path, user: dict[str, Any], **cluster: Any) -> Path:
    """A kubeconfig with one context."""
    text = {"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:6443/", **cluster}}],
            "users": [{"name": "u", "user": user}]}  # fmt: skip
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(text))
    return file


def test_data_in_the_file_and_paths_beside_it_are_read_alike(tmp_path: Path) -> None:
    for name in ("ca", "crt", "key"):
        (tmp_path / name).write_text(name.upper())
    paths = {"client-certificate": "crt", "client-key": "key"}
    data = {f"{k}-data": b64encode(v.upper().encode()).decode() for k, v in paths.items()}
    authority = b64encode(b"CA").decode()
    expected = Access("https://127.0.0.1:6443", "CA", certificate="CRT\nKEY")
    assert from_kubeconfig(kubeconfig(tmp_path, paths, **{"certificate-authority": "ca"})) == expected
    assert from_kubeconfig(kubeconfig(tmp_path, data, **{"certificate-authority-data": authority})) == expected


def test_a_token_file_is_read_for_every_request(tmp_path: Path) -> None:
    access = from_kubeconfig(kubeconfig(tmp_path, {"tokenFile": "token", "token": "old"}))
    for token in ("one", "two"):
        (tmp_path / "token").write_text(f"{token}\n")
        assert access.headers() == {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("user", [{"exec": {"command": "x"}}, {"username": "a", "password": "b"}])
def test_logins_that_need_somebody_are_refused_by_name(tmp_path: Path, user: dict[str, Any]) -> None:
    with pytest.raises(BadAccess, match="cannot log in by"):
        from_kubeconfig(kubeconfig(tmp_path, user))


def test_a_file_without_a_context_and_a_certificate_that_is_none_are_told(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("")
    with pytest.raises(BadAccess, match="no usable current context"):
        from_kubeconfig(empty)
    with pytest.raises(BadAccess, match="cannot be used"):
        Access("https://127.0.0.1:1", "no certificate").tls()


@pytest.mark.parametrize("absent", ["contexts", "clusters", "users"])
def test_a_name_that_the_file_does_not_explain_is_told(tmp_path: Path, absent: str) -> None:
    file = kubeconfig(tmp_path, {"token": "t"})
    text = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**text, absent: [{**text[absent][0], "name": "other"}]}))
    with pytest.raises(BadAccess, match=f"no {absent[:-1]} '"):
        from_kubeconfig(file)


@pytest.fixture
async def client() -> AsyncIterator[KubeClient]:
    """A client of a simulated API server, which allows everything it is asked about."""
    server = ApiServer(Registry(Storage(), time.time), Tokens(("t",), "k"), FaultBook())
    await server.start("127.0.0.1", 0, None)
    async with KubeClient(Access(f"http://127.0.0.1:{server.port}", token="t")) as made:
        yield made
    await server.stop()


async def test_a_caller_with_a_certificate_is_reviewed_and_one_without_is_not(client: KubeClient) -> None:
    callers = ReviewedCertificates(client, "n", Path("unused"))
    assert identity(SUBJECT) == ("kubelet-client", ["system:masters", "system:authenticated"])
    assert await callers.refusal(Caller("GET", {}, None)) == (401, "Unauthorized")
    for method in ("GET", "HEAD"):
        assert await callers.refusal(Caller(method, {}, SUBJECT)) is None


async def test_nobody_is_let_in_when_the_api_server_cannot_be_asked() -> None:
    async with KubeClient(Access("http://127.0.0.1:1")) as nobody:
        callers = ReviewedCertificates(nobody, "n", Path("unused"))
        assert await callers.refusal(Caller("GET", {}, SUBJECT)) == (500, "Authorization error")


async def test_a_shared_token_is_compared_whole() -> None:
    callers = SharedToken("right")
    for given, refusal in (("Bearer right", None), ("Bearer righ", (401, "Unauthorized")), ("", (401, "Unauthorized"))):
        assert await callers.refusal(Caller("GET", {"Authorization": given}, None)) == refusal


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--kubeconfig is needed"),
        (["--label", "x"], "KEY=VALUE is needed"),
        (["--taint", "x=y"], "EFFECT one of NoSchedule"),
        (["--taint", "=y:NoSchedule"], "KEY=VALUE:EFFECT is needed"),
    ],
)
def test_a_command_line_that_lacks_something_says_what(arguments: list[str], words: str) -> None:
    options = program.parser().parse_args(["--data", "d", *arguments])
    choose = program.labels_and_taints if arguments else program.chosen_access
    with pytest.raises(program.CannotStart, match=words):
        choose(options)


def test_labels_and_taints_are_read_as_kubectl_writes_them() -> None:
    options = program.parser().parse_args(["--data", "d", "--label", "a/b=c=d", "--taint", "k:NoExecute"])
    labels, [taint] = program.labels_and_taints(options)
    assert (labels, taint) == ({"a/b": "c=d"}, Taint("k", "", "NoExecute"))

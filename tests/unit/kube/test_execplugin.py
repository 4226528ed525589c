"""Exec credential plug-ins: real programs that print credentials, and what a connection does with them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from k8s_execution.kube.client import Client
from k8s_execution.kube.execplugin import PluginRunner, read_credential
from k8s_execution.kube.kubeconfig import ExecPlugin, KubeConfig, KubeConfigError, Pem, load_kubeconfig
from k8s_execution.kube.transport import open_transport
from k8s_execution.ports.cluster import Unreachable
from unit.kube.conftest import LIMITS, FalseClock, ProcessClock, until
from unit.kube.fake_api import FakeApi
from unit.kube.test_kubeconfig import write

V1 = "client.authentication.k8s.io/v1"
BETA = "client.authentication.k8s.io/v1beta1"
PATH = "/api/v1/namespaces/kube-system"
NOW = 1_800_000_000.0


def program(folder: Path, body: str) -> Path:
    """An executable Python program."""
    path = folder / "plugin"
    path.write_text(f"#!{sys.executable}\nimport json, os, sys\n{textwrap.dedent(body)}")
    path.chmod(0o700)
    return path


def counting(folder: Path, status: str, api_version: str = V1) -> Path:
    """A program that gives `status` (an expression over `n`) at its n-th run; `runs` counts them."""
    return program(
        folder,
        f"""
        with open({str(folder / "runs")!r}, "a") as file:
            file.write("x")
        n = os.path.getsize({str(folder / "runs")!r})
        print(json.dumps({{"kind": "ExecCredential", "apiVersion": {api_version!r}, "status": {status}}}))
        """,
    )


def runs(folder: Path) -> int:
    """How often it was run."""
    return (folder / "runs").stat().st_size


def plugin(path: Path, *args: str, **more: Any) -> ExecPlugin:
    """A version 1 plug-in."""
    return ExecPlugin(argv=(str(path), *args), api_version=V1, **more)


def printed(**status: Any) -> bytes:
    """An ExecCredential as a plug-in prints it."""
    return json.dumps({"kind": "ExecCredential", "apiVersion": V1, "status": status}).encode()


async def ask(config: KubeConfig, executor: ThreadPoolExecutor, times: int = 1) -> None:
    """Ask the server something."""
    async with open_transport(config, LIMITS, ProcessClock(), executor) as transport:
        client = Client(transport, LIMITS, ProcessClock())
        for _ in range(times):
            await client.get(PATH)


async def test_the_token_is_sent_and_the_plugin_is_run_once(
    api: FakeApi, executor: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """A token without end serves for ever; many requests at the start cause one run."""
    config = api.config(plugin=plugin(counting(tmp_path, '{"token": "t%d" % n}')))
    async with open_transport(config, LIMITS, ProcessClock(), executor) as transport:
        client = Client(transport, LIMITS, ProcessClock())
        await asyncio.gather(*(client.get(PATH) for _ in range(5)))
    assert {s.headers["Authorization"] for s in api.seen} == {"Bearer t1"}
    assert runs(tmp_path) == 1


async def test_a_token_is_replaced_before_it_ends(api: FakeApi, executor: ThreadPoolExecutor, tmp_path: Path) -> None:
    """By its expirationTimestamp, a minute early."""
    end = "__import__('datetime').datetime.now(__import__('datetime').UTC) + __import__('datetime').timedelta(hours=1)"
    status = f'{{"token": "t%d" % n, "expirationTimestamp": ({end}).isoformat()}}'
    clock = FalseClock()
    config = api.config(plugin=plugin(counting(tmp_path, status)))
    async with open_transport(config, LIMITS, clock, executor) as transport:
        client = Client(transport, LIMITS, clock)
        for passing in (0, 3500, 45):
            clock.now += passing
            await client.get(PATH)
    assert [s.headers["Authorization"] for s in api.seen] == ["Bearer t1", "Bearer t1", "Bearer t2"]


async def test_a_401_runs_the_plugin_again(api: FakeApi, executor: ThreadPoolExecutor, tmp_path: Path) -> None:
    """The caller sees nothing of it; a second 401 at once does not start a storm."""
    clock = FalseClock()
    config = api.config(plugin=plugin(counting(tmp_path, '{"token": "t%d" % n}')))
    async with open_transport(config, LIMITS, clock, executor) as transport:
        client = Client(transport, LIMITS, clock)
        await client.get(PATH)
        clock.now += 10
        api.tokens = {"t2"}
        await client.get(PATH)
        api.tokens = {"t9"}
        with pytest.raises(Unreachable, match="401"):
            await client.get(PATH)
    assert runs(tmp_path) == 2


async def test_a_request_that_is_cancelled_leaves_the_next_one_its_run(
    api: FakeApi, executor: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """Nothing is sent without a token because somebody else's run was cut short."""
    started = tmp_path / "started"
    slow = f"""
        import time
        first = not os.path.exists({str(started)!r})
        open({str(started)!r}, "w").close()
        time.sleep(60 if first else 0)
        print(json.dumps({{"kind": "ExecCredential", "apiVersion": {V1!r}, "status": {{"token": "t"}}}}))
        """
    async with open_transport(
        api.config(plugin=plugin(program(tmp_path, slow))), LIMITS, ProcessClock(), executor
    ) as transport:
        client = Client(transport, LIMITS, ProcessClock())
        cut = asyncio.create_task(client.get(PATH))
        await until(started.exists)
        cut.cancel()
        await asyncio.wait({cut})
        await client.get(PATH)
    assert [s.headers["Authorization"] for s in api.seen] == ["Bearer t"]


async def test_a_plugin_that_fails_while_its_token_still_serves_is_no_fault(
    api: FakeApi, executor: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """Only after the end it is Unreachable, in the plug-in's words."""
    end = "__import__('datetime').datetime.now(__import__('datetime').UTC) + __import__('datetime').timedelta(hours=1)"
    path = counting(tmp_path, f'{{"token": "t", "expirationTimestamp": ({end}).isoformat()}}')
    clock = FalseClock()
    async with open_transport(api.config(plugin=plugin(path)), LIMITS, clock, executor) as transport:
        client = Client(transport, LIMITS, clock)
        await client.get(PATH)
        program(tmp_path, 'sys.exit("the session has expired, log in")')
        clock.now += 3550
        await client.get(PATH)
        clock.now += 60
        with pytest.raises(Unreachable, match="plugin ended with exit code 1: the session has expired, log in"):
            await client.get(PATH)
    assert len(api.seen) == 2


async def test_it_gets_arguments_environment_and_the_cluster_and_no_shell(
    api: FakeApi, executor: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """Its own variables over the inherited ones, KUBERNETES_EXEC_INFO, and nothing on standard input."""
    path = program(
        tmp_path,
        f"""
        seen = [sys.argv[1:], os.environ["REGION"], json.loads(os.environ["KUBERNETES_EXEC_INFO"]), sys.stdin.read()]
        json.dump(seen, open({str(tmp_path / "seen")!r}, "w"))
        print(json.dumps({{"kind": "ExecCredential", "apiVersion": {V1!r}, "status": {{"token": "t"}}}}))
        """,
    )
    told = plugin(
        path, "$(id)", ";", env=(("REGION", "eu"),), provide_cluster_info=True, cluster_config={"audience": "x"}
    )
    await ask(api.config(plugin=told), executor)
    arguments, region, information, stdin = json.loads((tmp_path / "seen").read_text())
    assert (arguments, region, stdin) == (["$(id)", ";"], "eu", "")
    assert information == {
        "kind": "ExecCredential",
        "apiVersion": V1,
        "spec": {"interactive": False, "cluster": {"server": api.url, "config": {"audience": "x"}}},
    }


async def test_a_missing_program_is_told_with_its_install_hint(executor: ThreadPoolExecutor) -> None:
    """Unreachable, because it may be installed while we run."""
    missing = ExecPlugin(("no-such-plugin-anywhere",), V1, install_hint="pip install it")
    with pytest.raises(Unreachable, match=r"no-such-plugin-anywhere cannot be run: .*; pip install it"):
        await ask(KubeConfig("http://127.0.0.1:1", plugin=missing), executor)


async def test_a_plugin_that_hangs_is_ended_with_its_children(executor: ThreadPoolExecutor, tmp_path: Path) -> None:
    """By the time limit; its whole process group."""
    path = program(
        tmp_path,
        f"""
        child = os.fork()
        if child:
            open({str(tmp_path / "pids")!r}, "w").write(f"{{os.getpid()}} {{child}}")
        import time
        time.sleep(60)
        """,
    )
    config = KubeConfig("http://127.0.0.1:1", plugin=plugin(path))
    limits = replace(LIMITS, plugin_timeout=1.0)
    async with open_transport(config, limits, ProcessClock(), executor) as transport:
        with pytest.raises(Unreachable, match="did not end within 1 s"):
            await Client(transport, limits, ProcessClock()).get(PATH)
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        await until(lambda pid=pid: not _runs(pid))  # type: ignore[misc]  # bound now


def _runs(pid: int) -> bool:
    """Whether a process still runs; one that only waits to be reaped does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        os.kill(pid, 0)
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (b"s3cret", "not JSON"),
        (b"[]", "not an ExecCredential"),
        (b'{"kind": "Secret"}', "not an ExecCredential"),
        (json.dumps({"kind": "ExecCredential", "apiVersion": BETA}).encode(), "it speaks"),
        (printed(), "no status"),
        (printed(expirationTimestamp="x"), "neither a token nor"),
        (printed(clientCertificateData="s3cret"), "without its key"),
        (printed(token="s3cret", expirationTimestamp="soon"), "RFC 3339"),
        (printed(token="s3cret", expirationTimestamp="2027-01-01T00:00:00"), "time zone"),
    ],
)
def test_a_bad_answer_is_named_and_not_quoted(output: bytes, says: str) -> None:
    """Nothing of what was printed enters a message, for it may be the token."""
    with pytest.raises(ValueError, match=says) as caught:
        read_credential(output, V1, NOW)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_good_answer_is_read() -> None:
    """With what is left of its life, which may be nothing; neither token nor key shows in its repr."""
    made = read_credential(printed(token="s3cret", expirationTimestamp="2027-01-15T08:01:40Z"), V1, NOW)
    assert (made.token, made.lifetime) == ("s3cret", 100.0)
    assert read_credential(printed(token="t", expirationTimestamp="2020-01-01T00:00:00+01:00"), V1, NOW).lifetime == 0
    made = read_credential(printed(clientCertificateData="CERT", clientKeyData="s3cret"), V1, NOW)
    assert (made.certificate, made.key, made.lifetime) == (b"CERT", b"s3cret", None)
    assert "s3cret" not in repr(made)


def test_a_plugin_is_read_from_the_kubeconfig(tmp_path: Path) -> None:
    """A path with a slash is relative to the file, a bare name is looked up when it is run."""
    entry = {
        "command": "./bin/login",
        "args": ["token", "--cluster", "c"],
        "env": [{"name": "A", "value": "b"}],
        "apiVersion": V1,
        "interactiveMode": "Never",
        "provideClusterInfo": True,
        "installHint": "see there",
    }
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
    path = write(tmp_path, user={"exec": entry}, cluster={"extensions": [extension]})
    assert load_kubeconfig(path).plugin == ExecPlugin(
        argv=(str(tmp_path / "bin/login"), "token", "--cluster", "c"),
        api_version=V1,
        env=(("A", "b"),),
        install_hint="see there",
        provide_cluster_info=True,
        cluster_config={"audience": "x"},
    )
    bare = {"command": "aws", "apiVersion": BETA}
    assert load_kubeconfig(write(tmp_path, user={"exec": bare})).plugin == ExecPlugin(("aws",), BETA)
    assert load_kubeconfig(write(tmp_path, user={"exec": bare, "token": "t"})).plugin is None


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"command": "", "apiVersion": V1}, "no command"),
        ({"command": "a", "apiVersion": "client.authentication.k8s.io/v1alpha1"}, "update the plug-in"),
        ({"command": "a", "apiVersion": V1}, "interactiveMode must be"),
        ({"command": "a", "apiVersion": V1, "interactiveMode": "Always"}, "nobody to ask"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_refused(tmp_path: Path, entry: dict[str, Any], says: str) -> None:
    """When the file is read, not at the first request."""
    with pytest.raises(KubeConfigError, match=says):
        load_kubeconfig(write(tmp_path, user={"exec": entry}))


async def test_the_authority_is_told_as_data(executor: ThreadPoolExecutor, tmp_path: Path) -> None:
    """Also where the kubeconfig names a file."""
    (tmp_path / "ca.pem").write_bytes(b"PEM")
    path = program(tmp_path, f"open({str(tmp_path / 'seen')!r}, 'w').write(os.environ['KUBERNETES_EXEC_INFO'])")
    told = plugin(path, provide_cluster_info=True)
    config = KubeConfig("https://k", certificate_authority=Pem(file=str(tmp_path / "ca.pem")), plugin=told)
    with pytest.raises(Unreachable, match="not JSON"):
        await PluginRunner(told, config, 5.0, executor).run()
    cluster = json.loads((tmp_path / "seen").read_text())["spec"]["cluster"]
    assert base64.b64decode(cluster["certificate-authority-data"]) == b"PEM"

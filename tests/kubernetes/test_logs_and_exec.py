"""Logs and commands: options, ends, exit codes, bytes both ways."""

from __future__ import annotations

import asyncio
import io
import re
import tarfile

import pytest

from support.kubeapi import PATIENCE, Kube
from support.kubeobjects import phase, pod

STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d) ")


async def finished(kube: Kube, namespace: str, script: str) -> None:
    await kube.created(pod(namespace, "sh", "-c", script))
    await kube.until("pods", namespace, "p", phase("Succeeded"))


async def running(kube: Kube, namespace: str, script: str = "sleep 600") -> None:
    await kube.created(pod(namespace, "sh", "-c", script))
    await kube.until("pods", namespace, "p", lambda o: o["status"]["phase"] in {"Running", "Succeeded"})


async def test_a_log_has_both_streams_in_order_of_arrival(kube: Kube, namespace: str) -> None:
    await finished(kube, namespace, "echo out; sleep 0.1; echo err >&2; sleep 0.1; echo end")
    assert (await kube.log(namespace, "p")).body == "out\nerr\nend\n"


async def test_tail_lines_and_limit_bytes_cut_the_log(kube: Kube, namespace: str) -> None:
    await finished(kube, namespace, "for i in 1 2 3 4 5; do echo line$i; done")
    assert (await kube.log(namespace, "p", tailLines=2)).body == "line4\nline5\n"
    assert (await kube.log(namespace, "p", limitBytes=8)).body == "line1\nli"


async def test_timestamps_stand_before_each_line(kube: Kube, namespace: str) -> None:
    await finished(kube, namespace, "echo a; echo b")
    lines = (await kube.log(namespace, "p", timestamps="true")).body.splitlines()
    assert all(STAMP.match(line) for line in lines)
    assert [STAMP.sub("", line) for line in lines] == ["a", "b"]


async def test_since_time_leaves_out_what_was_before(kube: Kube, namespace: str) -> None:
    await finished(kube, namespace, "echo early; sleep 2.1; echo late")
    stamped = (await kube.log(namespace, "p", timestamps="true")).body.splitlines()
    late = stamped[-1].split(" ")[0].split(".")[0] + "Z"
    assert (await kube.log(namespace, "p", sinceTime=late)).body == "late\n"


async def test_a_follow_ends_with_the_container(kube: Kube, namespace: str) -> None:
    await running(kube, namespace, "for i in 1 2 3; do echo $i; sleep 0.2; done")
    assert (await kube.log(namespace, "p", follow="true")).body == "1\n2\n3\n"


async def test_a_line_without_an_end_is_kept(kube: Kube, namespace: str) -> None:
    await finished(kube, namespace, "printf abc")
    assert (await kube.log(namespace, "p")).body == "abc"


async def test_bytes_that_are_no_text_pass_unchanged(kube: Kube, namespace: str) -> None:
    await finished(kube, namespace, r"printf '\377\000\376\n'")
    async with kube.session.get(f"{kube.url}/api/v1/namespaces/{namespace}/pods/p/log") as answer:
        assert await answer.read() == b"\xff\x00\xfe\n"


async def test_the_log_of_a_container_that_waits_is_a_bad_request(kube: Kube, namespace: str) -> None:
    made = pod(namespace, "true")
    made["spec"]["containers"][0]["image"] = "registry.invalid/no/such-image:1"
    await kube.created(made)
    await kube.until("pods", namespace, "p", lambda o: o["status"].get("containerStatuses"))
    reply = await kube.log(namespace, "p")
    assert (reply.status, reply.reason) == (400, "BadRequest")
    assert "is waiting to start" in reply.message


async def test_the_log_of_a_wrong_container_is_a_bad_request(kube: Kube, namespace: str) -> None:
    await finished(kube, namespace, "true")
    reply = await kube.log(namespace, "p", container="nope")
    assert (reply.status, reply.message) == (400, "container nope is not valid for pod p")


async def test_the_log_of_no_pod_is_not_found(kube: Kube, namespace: str) -> None:
    reply = await kube.log(namespace, "nope")
    assert (reply.status, reply.message) == (404, 'pods "nope" not found')


@pytest.mark.parametrize("protocol", ["v5", "v4"])
async def test_exec_tells_streams_apart_and_gives_the_exit_code(kube: Kube, namespace: str, protocol: str) -> None:
    await running(kube, namespace)
    result = await kube.exec(namespace, "p", ["sh", "-c", "echo out; echo err >&2; exit 7"], protocol=protocol)
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 7)
    assert result.status["reason"] == "NonZeroExitCode"
    assert (await kube.exec(namespace, "p", ["true"], protocol=protocol)).status["status"] == "Success"


async def test_exec_v5_closes_standard_input(kube: Kube, namespace: str) -> None:
    await running(kube, namespace)
    data = bytes(range(256)) * 4096
    result = await kube.exec(namespace, "p", ["sh", "-c", "cat | wc -c"], stdin=data)
    assert int(result.stdout) == len(data)


async def test_a_tar_stream_goes_in_and_comes_out(kube: Kube, namespace: str) -> None:
    await running(kube, namespace)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("d/file")
        entry.size = 200_000
        archive.addfile(entry, io.BytesIO(b"x" * entry.size))
    result = await kube.exec(namespace, "p", ["tar", "xf", "-", "-C", "/tmp"], stdin=packed.getvalue())
    assert result.exit_code == 0, result.stderr
    result = await kube.exec(namespace, "p", ["tar", "cf", "-", "-C", "/tmp", "d"])
    with tarfile.open(fileobj=io.BytesIO(result.stdout)) as archive:
        member = archive.extractfile("d/file")
        assert member is not None
        assert member.read() == b"x" * 200_000


async def test_exec_of_a_command_that_is_not_there_is_a_failure(kube: Kube, namespace: str) -> None:
    await running(kube, namespace)
    result = await kube.exec(namespace, "p", ["no-such-command"])
    assert result.status["status"] == "Failure"


async def test_a_long_line_is_one_line_with_one_time(kube: Kube, namespace: str) -> None:
    await finished(kube, namespace, "head -c 40000 /dev/zero | tr '\\0' x; echo; echo end")
    [long, end] = (await kube.log(namespace, "p", timestamps="true")).body.splitlines()
    assert STAMP.sub("", long) == "x" * 40_000
    assert STAMP.sub("", end) == "end"


async def test_since_seconds_counts_back_from_now(kube: Kube, namespace: str) -> None:
    await finished(kube, namespace, "echo all")
    assert (await kube.log(namespace, "p", sinceSeconds=3600)).body == "all\n"


async def test_a_log_beyond_its_size_begins_later(kube: Kube, namespace: str) -> None:
    # The usual size is 10 MiB, a kubelet looks every 10 s; however a node keeps its files, the API reads the newest.
    line = f"line %.0f {'x' * 1000}"
    script = f"seq -f '{line}' 1 11000; while sleep 0.5; do echo later; done"
    await running(kube, namespace, script)
    async with asyncio.timeout(PATIENCE * 2):
        while (await kube.log(namespace, "p", limitBytes=7)).body in {"line 1 ", ""}:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.5)


async def test_a_follow_from_a_tail_goes_on_with_what_comes(kube: Kube, namespace: str) -> None:
    await running(kube, namespace, "echo a; echo b; until [ -e /tmp/go ]; do sleep 0.1; done; echo c")
    address = f"{kube.url}/api/v1/namespaces/{namespace}/pods/p/log"
    async with kube.session.get(address, params={"follow": "true", "tailLines": "1"}) as log:
        assert await log.content.readline() == b"b\n"
        assert (await kube.exec(namespace, "p", ["touch", "/tmp/go"])).exit_code == 0
        assert await log.content.read() == b"c\n"


async def test_an_exec_has_the_environment_and_the_folder_of_its_container(kube: Kube, namespace: str) -> None:
    made = pod(namespace, "sleep", "600")
    made["spec"]["containers"][0] |= {"env": [{"name": "A", "value": "b"}], "workingDir": "/tmp"}
    await kube.created(made)
    await kube.until("pods", namespace, "p", phase("Running"))
    result = await kube.exec(namespace, "p", ["sh", "-c", "echo $A $PWD $(id -u)"])
    assert result.stdout == b"b /tmp 1000\n"

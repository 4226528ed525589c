"""The pure rules of the node: literal input next to literal output."""

from __future__ import annotations

import asyncio
import struct
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_simulation.node import names, relay
from k8s_simulation.node.logs import ContainerLog, Query, Rotation
from k8s_simulation.node.references import ImageName, ceil, expand, parse_image, quantity
from k8s_simulation.node.runtime import Kind, PodFacts, Record, Running, State, Terminated, Waiting
from k8s_simulation.node.sandbox import Mount
from k8s_simulation.node.services import ServiceTable
from k8s_simulation.node.status import phase, pod_status, quality_of_service
from k8s_simulation.node.unisolated import translate


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("$(A)-$(B)", "1-2"),
        ("$$(A)", "$(A)"),
        ("$(NO)", "$(NO)"),
        ("$(A", "$(A"),
        ("$A ${A} $", "$A ${A} $"),
        ("$$$(A)", "$1"),
    ],
)
def test_variables_expand_as_in_kubernetes(text: str, result: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == result


@pytest.mark.parametrize(
    ("text", "whole"),
    [("1", 1), ("250m", 1), ("1500m", 2), ("64Mi", 67108864), ("1e3", 1000), ("1.5Gi", 1610612736), ("2k", 2000)],
)
def test_quantities_are_exact_and_round_up(text: str, whole: int) -> None:
    assert ceil(quantity(text)) == whole


@pytest.mark.parametrize("text", ["", "Mi", "1 Gi", "1Kb", "0x1"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a resource quantity"):
        quantity(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("python:3-slim", ImageName("docker.io", "library/python", "3-slim", "")),
        ("library/python", ImageName("docker.io", "library/python", "", "")),
        ("registry.example:5000/team/shop:1.4", ImageName("registry.example:5000", "team/shop", "1.4", "")),
        ("localhost/x", ImageName("localhost", "x", "", "")),
        ("x@sha256:" + "a" * 64, ImageName("docker.io", "library/x", "", "sha256:" + "a" * 64)),
    ],
)
def test_image_names_are_taken_apart(text: str, name: ImageName) -> None:
    assert parse_image(text) == name


@pytest.mark.parametrize("text", ["", "UPPER", "a b", "x:", "x:-t", "/x", "x@sha256:12", "x@", "a//b"])
def test_impossible_image_names_are_refused(text: str) -> None:
    assert isinstance(parse_image(text), str)


def query(name: str, kind: int = 1) -> bytes:
    """A DNS query."""
    labels = b"".join(bytes([len(p)]) + p.encode() for p in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def lookup(service: str, namespace: str) -> list[str] | None:
    """One known service with two addresses."""
    return ["10.0.0.1", "10.0.0.2"] if (service, namespace) == ("api", "shop") else None


def test_a_service_name_is_answered_with_rotated_addresses() -> None:
    first = names.answer(query("api.shop.svc.cluster.local"), lookup, 0)
    second = names.answer(query("API.shop.svc.cluster.local"), lookup, 1)
    assert first is not None and second is not None
    assert first[:4] == struct.pack("!HH", 7, 0x8580) and struct.unpack("!H", first[6:8]) == (2,)
    assert first.endswith(bytes([10, 0, 0, 2])) and second.endswith(bytes([10, 0, 0, 1]))


def test_other_record_types_are_empty_and_unknown_names_do_not_exist() -> None:
    empty = names.answer(query("api.shop.svc.cluster.local", 28), lookup)
    missing = names.answer(query("pypi.example"), lookup)
    assert empty is not None and missing is not None
    assert (empty[3] & 15, empty[7]) == (0, 0)
    assert missing[3] & 15 == 3


@given(st.binary(max_size=80))
def test_no_bytes_make_the_name_server_raise(data: bytes) -> None:
    names.answer(data, lookup)


def test_index_pages_are_read_in_both_formats_and_written_with_hashes() -> None:
    page = '<a href="../../files/a-1.whl#sha256=00" data-requires-python="&gt;=3.8">a-1.whl</a>'
    (html,) = relay.parse_page("https://index.example/simple/a/", "text/html", page)
    body = (
        '{"files": [{"filename": "a-1.whl", "url": "https://index.example/files/a-1.whl", "hashes": {"sha256": "00"}, '
    )
    body += '"requires-python": ">=3.8", "core-metadata": {"sha256": "11"}}]}'
    (json_,) = relay.parse_page("https://index.example/simple/a/", "application/vnd.pypi.simple.v1+json", body)
    assert html.source == json_.source == "https://index.example/files/a-1.whl"
    rendered = relay.render_page("a", [json_])
    assert f"/files/{json_.key}/a-1.whl#sha256=00" in rendered
    assert 'data-requires-python="&gt;=3.8"' in rendered and 'data-core-metadata="sha256=11"' in rendered


def test_paths_are_translated_only_where_a_path_begins_and_ends() -> None:
    mounts = (Mount(Path("/host/v"), "/v"), Mount(Path("/host/w"), "/v/w"), Mount(Path("/usr"), "/usr"))
    assert translate("/v/a:/v/w/b", mounts) == "/host/v/a:/host/w/b"
    assert translate('{"x":"/v"}', mounts) == '{"x":"/host/v"}'
    assert translate("/video /x/v /usr/v", mounts) == "/video /x/v /usr/v"


def facts(policy: str, *mains: State, inits: tuple[State, ...] = (), **more: Any) -> PodFacts:
    """A pod's facts from container states."""
    records = [Record(f"i{n}", Kind.INIT, "x", s) for n, s in enumerate(inits)]
    records += [Record(f"m{n}", Kind.MAIN, "x", s) for n, s in enumerate(mains)]
    return PodFacts(policy, records, **more)


GOOD, BAD = Terminated(0, "Completed", 1, 2), Terminated(1, "Error", 1, 2)
WAIT, RUN = Waiting("ContainerCreating"), Running(1.0)


@pytest.mark.parametrize(
    ("pod", "result"),
    [
        (facts("Never", WAIT), "Pending"),
        (facts("Never", RUN, GOOD), "Running"),
        (facts("Never", GOOD, GOOD), "Succeeded"),
        (facts("Never", GOOD, BAD), "Failed"),
        (facts("OnFailure", BAD), "Running"),
        (facts("OnFailure", GOOD), "Succeeded"),
        (facts("Always", GOOD), "Running"),
        (facts("Always", BAD, terminating=True), "Failed"),
        (facts("Never", WAIT, inits=(BAD,)), "Failed"),
        (facts("Always", WAIT, inits=(BAD,)), "Pending"),
        (facts("Never", WAIT, inits=(GOOD,)), "Pending"),
        (facts("Never", RUN, verdict=("Evicted", "")), "Failed"),
    ],
)
def test_phases_follow_from_container_states(pod: PodFacts, result: str) -> None:
    assert phase(pod) == result


def test_a_condition_keeps_its_transition_time_while_its_status_stays() -> None:
    pod = {"metadata": {}, "spec": {"containers": [{"name": "m0"}]}}
    known = facts("Never", RUN, network_ready=True)
    first = pod_status(known, pod, {}, 1000.0)
    known.records[0].ready = True
    second = pod_status(known, pod, first, 2000.0)
    times = {c["type"]: (c["status"], c["lastTransitionTime"]) for c in second["conditions"]}
    assert times["Initialized"] == ("True", "1970-01-01T00:16:40Z")
    assert times["Ready"] == ("True", "1970-01-01T00:33:20Z")


def test_quality_of_service_classes() -> None:
    def pod(resources: dict[str, Any]) -> dict[str, Any]:
        return {"spec": {"containers": [{"resources": resources}]}}

    both = {"cpu": "1", "memory": "1Gi"}
    assert quality_of_service(pod({})) == "BestEffort"
    assert quality_of_service(pod({"requests": {"cpu": "1"}})) == "Burstable"
    assert quality_of_service(pod({"limits": both, "requests": both})) == "Guaranteed"


def test_service_links_are_the_variables_of_kubernetes() -> None:
    table = ServiceTable()
    port = {"name": "http", "port": 80, "protocol": "TCP"}
    item = {"metadata": {"namespace": "n", "name": "my-api"}, "spec": {"clusterIP": "10.96.0.9", "ports": [port]}}
    table.replace(table.services, [item])
    links = table.links("n")
    assert links["MY_API_SERVICE_HOST"] == "10.96.0.9" and links["MY_API_SERVICE_PORT_HTTP"] == "80"
    assert links["MY_API_PORT"] == "tcp://10.96.0.9:80" and links["MY_API_PORT_80_TCP_ADDR"] == "10.96.0.9"
    assert table.links("other") == {}


async def read(log: ContainerLog, **query: Any) -> bytes:
    """The wanted part of a log."""
    return b"".join([piece async for piece in log.read(Query(**query))])


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(min_value=40, max_value=400))
def test_a_follower_gets_exactly_what_was_written_however_it_was_cut(pieces: list[bytes], rotation: int) -> None:
    async def scenario() -> None:
        with tempfile.TemporaryDirectory() as folder:
            log = ContainerLog(Path(folder), Rotation(max_bytes=rotation, interval=0.0))
            reader = asyncio.create_task(read(log, follow=True))
            for piece in pieces:
                if piece:
                    log.write(piece)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            log.close()
            assert await reader == b"".join(pieces)

    asyncio.run(scenario())


async def test_a_follower_that_is_two_rotations_behind_goes_on_with_the_newest_file(tmp_path: Path) -> None:
    log = ContainerLog(tmp_path, Rotation(max_bytes=10, interval=0.0))
    log.write(b"one\n")
    reader = asyncio.create_task(read(log, follow=True))
    await asyncio.sleep(0)
    for line in (b"two\n", b"three\n"):
        log.write(line)
    log.close()
    assert await reader == b"one\nthree\n"


async def test_a_log_is_rotated_only_when_the_node_looks_at_it(tmp_path: Path) -> None:
    log = ContainerLog(tmp_path, Rotation(max_bytes=10, interval=3600))
    for line in (b"one\n", b"two\n"):
        log.write(line)
    log.close()
    assert await read(log) == b"one\ntwo\n"


@given(st.integers(min_value=0, max_value=60), st.integers(min_value=0, max_value=50))
def test_tail_gives_the_last_lines(count: int, tail: int) -> None:
    async def scenario() -> None:
        with tempfile.TemporaryDirectory() as folder:
            log = ContainerLog(Path(folder))
            lines = [f"line {i}\n".encode() for i in range(count)]
            for line in lines:
                log.write(line)
            log.close()
            assert await read(log, tail_lines=tail) == b"".join(lines[max(0, count - tail) :])

    asyncio.run(scenario())


async def test_since_skips_older_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ContainerLog(tmp_path)
    for second in range(100):
        monkeypatch.setattr("k8s_simulation.node.logs.time.time_ns", lambda at=second: at * 1_000_000_000 + 5)
        log.write(f"{second}\n".encode())
    log.close()
    assert (await read(log, since=98.0)) == b"98\n99\n"
    assert (await read(log, since=0.0)).startswith(b"0\n1\n")
    assert (await read(log, since=1000.0)) == b""

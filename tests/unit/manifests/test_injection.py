"""No text of a plan can change an object beyond the place that holds it (S01), or a word of a command (S09)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from k8s_execution.domain.plan import ConfigFile, Port, Readiness, ReadinessKind, Specification
from k8s_execution.manifests.templates import TemplateRefused
from k8s_execution.ports.cluster import Body
from unit.manifests.samples import API, SPECIFICATION, SUITE, everything, with_application, with_environment, with_suite

PAYLOADS = (
    "\n  privileged: true", "\nprivileged: true", "x\n---\nkind: ClusterRole", "{{7*7}}", "{% for x in y %}", "{# x",
    "{{ ''.__class__ }}", "${jndi:ldap://x}", '"]', '"}', "'", '"', "\\", "\\n", "\\u0041", "# x", "a #b", "---", "...",
    "!!python/object/apply:os.system [id]", "!include x", "&a b", "*a", "<<: *a", "$(reboot)", "`id`", "; id", "| id",
    "> /tmp/x", "& id", "%TAG ! x", "@x", "? x", "- x", "[x]", "{x: y}", "null", "true", "0777", "1e3", "~",
    "2026-01-01", "=", "\t", "\r\n", "\x07\x1b[2J", "\x7f\x85\xa0\u2028\u2029\ufeff", "\U0001f600 \u202e", "", " ",
    "a: b", "\ue0000\ue001", "$$(HOME)", "$$$", "$", "$(", "$()",
)  # fmt: skip
MARK = "golden-mark"
Place = Callable[[str], Specification]

PLACES: dict[str, Place] = {
    "environment.env": lambda t: with_environment(env={"X": t}),
    "environment.files.content": lambda t: with_environment(files=(ConfigFile("/etc/x", t),)),
    "application.env": lambda t: with_application(env={"X": t}),
    "application.command": lambda t: with_application(command=("a", t)),
    "application.args": lambda t: with_application(args=(t, "b")),
    "suite.env": lambda t: with_suite(env={"X": t}),
    "readiness.grpc.service": lambda t: with_application(readiness=Readiness(ReadinessKind.GRPC, 1, service=t)),
    "readiness.exec.command": lambda t: with_application(readiness=Readiness(ReadinessKind.EXEC, command=("a", t))),
}
"""Fields that may hold any text: every payload must arrive in them unchanged."""

NARROW_PLACES: dict[str, Place] = {
    "application.image": lambda t: with_application(image=t),
    "application.working_dir": lambda t: with_application(working_dir=t),
    "application.volumes.size": lambda t: with_application(volumes=(replace(API.volumes[0], size=t),)),
    "application.volumes.mount_path": lambda t: with_application(volumes=(replace(API.volumes[0], mount_path=t),)),
    "application.volumes.name": lambda t: with_application(volumes=(replace(API.volumes[0], name=t),)),
    "application.ports.name": lambda t: with_application(ports=(Port(t, 80),)),
    "application.resources.cpu": lambda t: with_application(resources=replace(API.resources, cpu=t)),
    "application.resources.memory_limit": lambda t: with_application(resources=replace(API.resources, memory_limit=t)),
    "application.readiness.path": lambda t: with_application(readiness=Readiness(ReadinessKind.HTTP, 1, t)),
    "application.env.name": lambda t: with_application(env={t: "x"}),
    "suite.image": lambda t: with_suite(image=t),
    "files.path": lambda t: with_environment(files=(ConfigFile(t, "x"),)),
    "project": lambda t: replace(SPECIFICATION, project=t),
    "name": lambda t: replace(SPECIFICATION, name=t),
}
"""Fields with a form of their own: a payload is refused, or stands alone in its place."""


Leaves = dict[tuple[object, ...], object]


def leaves(node: object, path: tuple[object, ...] = ()) -> Iterator[tuple[tuple[object, ...], object]]:
    """Every scalar (and empty container) of a document with its path."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    elif isinstance(node, list) and node:
        for index, value in enumerate(node):
            yield from leaves(value, (*path, index))
    else:
        yield path, node


def expanded(text: str) -> str:
    """What Kubernetes makes of a text whose variables are all unknown (third_party/forked/golang/expansion)."""
    out, i = "", 0
    while i < len(text):
        if text[i] == "$" and text[i + 1 : i + 2] == "$":
            out, i = out + "$", i + 2
        elif text[i] == "$" and text[i + 1 : i + 2] == "(" and ")" in text[i:]:
            raise AssertionError(f"{text!r} holds a variable")
        else:
            out, i = out + text[i], i + 1
    return out


def shown(objects: list[Body]) -> Leaves:
    return dict(leaves(objects))


@pytest.mark.parametrize("place", PLACES)
def test_a_free_text_arrives_unchanged_and_changes_nothing_else(place: str) -> None:
    golden = shown(everything(PLACES[place](MARK)))
    marked = {path for path, leaf in golden.items() if leaf == MARK}
    assert marked
    for payload in PAYLOADS:
        got = shown(everything(PLACES[place](payload)))
        assert golden.keys() == got.keys()
        assert {path for path in golden if golden[path] != got[path]} <= marked
        for path in marked:
            text = str(got[path])
            assert (text if place.endswith(("content", "service")) else expanded(text)) == payload


@pytest.mark.parametrize("place", NARROW_PLACES)
def test_a_narrow_text_is_refused_or_stands_alone_in_its_place(place: str) -> None:
    golden = shown(everything(SPECIFICATION))
    for payload in PAYLOADS:
        try:
            got = shown(everything(NARROW_PLACES[place](payload)))
        except (TemplateRefused, ValueError):
            continue
        stands_alone(golden, got)


def stands_alone(golden: Leaves, got: Leaves) -> None:
    new = [leaf for path, leaf in got.items() if golden.get(path) != leaf]
    kinds = {leaf for path, leaf in got.items() if path[-1] == "kind"}
    assert kinds == {leaf for path, leaf in golden.items() if path[-1] == "kind"}
    assert "privileged" not in {part for path in got for part in path}
    assert all(isinstance(leaf, (str, int, bool)) or leaf in ({}, [], None) for leaf in new)


def test_a_word_of_a_steps_command_arrives_verbatim_at_the_agent() -> None:
    for payload in PAYLOADS:
        specification = with_suite(command=("a", payload), install=(("b", payload),))
        jobs = [o for o in everything(specification) if o["metadata"]["name"].startswith("suite-")]
        (variable,) = [e for e in step_env(jobs[0]) if e["name"] == "K8S_EXECUTION_STEP"]
        told = json.loads(expanded(variable["value"]))
        assert told["command"] == ["a", payload] and told["install"] == [["b", payload]]


def test_a_secret_stands_in_the_secret_only_and_unchanged() -> None:
    for payload in PAYLOADS:
        value = f"canary-{payload}"
        sealed = base64.b64encode(value.encode()).decode()
        objects = everything(secrets={"API_TOKEN": value})
        holders = [o for o in objects if "canary" in json.dumps(o) or sealed in json.dumps(o)]
        assert [o["kind"] for o in holders] == ["Secret"]
        assert base64.b64decode(holders[0]["data"]["API_TOKEN"]).decode() == value


def test_names_that_are_no_names_make_no_object() -> None:
    for name in ("../x", "%2e%2e", "kube-system\n", "A", "x" * 64, "\u202egpj", "ａ", "x\0", "default/other", ""):
        with pytest.raises(TemplateRefused):
            everything(with_application(name=name))


def step_env(job: Body) -> list[dict[str, Any]]:
    container = next(c for c in job["spec"]["template"]["spec"]["containers"] if c["name"] == "step")
    env: list[dict[str, Any]] = container["env"]
    return env


def test_the_suite_is_the_one_that_the_payloads_stand_in() -> None:
    assert SUITE in SPECIFICATION.test_plan.suites and len(PAYLOADS) >= 40

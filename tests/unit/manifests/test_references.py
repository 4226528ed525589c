"""References are replaced once, by what the caller meant, or reported with a way out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8s_execution.domain.faults import Problem
from k8s_execution.domain.plan import ConfigFile, InlineSource, Port, Specification
from k8s_execution.manifests.references import address_of, resolve
from unit.manifests.samples import API, SPECIFICATION, with_application, with_environment, with_suite


def resolved(text: str, **parameters: str) -> tuple[str, list[Problem]]:
    """What becomes of an env value of the suite."""
    plan, problems = resolve(replace(with_suite(env={"X": text}), parameters=parameters))
    return plan.test_plan.suites[0].env["X"], problems


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${api.host}", "api"),
        ("${api.port}", "8080"),
        ("${api.url}", "http://api:8080"),
        ("${api.port.http}", "8080"),
        ("${api.port.admin}", "9090"),
        ("${param.TAG}", "1.4"),
        ("a${param.TAG}b${api.host}c", "a1.4bapic"),
        ("$${api.host}", "${api.host}"),
        ("$$${api.host}", "$${api.host}"),
        ("$api $(api) $$ $", "$api $(api) $$ $"),
        ("no reference", "no reference"),
    ],
)
def test_a_reference_becomes_its_value(text: str, result: str) -> None:
    assert resolved(text, TAG="1.4") == (result, [])


@pytest.mark.parametrize(
    ("text", "rule", "hint"),
    [
        ("${aip.host}", "reference.known", "did you mean ${api.host}?"),
        ("${api.hots}", "reference.known", "did you mean ${api.host}?"),
        ("${param.TGA}", "reference.known", "did you mean ${param.TAG}?"),
        ("${param.NOBODY_AT_ALL}", "reference.known", "add NOBODY_AT_ALL to parameters"),
        ("${HOME}", "reference.known", "for a variable of the shell write $${HOME}"),
        (
            "${x.y}",
            "reference.known",
            "known are api.host, api.port, api.port.admin, api.port.http, api.url, param.TAG",
        ),
        ("${api.host", "reference.syntax", "write $${ for a literal ${"),
        ("${a{b}", "reference.syntax", "write $${ for a literal ${"),
    ],
)
def test_what_names_nothing_is_reported_with_a_way_out(text: str, rule: str, hint: str) -> None:
    value, problems = resolved(text, TAG="1")
    assert value == text
    assert [(p.field, p.rule, p.hint) for p in problems] == [('test_plan.suites[0].env["X"]', rule, hint)]


@settings(deadline=None)
@given(st.text(alphabet="${}api.hostport PARM"), st.text(alphabet="${}api.hostport PARM"))
def test_a_parameters_value_is_never_read_again(before: str, value: str) -> None:
    text, problems = resolved(f"<{before.replace('$', '')}>${{param.A}}{{api.host}}", A=value)
    assert text.endswith(f"{value}{{api.host}}") and not problems


def test_an_image_takes_parameters_only() -> None:
    plan, problems = resolve(replace(with_application(image="shop:${param.TAG}"), parameters={"TAG": "1.4"}))
    assert plan.environment.applications[0].image == "shop:1.4" and not problems
    _, problems = resolve(with_application(image="${api.host}:1"))
    assert [(p.field, p.rule) for p in problems] == [("environment.applications[0].image", "reference.image")]


def test_references_are_replaced_everywhere_but_in_test_code() -> None:
    text = "${api.host}"
    plan = with_application(command=(text,), args=(text,), env={"A": text})
    environment = replace(plan.environment, env={"B": text}, files=(ConfigFile("/f", text),))
    step = replace(plan.test_plan.setup[0], command=(text,), install=((text,),), env={"C": text})
    source = InlineSource((ConfigFile("run.sh", text),))
    test_plan = replace(plan.test_plan, setup=(step,), teardown=(step,), suites=(step,), source=source)
    done, problems = resolve(replace(plan, environment=environment, test_plan=test_plan))
    application = done.environment.applications[0]
    assert not problems
    assert (application.command, application.args, application.env) == (("api",), ("api",), {"A": "api"})
    assert (done.environment.env, done.environment.files[0].content) == ({"B": "api"}, "api")
    for changed in done.test_plan.steps:
        assert (changed.command, changed.install, changed.env) == (("api",), (("api",),), {"C": "api"})
    assert done.test_plan.source == source


def test_an_application_without_ports_has_no_address() -> None:
    plan = with_application(ports=(), env={"X": "${api.host}"})
    (problem,) = resolve(plan)[1]
    assert problem.hint == "application api has no ports, so it has no address; give it ports"
    assert address_of(replace(API, ports=())) == {}


@pytest.mark.parametrize(
    ("port", "url"), [(Port("https", 8443), "https://api:8443"), (Port("x", 443), "https://api:443")]
)
def test_a_secure_port_makes_a_secure_url(port: Port, url: str) -> None:
    assert address_of(replace(API, ports=(port,)))["url"] == url


def test_references_cannot_grow_a_plan_without_bound() -> None:
    files = tuple(ConfigFile(f"/f{i}", "${param.A}" * 10_000) for i in range(20))
    plan = replace(with_environment(files=files), parameters={"A": "x" * 32_000})
    done, problems = resolve(plan)
    assert sum(len(f.content) for f in done.environment.files) < 5 * 1024 * 1024
    assert [p.rule for p in problems] == ["reference.size"]


def test_a_plan_without_references_is_left_as_it_is() -> None:
    plan: Specification = SPECIFICATION
    assert resolve(plan) == (plan, [])

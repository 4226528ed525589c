"""Plans: from a file to a request, with every problem named by its path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from k8s_execution_client._gen.maestro.k8s.execution.v1 import plan_pb2
from k8s_execution_client.example import EXAMPLE
from k8s_execution_client.faults import PlanInvalid
from k8s_execution_client.plan import Plan, default_name, load_plan

SUITE = '{name: unit, type: PYTEST, image: "python:3-slim"}'


def loaded(
    folder: Path,
    text: str,
    *,
    name: str = "plan.yaml",
    environment: Mapping[str, str] | None = None,
    parameters: tuple[str, ...] = (),
    sets: tuple[str, ...] = (),
) -> Plan:
    """Load a plan of this text."""
    file = folder / name
    file.write_text(text)
    return load_plan(file, parameters=parameters, sets=sets, environment=environment or {})


def problems(folder: Path, text: str, **more: tuple[str, ...]) -> dict[str, str]:
    """What is wrong with a plan of this text: message and hint by field."""
    with pytest.raises(PlanInvalid) as caught:
        loaded(folder, text, parameters=more.get("parameters", ()), sets=more.get("sets", ()))
    return {v.field: f"{v.message} ({v.hint})" for v in caught.value.violations}


def plan_of(suite: str = SUITE, rest: str = "") -> str:
    """The text of a plan with one suite."""
    return f"{rest}\ntest_plan: {{source: {{image: {{}}}}, suites: [{suite}]}}\n"


def test_the_smallest_plan_of_the_contract(tmp_path: Path) -> None:
    """Enum, nested lists and defaults."""
    plan = loaded(
        tmp_path,
        "test_plan: {source: {local: {path: .}}, suites: [{name: unit, type: PYTEST, "
        'image: "python:3-slim", install: [[pip, install, -r, requirements.txt]]}]}',
    )
    suite = plan.request.test_plan.suites[0]
    assert suite.type == plan_pb2.PYTEST
    assert [list(words) for words in suite.install] == [["pip", "install", "-r", "requirements.txt"]]
    assert plan.local_folder == tmp_path.resolve()


def test_the_plan_of_init_loads_and_its_comments_too(tmp_path: Path) -> None:
    """With every commented line taken in."""
    assert loaded(tmp_path, EXAMPLE).request.test_plan.suites[0].name == "unit"
    whole = "\n".join(
        line.replace("# ", "", 1) if line.lstrip().startswith("# ") else line for line in EXAMPLE.split("\n")
    )
    whole = "\n".join(whole.split("\n")[2:]).replace("What the tests need. All of it is optional.", "")
    plan = loaded(tmp_path, whole, environment={"MY_TOKEN": "t"})
    assert plan.request.environment.applications[0].name == "api"
    assert plan.request.policy.cleanup == plan_pb2.ALWAYS


def test_scalars_of_text_fields_are_taken_as_written(tmp_path: Path) -> None:
    """1.20 is no 1.2."""
    env = "{A: 1.20, B: 7, C: true, D: 2020-01-01, E: 1_000}"
    plan = loaded(
        tmp_path,
        plan_of(
            "{name: unit, type: CUSTOM, image: x, command: [sleep, 5], install: [[echo, 1.0]]}",
            f"environment: {{env: {env}}}",
        ),
    )
    assert dict(plan.request.environment.env) == {"A": "1.20", "B": "7", "C": "true", "D": "2020-01-01", "E": "1_000"}
    assert list(plan.request.test_plan.suites[0].command) == ["sleep", "5"]
    assert list(plan.request.test_plan.suites[0].install[0]) == ["echo", "1.0"]


@pytest.mark.parametrize("trap", ["no", "yes", "on", "off", "No", "0123", "12:34", "12:34:56", "~", ""])
def test_what_yaml_would_change_is_refused_with_the_way_out(tmp_path: Path, trap: str) -> None:
    """In maps, fields and lists alike."""
    found = problems(tmp_path, plan_of(rest=f"environment: {{env: {{A: {trap} }}}}"))
    assert 'environment.env["A"]' in found
    assert '"' in found['environment.env["A"]']


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    """Each with its path, and what was meant."""
    found = problems(
        tmp_path,
        "nmae: x\n"
        "test_plan:\n"
        "  source: {local: {path: .}, image: {}}\n"
        "  suites:\n"
        "    - {name: a, type: pytest, image: x, optional: yes, install: [pip install]}\n"
        "    - {nam: b, command: pytest, type: PYTESTS}\n"
        "policy: {priority: high, cleanup: HODL}\n",
    )
    assert "did you mean name?" in found["nmae"]
    assert "only one" in found["test_plan.source"]
    assert "write PYTEST" in found["test_plan.suites[0].type"]
    assert "true or false" in found["test_plan.suites[0].optional"]
    assert "list of words" in found["test_plan.suites[0].install[0]"]
    assert "did you mean name?" in found["test_plan.suites[1].nam"]
    assert "must be a list" in found["test_plan.suites[1].command"]
    assert "did you mean PYTEST?" in found["test_plan.suites[1].type"]
    assert "whole number" in found["policy.priority"]
    assert "did you mean HOLD?" in found["policy.cleanup"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[a]", ""),
        ("test_plan: x", "test_plan"),
        ("environment: {env: [a]}", "environment.env"),
        ("environment: {applications: {name: x}}", "environment.applications"),
        ("policy: {priority: 99999999999}", "policy.priority"),
        ("policy: {priority: 1e3}", "policy.priority"),
        ("name: {a: b}", "name"),
        ("idempotency_key: x", "idempotency_key"),
    ],
)
def test_a_value_of_the_wrong_shape_is_named(tmp_path: Path, text: str, field: str) -> None:
    """By its path."""
    assert field in problems(tmp_path, text)


@pytest.mark.parametrize("wrong", ["hunter2", "[hunter2]", "{value: {a: hunter2}}", "{value: 0777}", "{value: 77:17}"])
def test_a_misplaced_secret_is_not_shown(tmp_path: Path, wrong: str) -> None:
    """Problems end up in the logs of CI."""
    found = problems(tmp_path, f"environment: {{secrets: {{TOKEN: {wrong}}}}}")
    assert "hunter2" not in str(found) and "77" not in str(found)
    assert any(field.startswith('environment.secrets["TOKEN"]') for field in found)


def test_json_plans_are_read(tmp_path: Path) -> None:
    """By their suffix."""
    text = '{"test_plan": {"source": {"image": {}}, "suites": [{"name": "u", "type": "PYTEST", "image": "x"}]}}'
    assert loaded(tmp_path, text, name="plan.json").request.test_plan.suites[0].name == "u"


def test_secrets_are_taken_from_the_environment(tmp_path: Path) -> None:
    """from_env is replaced by its value; one that is not set is a problem."""
    text = plan_of(rest="environment: {secrets: {TOKEN: {from_env: MY_TOKEN}}}")
    plan = loaded(tmp_path, text, environment={"MY_TOKEN": "s3cret"})
    source = plan.request.environment.secrets["TOKEN"]
    assert (source.WhichOneof("source"), source.value) == ("value", "s3cret")
    assert "MY_TOKEN is not set" in problems(tmp_path, text)['environment.secrets["TOKEN"].from_env']


def test_parameters_are_overridden(tmp_path: Path) -> None:
    """Declared ones, and used ones that were not declared."""
    text = plan_of('{name: unit, type: PYTEST, image: "x:${param.OTHER}"}', "parameters: {TAG: latest}")
    plan = loaded(tmp_path, text, parameters=("TAG=1.4", "OTHER=a=b"))
    assert dict(plan.request.parameters) == {"TAG": "1.4", "OTHER": "a=b"}


@pytest.mark.parametrize(("given", "hint"), [("TGA=1", "did you mean TAG?"), ("TAG", "NAME=VALUE")])
def test_a_parameter_that_the_plan_does_not_know_is_refused(tmp_path: Path, given: str, hint: str) -> None:
    """A misspelt one would change nothing in silence."""
    found = problems(tmp_path, plan_of(rest="parameters: {TAG: latest}"), parameters=(given,))
    assert hint in found["--param"]


def test_values_are_set_by_path(tmp_path: Path) -> None:
    """By entry name or number, from the root or below it, single values and lists."""
    text = plan_of(rest="environment: {applications: [{name: api, image: a, replicas: 2}]}")
    plan = loaded(
        tmp_path,
        text,
        sets=(
            "applications.api.image=b:1",
            "environment.applications.0.replicas=1",
            "environment.env.MODE=no",
            "suites.unit.command=[pytest, -q]",
            "policy.ttl=20m",
            "suites.unit.optional=true",
        ),
    )
    application = plan.request.environment.applications[0]
    assert (application.image, application.replicas) == ("b:1", 1)
    assert plan.request.environment.env["MODE"] == "no"
    assert list(plan.request.test_plan.suites[0].command) == ["pytest", "-q"]
    assert plan.request.test_plan.suites[0].optional is True
    assert plan.request.policy.ttl == "20m"


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("aplications.api.image=x", "did you mean applications?"),
        ("suites.unti.image=x", "did you mean unit?"),
        ("suites.7.image=x", "there are: unit"),
        ("suites.unit.name.x=1", "end the path there"),
        ("policy.ttl", "PATH=VALUE"),
        ("suites.unit.command=[a", "line"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path, given: str, hint: str) -> None:
    """With what was meant."""
    assert any(hint in text for text in problems(tmp_path, plan_of(), sets=(given,)).values())


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("shop/plan.yaml", "shop"),
        ("shop/regression.yaml", "regression"),
        ("My Shop/plan.yml", "my-shop"),
        ("shop/_.yaml", "unnamed"),
        (f"shop/{'x' * 80}.yaml", "x" * 63),
    ],
)
def test_a_plan_without_a_name_is_named_after_its_file_or_folder(tmp_path: Path, path: str, name: str) -> None:
    """An identity of the contract's form."""
    assert default_name(tmp_path / path) == name


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    """With the system's reason."""
    with pytest.raises(PlanInvalid, match="No such file"):
        load_plan(tmp_path / "none.yaml", environment={})


def test_a_file_that_is_no_text_is_said(tmp_path: Path) -> None:
    """Binary."""
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(PlanInvalid, match="UTF-8"):
        load_plan(tmp_path / "x.yaml", environment={})

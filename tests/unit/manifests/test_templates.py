"""Templates: each expression is one JSON value, whatever it holds; what might be less or more is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8s_execution.manifests.templates import TemplateRefused, Templates, load, templates_folder

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
SHAPES = Templates(
    {
        "all.yaml": "a: {{ x }}\n{{ k }}: b\nlist:\n- {{ x }}\n- [1, {{ x }}]\nflow: {m: {{ x }}, n: 1}\n",
        "loop.yaml": "items:\n{% for i in x %}\n- {{ i }}\n{% endfor %}\n",
    }
)


@settings(deadline=None)
@given(JSON, st.text())
def test_a_value_comes_out_as_it_went_in_and_changes_nothing_else(value: object, key: str) -> None:
    if key in {"a", "list", "flow"}:
        return
    assert SHAPES.render("all.yaml", {"x": value, "k": key}) == [
        {"a": value, key: "b", "list": [value, [1, value]], "flow": {"m": value, "n": 1}}
    ]


@settings(deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=5))
def test_values_of_a_loop_keep_their_order_and_content(values: list[str]) -> None:
    assert SHAPES.render("loop.yaml", {"x": values}) == [{"items": values}]


def test_a_result_shares_nothing_with_the_values_or_the_next_result() -> None:
    value = {"inner": ["a"]}
    first = SHAPES.render("all.yaml", {"x": value, "k": "k"})[0]
    first["a"]["inner"].append("b")
    first["list"].append("c")
    second = SHAPES.render("all.yaml", {"x": value, "k": "k"})[0]
    assert second["a"] == {"inner": ["a"]} and len(second["list"]) == 2 and second["flow"]["m"] == {"inner": ["a"]}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('a: "{{ x }}"\n', "quoted"),
        ("a: '{{ x }}'\n", "quoted"),
        ('a: "b, {{ x }}, c"\n', "quoted"),
        ("a: b-{{ x }}\n", "part of a value"),
        ("a: {{ x }}-b\n", "part of a value"),
        ("a: {{ x }}{{ x }}\n", "part of a value"),
        ("a: {{ x }} {{ x }}\n", "part of a value"),
        ("a:{{ x }}\n", "space is missing"),
        ("-{{ x }}\n", "space is missing"),
        ("a: |\n  {{ x }}\n", "block scalar"),
        ("a: >-\n  {{ x }}\n", "block scalar"),
        ("# {{ x }}\n", "comment"),
        ("a: 1 # {{ x }}\n", "comment"),
        ("a: {{\n x }}\n", "one line"),
        ("a: {% if x %}b{% endif %}\n", "alone on its line"),
        ("{% set y = x %}\n", "set is not among"),
        ("{% include 'other.yaml' %}\n", "include is not among"),
        ("{% macro m() %}\n{% endmacro %}\n", "macro is not among"),
        ("{% raw %}\n{% endraw %}\n", "raw is not among"),
        ("{% if x %}\na: 1\n", "Unexpected end of template"),
        ("a: \ue0000\ue001\n", "marks values"),
    ],
)
def test_a_template_that_breaks_a_rule_is_refused_when_loaded(source: str, words: str) -> None:
    with pytest.raises(TemplateRefused, match=words):
        Templates({"t.yaml": source})


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("a: {{ nobody }}\n", "nobody"),
        ("a: {{ x.nobody }}\n", "nobody"),
        ("{% if nobody %}\na: 1\n{% endif %}\n", "nobody"),
        ("a: {{ x.__class__ }}\n", "unsafe"),
        ("a: {{ x.append(1) }}\n", "append"),
        ("a: {{ 1 / 0 }}\n", "division"),
        ("a: {{ 1.5 }}\n", "no JSON value"),
        ("a: 1.5\n", "no JSON value"),
        ("a: 2026-01-01\n", "no JSON value"),
        ("1: a\n", "no text"),
        ("no: a\n", "no text"),
        ("a: [\n", "t.yaml"),
        ("a: !!python/object/apply:os.system [x]\n", "t.yaml"),
        ("- a\n", "no mapping"),
        ("{{ k }}: 1\n{{ k }}: 2\n", "equal"),
        ("{{ x }}: 1\n", "no text"),
        ("a:\n  {{ k }}\n  b\n", "t.yaml"),
        ("a:\n  b\n  c,\n  {{ k }}\n", "part of the value"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused_when_rendered(source: str, words: str) -> None:
    with pytest.raises(TemplateRefused, match=words):
        Templates({"t.yaml": source}).render("t.yaml", {"x": [1], "k": "k"})


def test_an_unknown_template_is_refused_by_name() -> None:
    with pytest.raises(TemplateRefused, match=r"nobody\.yaml"):
        SHAPES.render("nobody.yaml", {})


def test_the_projects_own_templates_pass_the_lint() -> None:
    assert load([templates_folder()]).names == {
        f"{name}.yaml"
        for name in (
            "namespace", "resourcequota", "limitrange", "networkpolicies", "serviceaccount", "secret", "configmap",
            "service", "deployment", "job", "rolebinding",
        )
    }  # fmt: skip


def test_a_users_folder_replaces_templates_by_file_name(tmp_path: Path) -> None:
    (tmp_path / "serviceaccount.yaml").write_text("kind: Mine\n")
    templates = load([templates_folder(), tmp_path])
    assert templates.render("serviceaccount.yaml", {}) == [{"kind": "Mine"}]
    assert "job.yaml" in templates.names


def test_a_folder_that_is_set_must_exist(tmp_path: Path) -> None:
    assert templates_folder(tmp_path) == tmp_path
    with pytest.raises(TemplateRefused, match="no folder of templates"):
        templates_folder(tmp_path / "nobody")

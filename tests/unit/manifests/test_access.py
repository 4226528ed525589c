"""The service's own rights in a namespace: whose, which, and that no template changes either."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from k8s_execution.domain import naming
from k8s_execution.manifests.templates import TemplateRefused, templates_folder
from unit.manifests.samples import ID, NAMESPACE, SETTINGS, execution, manifests, own

BOUND = replace(SETTINGS, environment_role="k8s-execution-environment", service_account="system/svc")


def test_the_named_role_is_bound_to_the_services_account() -> None:
    """In the environment's namespace, with our labels."""
    (binding,) = manifests(BOUND).access(execution())
    group = "rbac.authorization.k8s.io"
    assert binding["roleRef"] == {"apiGroup": group, "kind": "ClusterRole", "name": "k8s-execution-environment"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "namespace": "system", "name": "svc"}]
    assert binding["metadata"]["namespace"] == NAMESPACE
    assert binding["metadata"]["labels"][naming.LABEL_EXECUTION] == ID


def test_without_a_role_nothing_is_bound() -> None:
    """The service then has its rights otherwise."""
    assert own().access(execution()) == []


@pytest.mark.parametrize(("ours", "other"), [("{{ role }}", "cluster-admin"), ("{{ account.name }}", "default")])
def test_a_template_cannot_bind_another_role_or_account(tmp_path: Path, ours: str, other: str) -> None:
    """An installation's own template may change labels, not who may do what."""
    source = (templates_folder() / "rolebinding.yaml").read_text()
    (tmp_path / "rolebinding.yaml").write_text(source.replace(ours, other))
    with pytest.raises(TemplateRefused, match="binds another role, or binds it to somebody else"):
        manifests(BOUND, tmp_path).access(execution())

"""What deploy/ promises: no wildcard, no reach over the whole cluster, a restricted pod, settings that exist."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.rules import CLUSTER, Right, documents, granted, named
from k8s_execution.domain import naming
from k8s_execution.settings import SOURCES, Settings

DEPLOYMENT = named("Deployment")
POD: dict[str, Any] = DEPLOYMENT["spec"]["template"]["spec"]
CONTAINER: dict[str, Any] = POD["containers"][0]
ENVIRONMENT = {e["name"]: e["value"] for e in CONTAINER["env"]}


def test_no_role_has_a_wildcard() -> None:
    """Neither in groups, resources nor verbs; and no verb that lets somebody become more."""
    for right in granted():
        assert "*" not in f"{right.verb}{right.what}", right
        assert right.verb not in {"escalate", "impersonate", "update", "patch", "deletecollection"}, right
    assert {r for r in granted() if r.verb == "bind"} == {
        Right(CLUSTER, "bind", "clusterroles.rbac.authorization.k8s.io", "k8s-execution-environment")
    }


def test_over_the_whole_cluster_there_are_no_secrets_and_no_exec() -> None:
    """Nor logs, nor anything of nodes."""
    cluster = {r.what for r in granted() if r.where == CLUSTER}
    assert cluster == {
        "namespaces", "pods", "deployments.apps", "jobs.batch", "rolebindings.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
    }  # fmt: skip
    assert {r.verb for r in granted() if r.where == CLUSTER and r.what == "pods"} == {"list", "watch"}


def test_the_role_of_environments_is_bound_nowhere_by_us() -> None:
    """Only the service binds it, in the namespaces that it makes."""
    bindings = [d for d in documents() if d["kind"] in {"ClusterRoleBinding", "RoleBinding"}]
    assert {b["roleRef"]["name"] for b in bindings} == {"k8s-execution", "k8s-execution-dry-run"}


def test_every_setting_of_the_deployment_exists_and_fits() -> None:
    """And makes a service that is in its cluster, bound to the account that deploy/ makes."""
    assert set(ENVIRONMENT) <= {s.name for s in SOURCES.values()}
    settings = Settings.load({}, ENVIRONMENT)
    assert settings.in_cluster
    assert settings.service_account == f"k8s-execution/{POD['serviceAccountName']}"
    assert settings.environment_role == "k8s-execution-environment"
    assert settings.dry_run_namespace == named("Namespace", "k8s-execution-dry-run")["metadata"]["name"]


def test_the_pod_satisfies_the_restricted_standard() -> None:
    """And writes only into its volumes."""
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert CONTAINER[probe]["grpc"]["port"] == CONTAINER["ports"][0]["containerPort"] == 50051


@pytest.mark.parametrize("name", ["k8s-execution-namespaces", "k8s-execution-objects"])
def test_the_policies_speak_of_the_same_account_prefix_and_labels(name: str) -> None:
    """They are written out in full, so they could drift from the Deployment and from the code."""
    policy, binding = named("ValidatingAdmissionPolicy", name), named("ValidatingAdmissionPolicyBinding", name)
    assert binding["spec"] == {"policyName": name, "validationActions": ["Deny"]}
    assert policy["spec"]["failurePolicy"] == "Fail"
    text = str(policy["spec"])
    assert "system:serviceaccount:k8s-execution:k8s-execution" in text
    assert f"'{ENVIRONMENT['K8S_NAMESPACE_PREFIX']}-'" in text
    assert naming.LABEL_EXECUTION in text
    assert f"optional.of('{naming.MANAGED_BY}')" in text

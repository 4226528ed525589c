"""The rights of deploy/, enforced: the service as in its pod on the real cluster, and what its account may not do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from google.protobuf import json_format

from deploy.pod import account
from deploy.rules import DEPLOY
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_pb2, execution_service_pb2
from support import plans
from support.kubectl import Kubectl, Said
from support.service import Service, running

ACCOUNT = "system:serviceaccount:k8s-execution:k8s-execution"
RIGHTS = ("10-namespaces.yaml", "20-rights.yaml", "30-confinement.yaml")


@pytest.fixture(scope="module")
def admin(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl of the administrator, with the rights of deploy/ in force; they are removed afterwards."""
    made = Kubectl(kubeconfig, tmp_path_factory.mktemp("kubectl"), namespace="")
    files = [argument for name in RIGHTS for argument in ("-f", str(DEPLOY / name))]
    # Other tests may have just let go of them.
    made.asserted("delete", "namespace", "k8s-execution", "k8s-execution-dry-run", "--ignore-not-found", "--wait")
    made.asserted("apply", *files)
    try:
        for policy in ("k8s-execution-namespaces", "k8s-execution-objects"):
            seen = "jsonpath={.status.observedGeneration}=1"
            made.asserted("wait", f"validatingadmissionpolicy/{policy}", f"--for={seen}", "--timeout=60s")
        yield made
    finally:
        made.asserted("delete", *files, "--ignore-not-found", "--wait=false")


@pytest.fixture
async def service(admin: Kubectl, tmp_path: Path) -> AsyncIterator[Service]:
    """A service that finds itself in the cluster, with the account of deploy/ and nothing else."""
    token = admin.asserted("create", "token", "k8s-execution", "-n", "k8s-execution").strip()
    rights = {
        "K8S_EXECUTION_ENVIRONMENT_ROLE": "k8s-execution-environment",
        "K8S_EXECUTION_SERVICE_ACCOUNT": "k8s-execution/k8s-execution",
        "K8S_EXECUTION_DRY_RUN_NAMESPACE": "k8s-execution-dry-run",
    }
    pod = account(tmp_path / "account", admin.kubeconfig, token)
    async with running(tmp_path / "data", admin.kubeconfig, rights | pod) as made:
        yield made


def whole() -> plans.Plan:
    """A plan with every kind of object."""
    application = plans.api(command=["sleep", "600"], image="busybox:1")
    del application["readiness"]
    environment = {
        "files": [{"path": "/srv/a.txt", "content": "a"}],
        "secrets": {"TOKEN": {"value": "s3cret-value"}},
        "applications": [application],
    }
    return plans.plan(plans.shell("unit", "echo a line"), environment=environment)


async def test_the_service_runs_an_execution_with_these_rights(service: Service) -> None:
    """From the namespace to its end; Validate asks the API server about every object."""
    request = execution_service_pb2.ValidateRequest()
    json_format.ParseDict({"request": whole()}, request)
    answer = await service.stub.Validate(request)
    assert answer.valid
    assert [w for w in answer.warnings if w.rule == "cluster.dry_run"] == []
    ended = await service.done(await service.execute(whole()), 120)
    assert execution_pb2.Verdict.Name(ended.verdict) == "PASSED", ended.diagnosis
    assert ended.evidence.complete
    assert "forbidden" not in service.log.read_text()


def as_service(admin: Kubectl, command: str) -> Said:
    """A kubectl command by the service's account."""
    return admin("--as", ACCOUNT, *command.split())


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("create namespace other", "the service's namespaces begin with quality-fabric-"),
        ("create namespace quality-fabric-x", "carry its labels and enforce the restricted"),
        ("delete namespace k8s-execution", "the service's namespaces begin with quality-fabric-"),
        ("label namespace k8s-execution-dry-run a=b", "cannot patch resource"),
        ("create secret generic s -n k8s-execution-dry-run", "dry runs into k8s-execution-dry-run"),
        ("create secret generic s -n k8s-execution", "cannot create resource"),
        ("get secrets -A", "cannot list resource"),
        ("get secrets -n k8s-execution", "cannot list resource"),
        ("get pods -n kube-system x", "cannot get resource"),
        (
            "create rolebinding x --clusterrole=k8s-execution-environment --serviceaccount=default:default -n default",
            "only into namespaces that it made",
        ),
        (
            "create rolebinding x --clusterrole=cluster-admin --serviceaccount=default:default -n default",
            "RBAC permissions not currently held",
        ),
    ],
)
def test_the_account_cannot_leave_its_bounds(admin: Kubectl, command: str, says: str) -> None:
    """RBAC or the policy says no, and why."""
    said = as_service(admin, command)
    assert said.code != 0
    assert says in said.err


def test_a_dry_run_is_allowed_where_dry_runs_go(admin: Kubectl) -> None:
    """And leaves nothing."""
    said = as_service(admin, "create secret generic s -n k8s-execution-dry-run --dry-run=server")
    assert said.code == 0, said.err
    assert admin("get", "secret", "s", "-n", "k8s-execution-dry-run").code != 0

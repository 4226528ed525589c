"""Used against granted: what the service asks of an API server, held against the roles of deploy/.

A service on a simulated cluster does everything that it can do; the cluster's audit log tells what that needed. The
simulated cluster refuses nobody, so the same rights are enforced in `test_confinement`, on a real one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf import json_format

from deploy.pod import account
from deploy.rules import CLUSTER, ENVIRONMENT, Right, allows, granted, used
from k8s_execution.kube.limits import KubeLimits
from k8s_execution.runtime.agent_program import agent_program
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2
from k8s_simulation.cluster import ClusterOptions, SimulatedCluster
from support import plans
from support.service import Service, running

pytestmark = [pytest.mark.e2e]

DRY_RUN = "default"
AFTER_A_LOST_REPLY = "a create whose reply was lost, or that met its own object after a restart, is resolved by reading"
"""`kube.create`: 409 and a lost reply are followed by a GET of the same name."""
EMPTIED_OWNERS_FIRST = "an orphan, and a namespace that may not be deleted, are emptied owners first"
"""`kube.drain`; in one that is going its pods are enough."""

SURPLUS = {
    "create pods/exec": "Kubernetes from 1.35 on asks for `create` also where the exec is opened by GET",
    "bind clusterroles": "asked by the authoriser itself when the RoleBinding is made; it is no request of its own",
    "get rolebindings": AFTER_A_LOST_REPLY,
    "get resourcequotas": AFTER_A_LOST_REPLY,
    "get limitranges": AFTER_A_LOST_REPLY,
    "get serviceaccounts": AFTER_A_LOST_REPLY,
    "get configmaps": AFTER_A_LOST_REPLY,
    "get services": AFTER_A_LOST_REPLY,
    "get secrets": AFTER_A_LOST_REPLY + "; only of the one name that it makes",
    "get networkpolicies": AFTER_A_LOST_REPLY,
    "get deployments": AFTER_A_LOST_REPLY + "; a delete that conflicts reads what is there",
    "get jobs": AFTER_A_LOST_REPLY + "; a delete that conflicts reads what is there",
    "get pods": "a delete that conflicts reads what is there",
    "get replicasets": "a delete that conflicts reads what is there",
    "get statefulsets": "a delete that conflicts reads what is there",
    "delete deployments": EMPTIED_OWNERS_FIRST,
    "delete jobs": EMPTIED_OWNERS_FIRST,
    "delete replicasets": EMPTIED_OWNERS_FIRST,
    "delete statefulsets": EMPTIED_OWNERS_FIRST
    + "; an environment has none of its own, but a user's hook may make one",
    "list replicasets": EMPTIED_OWNERS_FIRST,
    "list statefulsets": EMPTIED_OWNERS_FIRST,
}
"""What is granted and not seen in the log of this test, with the reason; `verb resource`, the group left out."""


@dataclass(frozen=True, slots=True)
class Audited:
    """A service on a cluster of its own, whose requests are written down."""

    service: Service
    log: Path


@pytest.fixture
async def audited(tmp_path: Path) -> AsyncIterator[Audited]:
    """Started as in its pod: account of the cluster's own, and the settings of deploy/."""
    log = tmp_path / "audit.log"
    options = ClusterOptions(tmp_path / "cluster", agent=await agent_program(None), arguments=["--audit", str(log)])
    rights = {
        "K8S_EXECUTION_ENVIRONMENT_ROLE": "k8s-execution-environment",
        "K8S_EXECUTION_SERVICE_ACCOUNT": "k8s-execution/k8s-execution",
        "K8S_EXECUTION_DRY_RUN_NAMESPACE": DRY_RUN,
    }
    async with SimulatedCluster(options) as cluster:
        pod = account(tmp_path / "account", cluster.kubeconfig)
        async with running(tmp_path / "data", cluster.kubeconfig, rights | pod) as service:
            yield Audited(service, log)


def everything() -> plans.Plan:
    """A plan that makes every kind: files, a secret, an application, a hook, a suite."""
    application = plans.api(command=["sleep", "600"], image="busybox:1", readiness=None)
    application = {k: v for k, v in application.items() if v is not None}
    environment = {
        "files": [{"path": "/srv/a.txt", "content": "a"}],
        "secrets": {"TOKEN": {"value": "s3cret-value"}},
        "applications": [application],
    }
    suite = plans.shell("unit", "echo a line")
    return plans.plan(suite, setup=[plans.hook("prepare", "true")], environment=environment)


def missing_image() -> plans.Plan:
    """A plan whose pod never starts, so that events are asked for."""
    return plans.plan(plans.custom("never", "true", image="registry.example/none:1"))


def told(right: Right) -> str:
    """`verb resource`, as the table of reasons names it."""
    return f"{right.verb} {right.what.partition('.')[0]}"


async def test_what_is_used_is_granted_and_every_surplus_has_a_reason(audited: Audited) -> None:
    """Execute, Validate, a failing image, a cancelled run and a sweep; then both sides are compared."""
    service = audited.service
    request = json_format.ParseDict({"request": everything()}, execution_service_pb2.ValidateRequest())
    answer = await service.stub.Validate(request)
    assert answer.valid and not [w for w in answer.warnings if w.rule == "cluster.dry_run"]
    passed = await service.done(await service.execute(everything()))
    failed = await service.done(await service.execute(missing_image()))
    running = await service.execute(plans.plan(plans.shell("long", "sleep 60")))
    await service.until(running, "TESTING")
    await service.stub.Cleanup(execution_service_pb2.CleanupRequest(execution_id=running))
    await service.done(running)
    await service.stub.SweepOrphans(execution_service_pb2.SweepOrphansRequest(dry_run=True))
    assert (passed.diagnosis.code, failed.diagnosis.code) == ("", "IMAGE_PULL")

    seen = used(audited.log, KubeLimits().user_agent, "quality-fabric-", DRY_RUN)
    grants = granted()
    assert sorted(r for r in seen if not allows(grants, r)) == []
    unused = {g for g in grants if not any(allows({g}, r) for r in seen)}
    assert sorted({told(g) for g in unused}) == sorted(SURPLUS)
    assert Right(CLUSTER, "create", "rolebindings.rbac.authorization.k8s.io") in seen
    assert any(r.where == ENVIRONMENT and r.what == "secrets" for r in seen)

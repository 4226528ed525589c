"""The objects of a plan, with secret values masked: those it would create, for Validate and `render`, and those that
an execution did create, for its evidence. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from k8s_execution.domain import naming
from k8s_execution.domain.execution import Cluster, ClusterKind, Execution, StepKey, StepState
from k8s_execution.domain.plan import Specification
from k8s_execution.ports.cluster import Body
from k8s_execution.ports.manifests import ManifestSource

PREVIEW_ID = "0" * naming.ID_LENGTH
MASKED = "***"
_AFTER = {"ResourceQuota": 1, "Deployment": 2, "Job": 2}


def objects(manifests: ManifestSource, specification: Specification, prefix: str) -> list[Body]:
    """Every object of an execution of this plan, in an order that `kubectl apply` can follow; secrets read `***`."""
    execution = Execution(
        id=PREVIEW_ID,
        specification=specification,
        namespace=naming.namespace(prefix, PREVIEW_ID),
        cluster=Cluster(ClusterKind.KUBERNETES, "", ""),
        steps=initial_steps(specification),
        foundation_created=True,
        applications_created=frozenset(a.name for a in specification.environment.applications),
    )
    return sorted(_objects(manifests, execution, [s.key for s in execution.steps]), key=_rank)


def created(manifests: ManifestSource, execution: Execution) -> list[Body]:
    """Every object that was created for an execution so far, as it was sent but for its secrets."""
    return _objects(manifests, execution, [s.key for s in execution.steps if s.pod])


def _objects(manifests: ManifestSource, execution: Execution, steps: Sequence[StepKey]) -> list[Body]:
    environment = execution.specification.environment
    bodies: list[Body] = [manifests.namespace(execution)]
    if execution.foundation_created:
        bodies += manifests.access(execution)
        bodies += manifests.foundation(execution, dict.fromkeys(environment.secrets, MASKED))
    for application in environment.applications:
        if application.name in execution.applications_created:
            bodies += manifests.application(execution, application.name)
    return [*bodies, *(manifests.step(execution, key) for key in steps)]


def _rank(body: Body) -> int:
    """The quota after what it counts itself and before what makes pods.

    A Service is refused while a new quota has no status ("status unknown for quota", apiserver
    pkg/admission/plugin/resourcequota/controller.go), and kubectl does not try again; pods are tried again by their
    controllers. The engine, which retries, makes the quota first.
    """
    return _AFTER.get(str(body["kind"]), 0)


def initial_steps(specification: Specification) -> tuple[StepState, ...]:
    """The first try of every step, none of them begun."""
    return tuple(StepState(StepKey(step.kind, step.name)) for step in specification.test_plan.steps)

"""What a plan would create, without creating it: for Validate and `render`. Pure."""

from __future__ import annotations

from k8s_execution.domain import naming
from k8s_execution.domain.execution import Cluster, Execution, StepKey, StepState
from k8s_execution.domain.plan import Specification
from k8s_execution.ports.manifests import Body, ManifestSource

PREVIEW_ID = "0" * naming.ID_LENGTH
MASKED = "***"
_AFTER = {"ResourceQuota": 1, "Deployment": 2, "Job": 2}


def objects(manifests: ManifestSource, specification: Specification, prefix: str) -> list[Body]:
    """Every object of an execution of this plan, in an order that `kubectl apply` can follow; secrets read `***`."""
    execution = Execution(
        id=PREVIEW_ID,
        specification=specification,
        namespace=naming.namespace(prefix, PREVIEW_ID),
        cluster=Cluster("", "", ""),
        steps=initial_steps(specification),
    )
    bodies: list[Body] = [manifests.namespace(execution)]
    bodies += manifests.access(execution)
    bodies += manifests.foundation(execution, dict.fromkeys(specification.environment.secrets, MASKED))
    for application in specification.environment.applications:
        bodies += manifests.application(execution, application.name)
    bodies += (manifests.step(execution, state.key) for state in execution.steps)
    return sorted(bodies, key=_rank)


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

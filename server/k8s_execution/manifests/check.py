"""Everything wrong with a plan, at once: field path, value, rule, way out.

`check` judges a plan whose references were replaced; `Checker` does both and fulfils `ports.manifests.PlanChecker`.
Pure: no clock, no cluster, no store. What only the cluster can know (whether an image exists, whether a node has room)
is not judged here, and single fields are judged again although the wire has rules for them, because plans also come
from elsewhere and parameters change texts after the wire has seen them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from k8s_execution.domain.faults import Problem
from k8s_execution.domain.plan import Specification
from k8s_execution.domain.redaction import Masker
from k8s_execution.manifests import references, review
from k8s_execution.manifests.rules import applications, environment, order, policy, steps
from k8s_execution.manifests.rules.findings import Findings
from k8s_execution.ports.manifests import FORBIDDEN_EGRESS, Review

MOST_PROBLEMS = 200


class Checker:
    """Prepares plans for one installation."""

    def __init__(self, forbidden_egress: Sequence[str] = FORBIDDEN_EGRESS) -> None:
        """Take the networks that no plan may reach, in CIDR form; ValueError if one is none."""
        self._forbidden = tuple(forbidden_egress)

    def prepare(
        self, specification: Specification, secrets: Mapping[str, str]
    ) -> tuple[Specification, Sequence[Problem]]:
        """References replaced, and every problem of the plan; none of them shows a secret."""
        resolved, unknown = references.resolve(specification)
        told = {p.field for p in unknown}
        problems = [*unknown, *(p for p in check(resolved, secrets, self._forbidden) if p.field not in told)]
        mask = Masker(secrets.values()).mask_text
        return resolved, [
            Problem(mask(p.field), mask(p.value), p.rule, mask(p.message), mask(p.hint))
            for p in problems[:MOST_PROBLEMS]
        ]

    def review(self, specification: Specification) -> Review:
        """Sums and warnings of a prepared plan that has no problems but with its quota's room."""
        return Review(review.quota_sums(specification), review.warnings(specification))


def check(
    specification: Specification, secrets: Mapping[str, str], forbidden: Sequence[str] = FORBIDDEN_EGRESS
) -> list[Problem]:
    """All problems of a plan whose references were replaced, in the order of its fields; `secrets` are the values."""
    found = Findings()
    policy.check(found, specification)
    surroundings, plan = specification.environment, specification.test_plan
    environment.check(found, specification, secrets, forbidden)
    files = environment.placed_files(surroundings.files)
    for index, application in enumerate(surroundings.applications):
        applications.check(found, f"environment.applications[{index}]", application, files)
    steps.source(found, "test_plan.source", plan.source)
    limits = specification.policy
    for kind, given, longest in (
        ("setup", plan.setup, limits.timeout_ms),
        ("suites", plan.suites, limits.timeout_ms),
        ("teardown", plan.teardown, limits.teardown_timeout_ms),
    ):
        for index, step in enumerate(given):
            steps.check(found, f"test_plan.{kind}[{index}]", step, longest)
    environment.quota(found, specification)
    order.check(found, specification)
    return found.problems

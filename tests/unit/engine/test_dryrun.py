"""Validate's dry run: refusals are problems, a cluster that cannot be asked is a warning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from k8s_execution.engine import dryrun
from k8s_execution.ports.cluster import Body, DryRun, DryRunImpossible, Refused, Unreachable

NAMESPACE: Body = {"kind": "Namespace", "metadata": {"name": "qf-1"}}
JOB: Body = {"kind": "Job", "metadata": {"name": "suite", "namespace": "qf-1", "labels": {"a": "b"}}}
QUOTA: Body = {"kind": "ResourceQuota", "metadata": {"name": "environment", "namespace": "qf-1"}}


class Scripted:
    """A cluster that answers by kind, and remembers what it was asked."""

    def __init__(self, answers: Mapping[str, Exception] | None = None) -> None:
        self.answers = answers or {}
        self.asked: list[Body] = []

    async def dry_run(self, body: Body) -> None:
        self.asked.append(body)
        if (answer := self.answers.get(str(body["kind"]))) is not None:
            raise answer


async def judge(answers: Mapping[str, Exception]) -> dryrun.Judgement:
    """What is said of all three objects."""
    cluster: DryRun = Scripted(answers)
    return await dryrun.judge(cluster, [NAMESPACE, QUOTA, JOB], "asking")


async def test_namespaced_objects_go_to_the_given_namespace() -> None:
    """Nothing else of them changes, and nothing of the caller's objects."""
    cluster = Scripted()
    said = await dryrun.judge(cluster, [NAMESPACE, JOB], "asking")
    moved: dict[str, Any] = {"kind": "Job", "metadata": {"name": "suite", "namespace": "asking", "labels": {"a": "b"}}}
    assert cluster.asked == [NAMESPACE, moved]
    assert JOB["metadata"]["namespace"] == "qf-1"
    assert said == dryrun.Judgement()


async def test_a_refusal_is_a_problem_of_its_object() -> None:
    """All of them, in the API server's words."""
    said = await judge({"Job": Refused(422, "Invalid", "no such field"), "Namespace": Refused(403, "Forbidden", "no")})
    assert [(p.field, p.rule, p.message) for p in said.problems] == [
        ("objects[Namespace/qf-1]", "cluster.dry_run", "no"),
        ("objects[Job/suite]", "cluster.dry_run", "no such field"),
    ]
    assert said.warnings == ()


async def test_a_cluster_that_cannot_be_asked_is_a_warning() -> None:
    """Each cause once."""
    away = Unreachable("cannot connect")
    said = await judge({"Job": away, "Namespace": away, "ResourceQuota": DryRunImpossible("no right")})
    assert said.problems == ()
    assert [(w.field, w.rule, w.message.rpartition(": ")[2]) for w in said.warnings] == [
        ("objects", "cluster.dry_run", "cannot connect"),
        ("objects", "cluster.dry_run", "no right"),
    ]

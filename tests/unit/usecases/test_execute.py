"""Execute, Validate and uploads: all problems at once, one execution a key, only names of secrets."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from k8s_execution.domain.faults import (
    FailedPrecondition,
    IdempotencyConflict,
    QueueFull,
    TooLarge,
    ValidationFailed,
)
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import BundleSource, Quota
from k8s_execution.usecases import Limits, Parts, UseCases
from support import build
from unit.usecases.made import EVERYTHING, call, data


async def test_execute_answers_what_is_stored(cases: UseCases, parts: Parts) -> None:
    """Id, namespace, cluster, steps and its place in the queue; secrets are sealed, not in the record."""
    view = await cases.execute(call(TOKEN="hunter22"))
    execution = view.execution
    assert execution.namespace == f"quality-fabric-{execution.id}"
    assert (execution.cluster, execution.phase, view.queue_position) == (build.CLUSTER, Phase.QUEUED, 1)
    assert [s.key.name for s in execution.steps] == ["unit"]
    assert await parts.store.get(execution.id) == execution
    assert "hunter22" not in repr(execution)
    sealed = await parts.store.sealed_secrets(execution.id)
    assert parts.sealer.open(execution.id, sealed) == {"TOKEN": "hunter22"}


async def test_execute_twice_with_one_key_is_one_execution(cases: UseCases) -> None:
    """Also many times at once."""
    views = await asyncio.gather(*(cases.execute(call(key="k", TOKEN="hunter22")) for _ in range(10)))
    assert len({v.execution.id for v in views}) == 1
    assert len((await cases.list_executions(EVERYTHING, 50, "")).executions) == 1


async def test_one_key_for_two_bodies_is_a_conflict(cases: UseCases) -> None:
    """Another plan or another secret is another body."""
    await cases.execute(call(key="k", TOKEN="hunter22"))
    with pytest.raises(IdempotencyConflict):
        await cases.execute(call(key="k", TOKEN="hunter23"))
    with pytest.raises(IdempotencyConflict):
        await cases.execute(call(build.specification(build.suite("other")), key="k", TOKEN="hunter22"))


async def test_a_wrong_plan_is_refused_with_all_problems_and_nothing_is_stored(cases: UseCases) -> None:
    """Those of the fields' rules, those of the plan, and the bundle that is not there."""
    spec = build.specification(build.suite(after=("nobody",)), source=BundleSource("b-" + "0" * 26))
    with pytest.raises(ValidationFailed) as refused:
        await cases.execute(call(spec))
    fields = {p.field for p in refused.value.problems}
    assert {"test_plan.source.bundle.id", "test_plan.suites[0].after[0]"} <= fields
    assert (await cases.list_executions(EVERYTHING, 50, "")).executions == []


async def test_an_uploaded_bundle_can_be_used(cases: UseCases) -> None:
    """And one over the limit is refused."""
    stored = await cases.upload_bundle(data(b"tar", b"gz"))
    view = await cases.execute(call(build.specification(source=BundleSource(stored.path))))
    assert view.execution.specification.test_plan.source == BundleSource(stored.path)
    with pytest.raises(TooLarge):
        await cases.upload_bundle(data(b"x" * 1001))


async def test_the_queue_has_its_limit(cases: UseCases) -> None:
    """Ten wait, in the order they came."""
    views = [await cases.execute(call()) for _ in range(10)]
    assert [v.queue_position for v in views] == list(range(1, 11))
    with pytest.raises(QueueFull):
        await cases.execute(call())


async def test_without_a_cluster_there_is_only_history(cases: UseCases, parts: Parts) -> None:
    """Execute and the sweep say so; reads work."""
    view = await cases.execute(call())
    history = UseCases(replace(parts, cluster=None), Limits())
    with pytest.raises(FailedPrecondition, match="history"):
        await history.execute(call())
    with pytest.raises(FailedPrecondition):
        await history.sweep(dry_run=True)
    assert (await history.status(view.execution.id)).execution == view.execution


async def test_validate_shows_objects_and_stores_nothing(cases: UseCases) -> None:
    """Secret values are masked."""
    report = await cases.validate(call(TOKEN="hunter22"))
    assert report.problems == ()
    assert [o["kind"] for o in report.objects] == ["Namespace", "Secret", "Job"]
    assert report.objects[1]["data"] == {"TOKEN": "***"}
    assert report.quota
    assert (await cases.list_executions(EVERYTHING, 50, "")).executions == []


async def test_validate_sums_a_plan_that_only_lacks_room(cases: UseCases) -> None:
    """The problem and the arithmetic; no objects."""
    spec = build.specification()
    small = replace(spec, environment=replace(spec.environment, quota=Quota(cpu="1m")))
    report = await cases.validate(call(small))
    assert report.problems
    assert report.objects == ()
    assert any(not q.sufficient for q in report.quota)

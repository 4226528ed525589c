"""What the API server itself says of a plan's objects: Validate's server-side dry run.

Namespaced objects need a namespace that exists, and the plan's own is never made for a question; so they are sent to
a namespace of the installation's choice with only `metadata.namespace` rewritten. That proves what schema and
admission (webhooks, policies) say, and not what the environment's own quota and limits will say: `review` sums those.
A cluster that cannot be asked is a warning and never a fault. It must not create anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from k8s_execution.domain.faults import Problem
from k8s_execution.ports.cluster import Body, DryRun, DryRunImpossible, Refused, Unreachable

RULE = "cluster.dry_run"
PATIENCE = 10.0
"""Seconds for all objects together: a person waits for the answer."""

_AT_ONCE = 8
_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was refused, and why something could not be asked."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


async def judge(cluster: DryRun, objects: Sequence[Body], namespace: str) -> Judgement:
    """Send every object as a dry run, namespaced ones to `namespace`."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def ask(body: Body) -> Refused | DryRunImpossible | Unreachable | None:
        async with turns:
            try:
                await cluster.dry_run(_moved(body, namespace))
            except (Refused, DryRunImpossible, Unreachable) as said:
                return said
        return None

    try:
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(*(ask(body) for body in objects))
    except TimeoutError:
        return Judgement(warnings=(_unasked(f"no answer within {PATIENCE:g} s"),))
    pairs = [(body, said) for body, said in zip(objects, answers, strict=True) if said is not None]
    refused = tuple(_refusal(body, said.message) for body, said in pairs if isinstance(said, Refused))
    unasked = dict.fromkeys(_causes(said for _, said in pairs))
    return Judgement(refused, tuple(_unasked(cause) for cause in unasked))


def _moved(body: Body, namespace: str) -> Body:
    metadata: dict[str, Any] = dict(body["metadata"])
    if "namespace" not in metadata:
        return body
    return {**body, "metadata": {**metadata, "namespace": namespace}}


def _causes(answers: Iterable[Exception | None]) -> Iterable[str]:
    return (str(said)[:_SHOWN] for said in answers if isinstance(said, (DryRunImpossible, Unreachable)))


def _refusal(body: Body, message: str) -> Problem:
    field = f"objects[{body['kind']}/{body['metadata']['name']}]"
    hint = "the API server refuses this object: change what the plan says of it, or ask who keeps the cluster's rules"
    return Problem(field, "", RULE, message[:_SHOWN], hint)


def _unasked(cause: str) -> Problem:
    hint = "the plan was checked without the cluster; see K8S_EXECUTION_DRY_RUN_NAMESPACE for where dry runs go"
    return Problem("objects", "", RULE, f"not everything could be asked of the cluster: {cause}", hint)

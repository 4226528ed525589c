"""The hands: carries out what a decision asks for, idempotently.

Creates are short and awaited; exec, collection, sealing and deletion are operations that run beside the loop and write
their own result. A refusal for good becomes the execution's failure; a cluster that does not answer leaves as
`Unreachable` and the loop tries again. It must not decide anything about phases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from k8s_execution.domain import holding
from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.facts import EventFact
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.verdict import Code, Diagnosis
from k8s_execution.engine import actions, cleaning, collecting, diagnose
from k8s_execution.engine.actions import Action, LongAction, ShortAction
from k8s_execution.engine.clocks import MILLISECOND
from k8s_execution.engine.ending import fail
from k8s_execution.engine.known import KnownRecords
from k8s_execution.engine.operations import Operations
from k8s_execution.engine.tools import Tools
from k8s_execution.ports.cluster import Body, Created, Refused


class Actuator:
    """Carries out actions. It remembers what this process created, only to save requests, never to decide."""

    def __init__(self, tools: Tools, operations: Operations, records: KnownRecords) -> None:
        """Take the adapters, the place where operations run, and the records to change."""
        self._tools = tools
        self._records = records
        self._operations = operations
        self._rendered = tools.threads.run
        self._created: dict[str, set[StepKey]] = {}
        self._events: dict[str, tuple[EventFact, ...]] = {}

    def events(self, execution_id: str) -> tuple[EventFact, ...]:
        """The events fetched so far for owners that lack pods."""
        return self._events.get(execution_id, ())

    async def run(self, execution: Execution, wanted: Sequence[Action]) -> None:
        """Carry out all actions; creates of one decision go out together."""
        short: list[ShortAction] = []
        for action in wanted:
            if isinstance(action, LongAction):
                self._start(execution, action)
            else:
                short.append(action)
        outcomes = await asyncio.gather(*(self._do(execution, a) for a in short), return_exceptions=True)
        _raise_first(outcomes)

    def forget(self, execution_id: str) -> None:
        """Drop what is remembered of an execution."""
        self._created.pop(execution_id, None)
        self._events.pop(execution_id, None)
        self._operations.forget(execution_id)

    def _start(self, execution: Execution, action: LongAction) -> None:
        tools, start = self._tools, self._operations.start
        match action:
            case actions.SendSource(key, pod):
                start(execution.id, f"source {key}", lambda n: collecting.send_source(tools, execution, key, pod, n))
            case actions.StopStep(key, pod):
                start(execution.id, f"stop {key}", lambda _: tools.collector.stop(pod), once=True)
            case actions.CollectStep(key, pod):
                start(execution.id, f"collect {key}", lambda n: collecting.collect_step(tools, execution, key, pod, n))
            case actions.ReleaseStep(key, pod):
                start(execution.id, f"release {key}", lambda n: collecting.release(tools, execution, key, pod, n))
            case actions.SealEvidence():
                start(execution.id, "seal", lambda n: collecting.seal(tools, execution, n))
            case actions.DeleteWorkload():
                start(execution.id, "drain", lambda _: cleaning.drain(tools, execution))
            case actions.DeleteNamespace():
                start(execution.id, "delete", lambda _: cleaning.delete_namespace(tools, execution))
            case _ as never:
                assert_never(never)

    async def _do(self, execution: Execution, action: ShortAction) -> None:
        match action:
            case actions.CreateNamespace():
                await self._create_namespace(execution)
            case actions.CreateFoundation():
                await self._create_foundation(execution)
            case actions.CreateApplications(names):
                await self._create_applications(execution, names)
            case actions.StartStep(key):
                await self._start_step(execution, key)
            case actions.FetchEvents(uid):
                found = await self._tools.cluster.events(execution.namespace, uid)
                others = [e for e in self.events(execution.id) if e.involved_uid != uid]
                self._events[execution.id] = (*others, *found)
            case actions.Hold(until):
                await self._hold(execution, until)
            case actions.Finish():
                await self._tools.logs.forget(execution.id)
                self.forget(execution.id)
            case _ as never:
                assert_never(never)

    async def _create_namespace(self, execution: Execution) -> None:
        body = await self._rendered(self._tools.manifests.namespace, execution)
        created = await self._create(execution, [body], f"namespace/{execution.namespace}")
        if not created:
            return

        def record(current: Execution, _now: int) -> Execution:
            ttl = current.specification.policy.ttl_ms * MILLISECOND
            born = created[0].created_at
            return replace(current, namespace_uid=created[0].uid, namespace_created_at=born, expires_at=born + ttl)

        await self._records.change(execution.id, record, epoch=execution.epoch)

    async def _create_foundation(self, execution: Execution) -> None:
        where = f"namespace/{execution.namespace}"
        access = await self._rendered(self._tools.manifests.access, execution)
        if access and not await self._create(execution, access, where):
            return
        secrets = await self._tools.maskers.secrets(execution.id)
        bodies = await self._rendered(self._tools.manifests.foundation, execution, secrets)
        if await self._create(execution, bodies, where):

            def record(current: Execution, _now: int) -> Execution:
                return replace(current, foundation_created=True)

            await self._records.change(execution.id, record, epoch=execution.epoch)

    async def _create_applications(self, execution: Execution, names: Sequence[str]) -> None:
        """All at once; those that were made are recorded whatever became of the others, in one write."""
        creates = [self._create_application(execution, name) for name in names]
        outcomes = await asyncio.gather(*creates, return_exceptions=True)
        made = {name for name, outcome in zip(names, outcomes, strict=True) if outcome is True}
        if made:

            def record(current: Execution, _now: int) -> Execution:
                return replace(current, applications_created=current.applications_created | made)

            await self._records.change(execution.id, record, epoch=execution.epoch)
        _raise_first(outcomes)

    async def _create_application(self, execution: Execution, name: str) -> bool:
        """Whether it was made; False where it was refused, which then is the execution's failure."""
        bodies = await self._rendered(self._tools.manifests.application, execution, name)
        return bool(await self._create(execution, bodies, f"deployment/{name}"))

    async def _start_step(self, execution: Execution, key: StepKey) -> None:
        known = self._created.setdefault(execution.id, set())
        if key not in known:
            body = await self._rendered(self._tools.manifests.step, execution, key)
            if await self._create(execution, [body], f"{key.kind.lower()}/{key.name}"):
                known.add(key)

    async def _hold(self, execution: Execution, until: int) -> None:
        limit = self._tools.most_held

        def record(current: Execution, taken: int) -> Execution:
            return holding.hold(current, until, taken, limit)

        await self._tools.store.hold(execution.id, record, epoch=execution.epoch)

    async def _create(self, execution: Execution, bodies: Sequence[Body], where: str) -> Sequence[Created]:
        """POST all bodies together; empty where one was refused, which then is the execution's failure."""
        outcomes = await asyncio.gather(
            *(self._tools.cluster.create(body, execution.id) for body in bodies), return_exceptions=True
        )
        faults = [o for o in outcomes if isinstance(o, BaseException)]
        refused = next((f for f in faults if isinstance(f, Refused)), None)
        if refused is not None:
            await self._refused(execution, refused, where)
            return ()
        if faults:
            raise faults[0]
        return [o for o in outcomes if isinstance(o, Created)]

    async def _refused(self, execution: Execution, refused: Refused, where: str) -> None:
        diagnosis = diagnose.of_refusal(refused.message, where)
        if execution.phase is not Phase.PROVISIONING and refused.status == 404:
            diagnosis = Diagnosis(Code.NAMESPACE_LOST, refused.message, where)

        def record(current: Execution, now: int) -> Execution:
            return fail(current, diagnosis, now)

        await self._records.change(execution.id, record, epoch=execution.epoch)


def _raise_first(outcomes: Sequence[object]) -> None:
    """The first fault of a `gather` that waited for all."""
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome

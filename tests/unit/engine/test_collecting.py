"""Operations on step pods: how long a fault is waited for, and what is recorded when the waiting ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from k8s_execution.domain import naming
from k8s_execution.domain.execution import Execution, StepKey, StepPhase
from k8s_execution.domain.facts import ContainerState, PodFact
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import StepKind
from k8s_execution.domain.verdict import Code
from k8s_execution.engine import collecting
from k8s_execution.engine.tools import Tools
from k8s_execution.ports.cluster import ExecFailed, Unreachable
from k8s_execution.ports.store import StepResult
from support import build

KEY = StepKey(StepKind.SUITE, "unit")
Change = Callable[[Execution, int], Execution]


class OneRecord:
    """A store of one execution."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution

    async def change(self, _execution_id: str, change: Change, *, epoch: int) -> Execution:
        assert epoch == self.execution.epoch
        self.execution = change(self.execution, build.START + build.SECOND)
        return self.execution

    async def save_result(self, _result: StepResult, change: Change, *, epoch: int) -> Execution:
        return await self.change("", change, epoch=epoch)


class FailingCollector:
    """A collector that nobody reaches; with `fault` None it takes the source."""

    def __init__(self, fault: Exception | None) -> None:
        self._fault = fault

    async def send_source(self, _execution: Execution, _pod: PodFact) -> None:
        if self._fault is not None:
            raise self._fault

    async def collect(self, execution: Execution, _key: StepKey, pod: PodFact) -> None:
        await self.send_source(execution, pod)


def running(phase: StepPhase = StepPhase.RUNNING) -> OneRecord:
    return OneRecord(build.with_step(build.execution(phase=Phase.TESTING), "unit", phase))


def tools(store: OneRecord, fault: Exception | None) -> Tools:
    none = cast(Any, None)
    return Tools(cast(Any, store), none, none, cast(Any, FailingCollector(fault)), none, none, none, none, 0)


def pod_whose_collector_ended() -> PodFact:
    ended = build.container(naming.COLLECTOR_CONTAINER, ContainerState.TERMINATED, exit_code=137)
    return build.step_pod("unit", StepKind.SUITE, build.container(), ended)


async def test_source_that_arrived_is_recorded() -> None:
    store = running()
    await collecting.send_source(tools(store, None), store.execution, KEY, build.step_pod(), 0)
    assert store.execution.step(KEY).source_sent


@pytest.mark.parametrize("fault", [Unreachable("no answer"), ExecFailed("cut")])
async def test_source_is_sent_again_for_about_a_minute_and_then_the_step_has_failed(fault: Exception) -> None:
    store = running()
    for failures in range(collecting.PATIENT_TRIES - 1):
        with pytest.raises(type(fault)):
            await collecting.send_source(tools(store, fault), store.execution, KEY, build.step_pod(), failures)
    last = collecting.PATIENT_TRIES - 1
    await collecting.send_source(tools(store, fault), store.execution, KEY, build.step_pod(), last)
    state = store.execution.step(KEY)
    assert state.phase is StepPhase.FINISHED
    assert state.diagnosis is not None
    assert state.diagnosis.code is Code.SOURCE_FAILED
    assert str(fault) in state.diagnosis.message


async def test_giving_the_source_up_changes_nothing_of_a_step_that_ended_meanwhile() -> None:
    store = running(StepPhase.COLLECTING)
    last = collecting.PATIENT_TRIES - 1
    await collecting.send_source(tools(store, ExecFailed("cut")), store.execution, KEY, build.step_pod(), last)
    assert store.execution.step(KEY).phase is StepPhase.COLLECTING


@pytest.mark.parametrize(
    ("pod", "tries"),
    [(build.step_pod(), collecting.PATIENT_TRIES), (pod_whose_collector_ended(), collecting.FEW_TRIES)],
)
async def test_a_collector_that_runs_is_waited_for_longer_than_one_that_ended(pod: PodFact, tries: int) -> None:
    """Then the step is judged without its files, and the evidence says so."""
    store = running(StepPhase.COLLECTING)
    with pytest.raises(ExecFailed):
        await collecting.collect_step(tools(store, ExecFailed("cut")), store.execution, KEY, pod, tries - 2)
    await collecting.collect_step(tools(store, ExecFailed("cut")), store.execution, KEY, pod, tries - 1)
    assert store.execution.step(KEY).phase is StepPhase.FINISHED
    assert store.execution.gaps == ("reports and artifacts of suite/unit could not be read: cut",)

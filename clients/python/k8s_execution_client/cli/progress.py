"""What happened to an execution, told line by line from its status events.

Holds the last event to say only what is new. Pure but for the function it is given to write with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from k8s_execution_client.terminal import safe

if TYPE_CHECKING:
    from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Execution, StatusEvent, Step


class Progress:
    """Tells events of one execution."""

    def __init__(self, write: Callable[[str], None]) -> None:
        """Nothing has been told."""
        self._write = write
        self._phase = 0
        self._steps: dict[tuple[int, str, int, int], tuple[int, int]] = {}
        self._warnings = 0
        self._verdict = 0

    def event(self, event: StatusEvent) -> None:
        """Write what is new in one event."""
        from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Phase

        execution = event.execution
        if execution.phase != self._phase:
            self._phase = execution.phase
            self._write(f"== {Phase.Name(execution.phase)}{self._detail(execution)}")
        for step in execution.steps:
            self._step(step)
        for warning in execution.warnings[self._warnings :]:
            self._write(f"warning: {safe(warning)}")
        self._warnings = len(execution.warnings)
        self._told_verdict(execution)

    def _detail(self, execution: Execution) -> str:
        from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import DONE, PROVISIONING

        if execution.phase == PROVISIONING:
            return f" namespace {safe(execution.namespace)}"
        return f" namespace {safe(execution.namespace)} is gone" if execution.phase == DONE else ""

    def _step(self, step: Step) -> None:
        from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Step as Message
        from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Verdict

        key, state = (step.kind, step.name, step.shard, step.attempt), (step.phase, step.verdict)
        before = self._steps.get(key, (Message.PENDING, 0))
        self._steps[key] = state
        if state == before or step.phase <= Message.PENDING:
            return
        verdict = f" {Verdict.Name(step.verdict)}" if step.verdict else ""
        attempt = f" attempt {step.attempt}" if step.attempt > 1 else ""
        pod = f" (pod {safe(step.pod)})" if step.pod and step.phase == Message.RUNNING else ""
        kind = Message.Kind.Name(step.kind).lower()
        self._write(f"-- {kind} {safe(step.name)}{attempt} {Message.Phase.Name(step.phase).lower()}{verdict}{pod}")

    def _told_verdict(self, execution: Execution) -> None:
        from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_pb2 import Verdict

        if execution.verdict and execution.verdict != self._verdict:
            self._verdict = execution.verdict
            self._write(f"== verdict {Verdict.Name(execution.verdict)}")

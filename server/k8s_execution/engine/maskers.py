"""The maskers of the executions that are being worked on: made once of the sealed secrets, shared by all who mask."""

from __future__ import annotations

from collections.abc import Mapping

from k8s_execution.domain.execution import Execution
from k8s_execution.domain.redaction import Masker
from k8s_execution.ports.sealer import Sealer
from k8s_execution.ports.store import Store


class Maskers:
    """Opens an execution's secrets once and keeps the masker until it is forgotten."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        """Take where the sealed secrets are, and what opens them."""
        self._store = store
        self._sealer = sealer
        self._maskers: dict[str, Masker] = {}

    async def load(self, execution: Execution) -> Masker:
        """The masker of an execution."""
        if execution.id not in self._maskers:
            self._maskers[execution.id] = Masker((await self.secrets(execution.id)).values())
        return self._maskers[execution.id]

    async def secrets(self, execution_id: str) -> Mapping[str, str]:
        """The user's secret values; empty once they are erased."""
        sealed = await self._store.sealed_secrets(execution_id)
        return self._sealer.open(execution_id, sealed) if sealed else {}

    def of(self, execution_id: str) -> Masker:
        """The masker loaded before; KeyError for an execution that is not being worked on."""
        return self._maskers[execution_id]

    def knows(self, execution_id: str) -> bool:
        """Whether an execution is being worked on here."""
        return execution_id in self._maskers

    def forget(self, execution_id: str) -> None:
        """Drop an execution that is done or no longer ours."""
        self._maskers.pop(execution_id, None)

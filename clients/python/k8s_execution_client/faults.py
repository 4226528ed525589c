"""What can go wrong for a caller: the service refused, the service is not there, the plan is wrong.

Foreign errors (grpc, yaml, the file system) are translated into these once, where they are caught. Problems are data:
each names a field, its value, what is wrong and the way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong: the field's path (empty: the whole), what is wrong, and the way out (may be empty)."""

    field: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        """One line."""
        where = f"{self.field}: " if self.field else ""
        return f"{where}{self.message}{f' ({self.hint})' if self.hint else ''}"


class ClientFault(Exception):
    """Base of all faults of this package."""


class PlanInvalid(ClientFault):
    """A plan's file cannot be sent as it is; `violations` holds everything that is wrong with it."""

    def __init__(self, where: str, violations: Sequence[Violation]) -> None:
        """`where` is the file's name."""
        self.where = where
        self.violations = tuple(violations)
        super().__init__("\n".join([f"{where} cannot be used:", *(f"  {v}" for v in violations)]))


class BundleFault(ClientFault):
    """A folder cannot be packed; the message says why."""


class ServiceFault(ClientFault):
    """A call failed. `code` is gRPC's name for it, `reason` the service's own (empty when it gave none)."""

    def __init__(self, code: str, message: str, reason: str = "", violations: Sequence[Violation] = ()) -> None:
        """`violations` are the service's, for VALIDATION_FAILED."""
        self.code = code
        self.reason = reason
        self.violations = tuple(violations)
        super().__init__("\n".join([message, *(f"  {v}" for v in violations)]))


class ServiceUnreachable(ServiceFault):
    """Nothing answers at the address, or it stopped answering for longer than the client's patience."""

    def __init__(self, target: str, detail: str) -> None:
        """`target` is the address; `detail` what the connection said."""
        self.target = target
        super().__init__("UNAVAILABLE", f"no service answers at {target}: {detail}")

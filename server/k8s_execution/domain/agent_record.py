"""What the agent recorded of a step: the only source of a step's verdict beside the container's own status.

Written by the agent as `state/record.json` on the shared volume (docs/agent.md), read back through exec.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AgentStage(StrEnum):
    """How far the step came."""

    SOURCE = "SOURCE"
    INSTALL = "INSTALL"
    COMMAND = "COMMAND"


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """How a step ended. `signal` is 0 where the program exited by itself, `not_found` the argv[0] that is missing.

    `install_index` counts from 0 and names the failing install command where `stage` is INSTALL. Times are µs since
    the epoch by the node's clock. `stopped` is set where the service asked the step to end.
    """

    stage: AgentStage
    exit_code: int
    signal: int = 0
    install_index: int = 0
    oom_kills: int = 0
    timed_out: bool = False
    stopped: bool = False
    not_found: str = ""
    error: str = ""
    started_at: int = 0
    finished_at: int = 0
    install_ms: int = 0
    output_bytes: int = 0
    output_truncated: bool = False

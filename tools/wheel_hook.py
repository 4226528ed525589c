"""The build hook of the service's wheel: puts the built agent into it, so that an installed service needs no compiler.

Hatchling runs it (`pyproject.toml`). The agent is a static Linux program, so the wheel is for Linux on this
architecture, with any C library; built elsewhere it is a pure wheel without the agent, which only the simulated cluster
needs, and that runs on Linux alone. An editable install takes the agent from the checkout's build tool.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACE = "k8s_execution/bin/k8s-execution-agent"
"""Where `runtime/agent_program.py` looks for it."""
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class AgentHook(BuildHookInterface[Any]):
    """Builds the agent, or takes it from the cache, and adds it; AgentBuildError where there is no Go."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the agent to a standard wheel."""
        if version == "editable" or sys.platform != "linux":
            return
        tool = runpy.run_path(str(Path(self.root) / "tools" / "build_agent.py"))
        machine = MACHINES.get(tool["target"](), tool["target"]())
        build_data["force_include"][str(tool["build"]())] = PLACE
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-manylinux_2_17_{machine}.musllinux_1_1_{machine}"

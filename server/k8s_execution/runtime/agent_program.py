"""Where the agent's program is, for the simulated cluster (a real one pulls it as an image).

A setting, else the copy that wheels and images carry, else the checkout's build tool, which keeps it in a cache.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

PACKAGED = Path(__file__).resolve().parent.parent / "bin" / "k8s-execution-agent"
BUILD_TOOL = Path(__file__).resolve().parents[3] / "tools" / "build_agent.py"


class AgentMissing(Exception):
    """There is no agent program and none can be built; the message says the way out."""


async def agent_program(setting: Path | None) -> Path:
    """The program's path; builds it (a few seconds, once) in a checkout."""
    if setting is not None:
        return setting
    if PACKAGED.is_file():
        return PACKAGED
    if not BUILD_TOOL.is_file():
        raise AgentMissing("the agent's program is not packaged here: set K8S_EXECUTION_AGENT to its path")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(BUILD_TOOL), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    answer, complaint = await process.communicate()
    if process.returncode != 0:
        raise AgentMissing(f"the agent could not be built: {complaint.decode(errors='replace')[-2000:]}")
    return Path(answer.decode().strip().splitlines()[-1])

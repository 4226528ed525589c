"""A step's output file, read through its collector container from a byte offset; fulfils `ports.logs.Fill`.

For gaps in the API's log only: the log is the first source, because it is live. It must not compare the two.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from k8s_execution.domain.facts import PodFact
from k8s_execution.domain.naming import COLLECTOR_CONTAINER
from k8s_execution.evidence.collect import run_agent
from k8s_execution.evidence.source import AGENT
from k8s_execution.ports.cluster import Exec, ExecFailed, LogGone


class OutputFile:
    """Reads `output/log` of steps."""

    def __init__(self, exec_: Exec) -> None:
        """`exec_` reaches the pods."""
        self._exec = exec_

    async def read(self, pod: PodFact, offset: int) -> AsyncGenerator[bytes, None]:
        """Chunks from `offset` to the present end. ExecFailed if cut; LogGone if the step printed more than is kept."""
        argv = [AGENT, "cat", "--offset", str(offset)]
        async with self._exec.exec(pod.namespace, pod.name, COLLECTOR_CONTAINER, argv) as stream:
            async for chunk in stream.stdout():
                yield chunk
            code, _ = await stream.wait()
        if code != 0:
            raise ExecFailed(f"the step's output file cannot be read (exit code {code})")
        try:
            record = json.loads(await run_agent(self._exec, pod, "stat"))["record"]
            truncated = record is not None and record["output_truncated"]
            printed = int(record["output_bytes"]) if truncated else None
        except (ValueError, KeyError, TypeError) as error:
            raise ExecFailed("the agent's status cannot be read") from error
        if truncated:
            raise LogGone("the step printed more than its output file holds", printed=printed)

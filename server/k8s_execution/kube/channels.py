"""The remote-command sub-protocol: frames of a WebSocket to and from meanings; pure.

Kubernetes' `client-go/tools/remotecommand` and `apimachinery/pkg/util/remotecommand/constants.go`: the first byte of
each binary message names the channel; the last word on the error channel is a Status. It must not touch sockets.
"""

from __future__ import annotations

import json
from typing import Any

from k8s_execution.ports.cluster import ExecFailed

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR = 0, 1, 2, 3
STDIN_CHUNK = 32 * 1024


def stdin_frames(data: bytes) -> list[bytes]:
    """Messages that carry `data` on standard input."""
    view = memoryview(data)
    return [bytes((STDIN,)) + view[i : i + STDIN_CHUNK] for i in range(0, len(view), STDIN_CHUNK)]


def exit_code(status: bytes) -> int:
    """The exit code that the Status on the error channel tells; ExecFailed if the command did not run to an end."""
    try:
        document: Any = json.loads(status)
    except ValueError as error:
        raise ExecFailed("the exec's status is unreadable") from error
    if not isinstance(document, dict):
        raise ExecFailed("the exec's status is unreadable")
    if document.get("status") == "Success":
        return 0
    message = str(document.get("message") or "the exec failed without a message")
    if document.get("reason") != "NonZeroExitCode":
        raise ExecFailed(message)
    details = document.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    for cause in causes if isinstance(causes, list) else ():
        text = str(cause.get("message")) if isinstance(cause, dict) and cause.get("reason") == "ExitCode" else ""
        if text.isascii() and text.isdigit():
            return int(text)
    raise ExecFailed(f"the exec's status names no exit code: {message}")

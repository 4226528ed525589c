"""What the API server's refusals mean; pure.

Turns a status code and a body into one of two exceptions: `StatusError` (a `Refused`: for good) or `PassingFault` (an
`Unreachable`: may be tried again). It must not send anything. Apart so that the table of meanings is tested as data.
Status bodies are described in Kubernetes' `apimachinery/pkg/apis/meta/v1/types.go`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from k8s_execution.ports.cluster import Refused, Unreachable

Json = dict[str, Any]
"""A JSON object."""

_MESSAGE_LIMIT = 2000
_PASSING = {401, 408, 425, 429}


class StatusError(Refused):
    """A refusal for good, with the causes that its details name."""

    def __init__(self, status: int, reason: str, message: str, causes: tuple[str, ...] = ()) -> None:
        """Hold what the Status said; `causes` are the reasons of `details.causes`."""
        super().__init__(status, reason, message)
        self.causes = causes


class PassingFault(Unreachable):
    """No answer, or one that says "later".

    `status` is 0 where none came. `perhaps_executed` is False only where the request surely had no effect.
    """

    def __init__(
        self, message: str, *, status: int = 0, retry_after: float | None = None, perhaps_executed: bool = True
    ) -> None:
        """Hold what decides whether and when to try again."""
        super().__init__(message)
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.perhaps_executed = perhaps_executed


def fault(status: int, headers: Mapping[str, str], body: bytes) -> StatusError | PassingFault:
    """The exception for an answer that is not 2xx."""
    document = _status(body)
    message = str(document.get("message") or "")[:_MESSAGE_LIMIT] or _text(body) or f"HTTP {status}"
    reason = str(document.get("reason") or "")
    details = document.get("details")
    details = details if isinstance(details, dict) else {}
    if status in _PASSING or status >= 500 or status < 400:
        return PassingFault(
            f"HTTP {status}: {message}",
            status=status,
            retry_after=_retry_after(headers, details),
            # 429 and 401 are answered before the request is looked at (apiserver/pkg/server/filters).
            perhaps_executed=status not in {401, 429},
        )
    return StatusError(status, reason, message, _causes(details))


def json_object(body: bytes) -> Json:
    """A body as JSON object; PassingFault if it is none (a proxy's page, a cut answer)."""
    try:
        document = json.loads(body)
    except ValueError as error:
        raise PassingFault("the answer is not JSON") from error
    if not isinstance(document, dict):
        raise PassingFault("the answer is not a JSON object")
    return document


def _status(body: bytes) -> Json:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) and document.get("kind") == "Status" else {}


def _text(body: bytes) -> str:
    return body[:_MESSAGE_LIMIT].decode("utf-8", "replace").strip()


def _causes(details: Mapping[str, Any]) -> tuple[str, ...]:
    causes = details.get("causes")
    if not isinstance(causes, list):
        return ()
    return tuple(str(c.get("reason") or "") for c in causes if isinstance(c, dict))


def _retry_after(headers: Mapping[str, str], details: Mapping[str, Any]) -> float | None:
    """Seconds from the Retry-After header (the API server sends whole seconds, never a date) or the details."""
    for value in (headers.get("Retry-After"), details.get("retryAfterSeconds")):
        try:
            seconds = float(value) if value is not None else -1.0
        except (TypeError, ValueError):
            continue
        if seconds >= 0:
            return seconds
    return None

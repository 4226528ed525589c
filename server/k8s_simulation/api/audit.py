"""The audit log of the simulated API server: one JSON line a request, as `audit.k8s.io/v1` Events of level Metadata.

Written when the answer is complete (stage ResponseComplete) and, so that a watch or a follow shows before its end, when
a request came (RequestReceived). It must not hold bodies, and no query of an exec, whose command may hold a secret.
Apart from `server` because it is a format of its own (k8s.io/apiserver/pkg/apis/audit/v1/types.go).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

from aiohttp import web

from k8s_simulation.api.requests import ApiRequest
from k8s_simulation.api.storage import encode


@dataclass(frozen=True, slots=True)
class Audited:
    """One request that is being answered."""

    id: str
    received: str
    request: web.Request
    api: ApiRequest
    user: str


class AuditLog:
    """Appends to a file that stays open; every line is written at once, so that a killed cluster leaves a whole log."""

    def __init__(self, file: IO[bytes], clock: Callable[[], float]) -> None:
        """`file` is unbuffered and the caller's to close; `clock` gives Unix time."""
        self._file = file
        self._clock = clock

    def began(self, request: web.Request, api: ApiRequest, user: str) -> Audited:
        """A request came."""
        audited = Audited(str(uuid.uuid4()), self._now(), request, api, user)
        self._write(audited, "RequestReceived", None)
        return audited

    def ended(self, audited: Audited, code: int) -> None:
        """It was answered with this HTTP status."""
        self._write(audited, "ResponseComplete", code)

    def _write(self, audited: Audited, stage: str, code: int | None) -> None:
        api, request = audited.api, audited.request
        reference = {
            "resource": api.resource.plural,
            "namespace": api.namespace,
            "name": api.name,
            "apiGroup": api.resource.group,
            "apiVersion": api.resource.version,
            "subresource": api.subresource,
        }
        event: dict[str, Any] = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": audited.id,
            "stage": stage,
            "requestURI": request.path if api.subresource == "exec" else request.path_qs,
            "verb": api.verb,
            "user": {"username": audited.user},
            "sourceIPs": [request.remote or ""],
            "userAgent": request.headers.get("User-Agent", ""),
            "objectRef": {name: value for name, value in reference.items() if value},
            "requestReceivedTimestamp": audited.received,
            "stageTimestamp": self._now(),
        }
        if code is not None:
            event["responseStatus"] = {"metadata": {}, "code": code}
        self._file.write(encode(event) + b"\n")

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

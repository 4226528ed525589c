"""A stable fingerprint of a request's meaning, for idempotency: same key and same fingerprint is the same call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from k8s_execution.domain.encoding import encode
from k8s_execution.domain.plan import Specification


def fingerprint(specification: Specification, secrets: Mapping[str, str]) -> str:
    """SHA-256 over the canonical JSON of the specification and the secret values (which only enter as a hash)."""
    text = json.dumps([encode(specification), dict(secrets)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

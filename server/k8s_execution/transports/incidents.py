"""The answer to any exception that left a call; unexpected ones are logged under a name that the caller gets too."""

from __future__ import annotations

import logging
import secrets

from google.rpc import status_pb2

from k8s_execution.transports import codes

log = logging.getLogger(__name__)


def answer(error: Exception, where: str) -> status_pb2.Status:
    """The status for an exception out of the call `where`; no text of an unexpected one is in it."""
    found = codes.status(error)
    if found is not None:
        return found
    name = secrets.token_hex(8)
    log.error("incident %s in %s", name, where, exc_info=error)
    return codes.incident(name)

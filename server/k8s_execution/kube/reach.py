"""A cluster that cannot be reached, in words for people: where it was looked for, what is wrong, what to do. Pure.

The network library's own texts name its classes; they stay in the log's traceback as the cause. No text quotes a
query, which may hold a command, nor a credential.
"""

from __future__ import annotations

import os
import re
import socket
import ssl

import aiohttp

from k8s_execution.kube.kubeconfig import KubeConfig
from k8s_execution.ports.cluster import Unreachable

_QUERY = re.compile(r"\?\S*")


def words(error: BaseException) -> str:
    """What a network error means."""
    match error:
        case aiohttp.ClientConnectorError():
            return _cannot_connect(error.os_error)
        case aiohttp.ServerDisconnectedError():
            return "the server closed the connection"
        case TimeoutError():
            return "no answer in time"
        case _:
            text = _QUERY.sub("", str(error))
            return f"{type(error).__name__}: {text}" if text else type(error).__name__


def at_start(config: KubeConfig, fault: Unreachable) -> Unreachable:
    """The same fault, with the place where the cluster was named and the way out: nothing is known of it yet."""
    where = f"context {config.context!r}" if config.context else "the cluster"
    named = f"{where} of {config.file}" if config.file else f"{where}, {config.server}"
    look = f"kubectl --kubeconfig {config.file} --context {config.context} version" if config.file else ""
    ask = f"is it running, and is that its address? `{look}` asks the same" if look else "is that its address?"
    return Unreachable(f"{named}: {fault}; {ask}")


def _cannot_connect(error: OSError) -> str:
    """The system's or OpenSSL's reason, without asyncio's words around it."""
    match error:
        case ssl.SSLCertVerificationError():
            said = f"certificate verify failed: {error.verify_message}"
            return f"its certificate is not trusted ({said}); see certificate-authority in the kubeconfig"
        case ssl.SSLError():
            return f"TLS does not come about ({error.reason or 'unknown'})"
        case socket.gaierror():
            return f"its name cannot be resolved ({error.strerror})"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number).lower()
        case _:
            return _QUERY.sub("", str(error))

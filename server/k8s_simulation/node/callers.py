"""Who may ask the node's HTTP side for logs and commands.

Two ways, as kubelets have them. The simulated API server and its node share a token from the start. On a real cluster
the caller shows a client certificate, and the API server is asked by SubjectAccessReview whether that user may use
`nodes/proxy` of this node (pkg/kubelet/server/auth.go; every path that we serve maps to `proxy`). Must not serve
anything itself.
"""

from __future__ import annotations

import hmac
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from k8s_simulation.node.kube import ApiError, ApiUnreachable, KubeClient

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
"""What the API server is asked about; any other method (HEAD) is asked about without a verb, as a kubelet does."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of one request: its method, its headers, and the peer's verified certificate (ssl's dictionary)."""

    method: str
    headers: Mapping[str, str]
    certificate: Mapping[str, Any] | None


class Callers(Protocol):
    """Decides about requests."""

    def prepare(self, context: ssl.SSLContext) -> None:
        """Set what the server asks of its peers in the TLS handshake."""
        ...

    async def refusal(self, caller: Caller) -> tuple[int, str] | None:
        """Status and text of the refusal, or None for a caller who may."""
        ...


class SharedToken:
    """Callers with one token."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    def prepare(self, context: ssl.SSLContext) -> None:
        """Nothing is asked: the token is enough."""

    async def refusal(self, caller: Caller) -> tuple[int, str] | None:
        """401 for any other token."""
        given = caller.headers.get("Authorization", "").encode()
        return None if hmac.compare_digest(given, self._expected) else (401, "Unauthorized")


class ReviewedCertificates:
    """Callers with a certificate of this authority whom the API server lets."""

    def __init__(self, client: KubeClient, node: str, authority: Path) -> None:
        self._client, self._node, self._authority = client, node, authority

    def prepare(self, context: ssl.SSLContext) -> None:
        """Ask for a certificate; one of another authority fails the handshake."""
        context.load_verify_locations(cafile=str(self._authority))
        context.verify_mode = ssl.CERT_OPTIONAL

    async def refusal(self, caller: Caller) -> tuple[int, str] | None:
        """401 without a certificate, 403 if the API server says no, 500 if it cannot be asked."""
        if not caller.certificate:
            return 401, "Unauthorized"
        user, groups = identity(caller.certificate)
        verb = VERBS.get(caller.method, "")
        where = {"verb": verb, "version": "v1", "resource": "nodes", "subresource": "proxy", "name": self._node}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                  "spec": {"user": user, "groups": groups, "resourceAttributes": where}}  # fmt: skip
        try:
            answer = await self._client.create(REVIEWS, review)
        except (ApiError, ApiUnreachable) as error:
            log.warning("a caller could not be reviewed: %s", error)
            return 500, "Authorization error"
        if (answer.get("status") or {}).get("allowed") is True:
            return None
        return 403, f"Forbidden (user={user}, verb={verb}, resource=nodes, subresource=proxy)"


def identity(certificate: Mapping[str, Any]) -> tuple[str, list[str]]:
    """User and groups of a client certificate: common name and organisations, as everywhere in Kubernetes."""
    parts = [pair for names in certificate.get("subject") or () for pair in names]
    user = next((value for key, value in parts if key == "commonName"), "")
    return user, [*(value for key, value in parts if key == "organizationName"), "system:authenticated"]

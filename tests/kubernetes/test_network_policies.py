"""Network policies: what they forbid is blocked from the first packet, what they allow passes.

Only on a cluster that enforces them; the simulated one does not, by intent (docs/simulation.md).
"""

from __future__ import annotations

from typing import Any

import pytest

from support.kubeapi import Kube, Object
from support.kubeobjects import pod

SERVE = "mkdir /tmp/www && echo served >/tmp/www/page && exec httpd -f -p 8080 -h /tmp/www"
FETCH = "exec 2>/dev/null; timeout 3 wget -qO- http://server:8080/page || echo blocked"


@pytest.fixture(autouse=True)
def enforced(simulated: bool) -> None:
    """Leave these cases to a cluster that can show them."""
    if simulated:
        pytest.skip(
            "the simulated cluster does not enforce network policies; make test-cluster runs this on a real one"
        )


def policy(namespace: str, name: str, selected: dict[str, str], **rules: Any) -> Object:
    """A NetworkPolicy for the pods with these labels; the rules' keys decide its types."""
    types = [key.capitalize() for key in rules]
    spec = {"podSelector": {"matchLabels": selected}, "policyTypes": types} | {k: v for k, v in rules.items() if v}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec}  # fmt: skip


DNS = {"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
       "ports": [{"port": 53, "protocol": "UDP"}]}  # fmt: skip
TO_SERVER = {"to": [{"podSelector": {"matchLabels": {"app": "server"}}}]}
FROM_FRIENDS = {"from": [{"podSelector": {"matchLabels": {"friend": "yes"}}}]}


def ready(obj: Object) -> bool:
    """True if the pod's condition Ready holds."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in obj["status"].get("conditions", []))


async def serve(kube: Kube, namespace: str) -> None:
    """A pod that answers on port 8080 behind a service of the name `server`."""
    server = pod(namespace, "sh", "-c", SERVE, name="server")
    server["metadata"]["labels"] = {"app": "server"}
    await kube.created(server)
    spec = {"selector": {"app": "server"}, "ports": [{"port": 8080}]}
    metadata = {"name": "server", "namespace": namespace}
    await kube.created({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    await kube.until("pods", namespace, "server", ready)


async def fetch(kube: Kube, namespace: str, name: str, **labels: str) -> str:
    """What a fresh pod with these labels gets from the server, with the first packets it ever sends."""
    client = pod(namespace, "sh", "-c", FETCH, name=name)
    client["metadata"]["labels"] = labels
    await kube.created(client)
    await kube.until("pods", namespace, name, lambda o: o["status"]["phase"] == "Succeeded")
    return str((await kube.log(namespace, name)).body).strip()


async def test_without_a_policy_everything_passes(kube: Kube, namespace: str) -> None:
    await serve(kube, namespace)
    assert await fetch(kube, namespace, "client") == "served"


async def test_egress_is_blocked_from_the_first_packet_unless_allowed(kube: Kube, namespace: str) -> None:
    await kube.created(policy(namespace, "deny", {}, egress=[]))
    await kube.created(policy(namespace, "names", {}, egress=[DNS]))
    await kube.created(policy(namespace, "allow", {"may": "yes"}, egress=[TO_SERVER]))
    await serve(kube, namespace)
    assert await fetch(kube, namespace, "no") == "blocked"
    assert await fetch(kube, namespace, "yes", may="yes") == "served"


async def test_ingress_is_blocked_from_the_first_packet_unless_allowed(kube: Kube, namespace: str) -> None:
    await kube.created(policy(namespace, "deny", {"app": "server"}, ingress=[]))
    await kube.created(policy(namespace, "friends", {"app": "server"}, ingress=[FROM_FRIENDS]))
    await serve(kube, namespace)
    assert await fetch(kube, namespace, "stranger") == "blocked"
    assert await fetch(kube, namespace, "friend", friend="yes") == "served"

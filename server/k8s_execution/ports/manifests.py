"""Manifests: an execution in, Kubernetes objects out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.faults import Problem
from k8s_execution.domain.plan import Specification
from k8s_execution.ports.cluster import Body

FORBIDDEN_EGRESS = (
    "127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10", "fd00:ec2::254/128", "::ffff:0:0/96",
)  # fmt: skip
"""Loopback, link-local (cloud metadata services live there, also on the IPv6 address) and IPv4 in disguise."""


@dataclass(frozen=True, slots=True)
class InstallationSettings:
    """What the installation, not the plan, decides about manifests.

    `dns_namespace` and `dns_pod_labels` (empty: any pod) or `dns_cidrs` say who answers DNS, on `dns_ports`;
    `extra_egress` is (cidr, ports) that every environment may reach; `forbidden_egress` are the networks that no plan
    may ask for (add those of nodes, pods and services); `extra_env` goes into every container. `pod_security_version`
    is `latest` or `v1.N`; `termination_grace_seconds` is how long an application may take to stop. `environment_role`
    names the ClusterRole that is bound to `service_account` (namespace/name) in every namespace; empty where the
    service has its rights otherwise.
    """

    installation: str
    agent_image: str
    dns_namespace: str = "kube-system"
    dns_pod_labels: tuple[tuple[str, str], ...] = (("k8s-app", "kube-dns"),)
    dns_cidrs: tuple[str, ...] = ()
    dns_ports: tuple[int, ...] = (53,)
    extra_egress: tuple[tuple[str, tuple[int, ...]], ...] = ()
    forbidden_egress: tuple[str, ...] = FORBIDDEN_EGRESS
    extra_env: Mapping[str, str] | None = None
    ttl_label_minutes: bool = True
    pod_security_version: str = "latest"
    termination_grace_seconds: int = 5
    environment_role: str = ""
    service_account: str = ""


QUOTA_ROOM = "quota.room"
"""The rule of a problem that says only that the caller's quota is too small: such a plan can still be summed up."""


@dataclass(frozen=True, slots=True)
class QuotaSum:
    """What a plan needs at once of one resource of its namespace's quota, and what it gets, as quantities.

    `parts` say how `needed` comes about, one text each.
    """

    resource: str
    needed: str
    allowed: str
    sufficient: bool
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Review:
    """What there is to say of a sound plan: its sums, and warnings about what is allowed and likely not meant."""

    quota: tuple[QuotaSum, ...]
    warnings: tuple[Problem, ...]


class ManifestSource(Protocol):
    """Renders the objects of one execution; pure, so the same call gives the same objects."""

    def namespace(self, execution: Execution) -> Body:
        """The namespace, with all that cleanup needs."""
        ...

    def access(self, execution: Execution) -> Sequence[Body]:
        """What gives the service its own rights in the namespace, made before everything else in it; may be empty."""
        ...

    def foundation(self, execution: Execution, secrets: Mapping[str, str]) -> Sequence[Body]:
        """Quota, limits, policies, service account, secret, config maps: independent of each other."""
        ...

    def application(self, execution: Execution, name: str) -> Sequence[Body]:
        """The Deployment of one application, and its Service where it has ports: independent of each other."""
        ...

    def step(self, execution: Execution, key: StepKey) -> Body:
        """The Job of one try of one step."""
        ...


class PlanChecker(Protocol):
    """Judges a specification before anything exists of it."""

    def prepare(
        self, specification: Specification, secrets: Mapping[str, str]
    ) -> tuple[Specification, Sequence[Problem]]:
        """Parameters applied, and every problem that the fields' own rules cannot see."""
        ...

    def review(self, specification: Specification) -> Review:
        """Sums and warnings of a prepared plan that has no problems but with its quota's room."""
        ...

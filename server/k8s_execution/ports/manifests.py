"""Manifests: an execution in, Kubernetes objects out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.faults import Problem
from k8s_execution.domain.plan import Specification

Body = Mapping[str, Any]
"""A Kubernetes object as JSON data."""


@dataclass(frozen=True, slots=True)
class InstallationSettings:
    """What the installation, not the plan, decides about manifests. DNS peers: (cidr or "", ports)."""

    installation: str
    agent_image: str
    dns_namespace: str = "kube-system"
    dns_cidrs: tuple[str, ...] = ()
    dns_ports: tuple[int, ...] = (53,)
    extra_egress: tuple[tuple[str, tuple[int, ...]], ...] = ()
    extra_env: Mapping[str, str] | None = None
    ttl_label_minutes: bool = True


class ManifestSource(Protocol):
    """Renders the objects of one execution; pure, so the same call gives the same objects."""

    def namespace(self, execution: Execution) -> Body:
        """The namespace, with all that cleanup needs."""
        ...

    def foundation(self, execution: Execution, secrets: Mapping[str, str]) -> Sequence[Body]:
        """Quota, limits, policies, service account, secret, config maps, services: independent of each other."""
        ...

    def application(self, execution: Execution, name: str) -> Sequence[Body]:
        """The Deployment of one application."""
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

"""From an execution to the Kubernetes objects of its environment.

Fulfils `ports.manifests.ManifestSource`: values go into templates, what comes out is labelled by one function and
checked against the allow-list, so neither a plan nor a template can create more than `allowed` names. The same call
gives the same objects; nothing here reads a clock or the cluster. References are replaced before (`references`).
It must not judge plans: that is `check`.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from k8s_execution.domain import naming
from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.lifecycle import Phase
from k8s_execution.domain.plan import Application, EgressRule
from k8s_execution.manifests import pods, sizing
from k8s_execution.manifests.allowed import check_object
from k8s_execution.manifests.templates import TemplateRefused, Templates
from k8s_execution.ports.cluster import Body
from k8s_execution.ports.manifests import InstallationSettings

Json = Any

COLLECTION_SECONDS = 900
"""Last resort for pulling images, sending the source and fetching evidence, beside a step's own timeout."""

AGENT_GRACE_MS = 3_000
"""Between SIGTERM and SIGKILL of a step's command; less than the pod's own grace, so that a record is left."""

STEP_GRACE_SECONDS = 5
MINUTE_MS = 60_000


class Manifests:
    """Renders the objects of executions for one installation. TemplateRefused where a template is at fault."""

    def __init__(self, settings: InstallationSettings, templates: Templates) -> None:
        """Take the installation's decisions and the loaded templates."""
        self._settings = settings
        self._templates = templates

    def namespace(self, execution: Execution) -> Body:
        """The namespace, with all that cleanup needs."""
        policy = execution.specification.policy
        minutes = str(-(-policy.ttl_ms // MINUTE_MS)) if self._settings.ttl_label_minutes else ""
        values = {
            "execution_id": execution.id,
            "ttl_minutes": minutes,
            "pod_security_version": self._settings.pod_security_version,
            "expires_at": _expiry(execution),
        }
        body = self._render("namespace", execution, values)
        if values["expires_at"] and naming.ANNOTATION_EXPIRES_AT not in body["metadata"].get("annotations", {}):
            raise TemplateRefused(f"namespace.yaml: the annotation {naming.ANNOTATION_EXPIRES_AT} is missing")
        return body

    def access(self, execution: Execution) -> Sequence[Body]:
        """The RoleBinding of the service's own account, where the installation names a role for it; else nothing."""
        if not self._settings.environment_role:
            return []
        namespace, _, name = self._settings.service_account.partition("/")
        account = {"namespace": namespace, "name": name}
        body = self._render("rolebinding", execution, {"role": self._settings.environment_role, "account": account})
        subjects = [{"kind": "ServiceAccount", **account}]
        if body["roleRef"]["name"] != self._settings.environment_role or body["subjects"] != subjects:
            raise TemplateRefused("rolebinding.yaml: binds another role, or binds it to somebody else")
        return [body]

    def foundation(self, execution: Execution, secrets: Mapping[str, str]) -> Sequence[Body]:
        """Quota, limits, policy, service account, secret, config map: independent of each other."""
        specification = execution.specification
        environment = specification.environment
        found = [
            self._render("resourcequota", execution, {"hard": sizing.hard(specification)}),
            self._render("limitrange", execution, {"limits": sizing.limits(specification)}),
            self._render("networkpolicies", execution, self._network(environment.egress)),
            self._render("serviceaccount", execution, {}),
        ]
        if environment.secrets:
            data = {name: _base64(secrets[name]) for name in environment.secrets}
            found.append(self._render("secret", execution, {"data": data}))
        if environment.files:
            data = {pods.file_key(i): f.content for i, f in enumerate(environment.files)}
            found.append(self._render("configmap", execution, {"data": data}))
        return found

    def application(self, execution: Execution, name: str) -> Sequence[Body]:
        """The Deployment of one application, and its Service where it has ports; KeyError if there is no such.

        The Service is not made with the foundation, because it is counted against the quota, which answers "status
        unknown" until the quota controller has seen it.
        """
        specification = execution.specification
        environment = specification.environment
        application = {a.name: a for a in environment.applications}[name]
        mounted = pods.application_volumes(environment, application)
        values = {
            "application": _plain(application),
            "selector": self._selector(execution, application),
            "user": pods.user_of(application.image, application.security.run_as_user),
            "env": pods.application_env(execution, application, self._settings.extra_env or {}),
            "probe": pods.probe(application.readiness),
            "resources": pods.resources(application.resources),
            "volumes": mounted.volumes,
            "mounts": mounted.mounts,
            "progress_deadline_seconds": pods.seconds(specification.policy.provisioning_timeout_ms),
            "termination_grace_seconds": self._settings.termination_grace_seconds,
        }
        names = ("service", "deployment") if application.ports else ("deployment",)
        return [self._render(name, execution, values) for name in names]

    def step(self, execution: Execution, key: StepKey) -> Body:
        """The Job of one try of one step; KeyError if the plan has no such step."""
        step = execution.spec_of(key)
        mounted = pods.step_volumes(execution.specification.environment, step)
        longest = pods.seconds(pods.step_timeout_ms(execution, step) + AGENT_GRACE_MS) + COLLECTION_SECONDS
        values = {
            "job": naming.job(key),
            "labels": step_labels(key),
            "deadline_seconds": longest,
            "hold": f"{longest}s",
            "user": pods.user_of(step.image),
            "image": step.image,
            "agent_image": self._settings.agent_image,
            "agent_resources": pods.resources(sizing.COLLECTOR),
            "env": pods.step_env(execution, key, self._settings.extra_env or {}, AGENT_GRACE_MS),
            "resources": pods.resources(step.resources),
            "volumes": mounted.volumes,
            "mounts": mounted.mounts,
            "termination_grace_seconds": STEP_GRACE_SECONDS,
        }
        return self._render("job", execution, values)

    def _selector(self, execution: Execution, application: Application) -> dict[str, str]:
        return {naming.LABEL_EXECUTION: execution.id, naming.LABEL_APPLICATION: application.name}

    def _network(self, egress: Sequence[EgressRule]) -> dict[str, Json]:
        settings = self._settings
        peers: list[Json] = [{"ipBlock": {"cidr": cidr}} for cidr in settings.dns_cidrs]
        if settings.dns_namespace:
            peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.dns_namespace}}}
            if settings.dns_pod_labels:
                peer["podSelector"] = {"matchLabels": dict(settings.dns_pod_labels)}
            peers.append(peer)
        rules = [(r.cidr, r.ports) for r in egress] + list(settings.extra_egress)
        return {
            "dns_peers": peers,
            "dns_ports": settings.dns_ports,
            "egress": [
                {"cidr": cidr, "ports": ports, "except": _holes(cidr, settings.forbidden_egress)}
                for cidr, ports in rules
            ],
        }

    def _render(self, name: str, execution: Execution, values: Mapping[str, Json]) -> Body:
        objects = self._templates.render(f"{name}.yaml", {"namespace": execution.namespace, **values})
        if len(objects) != 1:
            raise TemplateRefused(f"{name}.yaml: makes {len(objects)} objects instead of one")
        body = label(objects[0], self._labels(execution))
        found = check_object(body, execution.namespace)
        if found:
            raise TemplateRefused(f"{name}.yaml: {'; '.join(found[:5])}")
        return body

    def _labels(self, execution: Execution) -> dict[str, str]:
        return {
            naming.LABEL_EXECUTION: execution.id,
            naming.LABEL_INSTALLATION: self._settings.installation,
            naming.LABEL_PROJECT: naming.label_value(execution.specification.project),
            naming.LABEL_MANAGED_BY: naming.MANAGED_BY,
        }


def label(body: dict[str, Json], labels: Mapping[str, str]) -> dict[str, Json]:
    """Put our labels on an object and on its pod template, if it has one; they win over the template's. In place."""
    spec = body.get("spec")
    template = spec.get("template") if isinstance(spec, dict) else None
    for holder in (body, template):
        if isinstance(holder, dict):
            metadata = holder.setdefault("metadata", {})
            metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    return body


def step_labels(key: StepKey) -> dict[str, str]:
    """The labels that say which try of which step a pod is."""
    return {
        naming.LABEL_STEP_KIND: key.kind.value,
        naming.LABEL_STEP: key.name,
        naming.LABEL_SHARD: str(key.shard),
        naming.LABEL_ATTEMPT: str(key.attempt),
    }


def _plain(application: Application) -> dict[str, Json]:
    """What the templates read of an application; command and args as Kubernetes gives them back unchanged."""
    return {
        "name": application.name,
        "image": application.image,
        "command": [pods.verbatim(word) for word in application.command],
        "args": [pods.verbatim(word) for word in application.args],
        "working_dir": application.working_dir,
        "replicas": application.replicas,
        "ports": [asdict(port) for port in application.ports],
        "read_only_root": not application.security.writable_root,
    }


def _holes(cidr: str, forbidden: Sequence[str]) -> list[str]:
    """The forbidden networks that lie inside a wider one; they are cut out of it."""
    wide = ipaddress.ip_network(cidr)
    inner = (ipaddress.ip_network(text) for text in forbidden)
    return [str(n) for n in inner if n.version == wide.version and n != wide and n.subnet_of(wide)]  # type: ignore[arg-type]


def _expiry(execution: Execution) -> str:
    """RFC 3339: the TTL from entering PROVISIONING on, where the namespace is made; empty for a mere preview."""
    born = execution.entered.get(Phase.PROVISIONING, execution.created_at)
    if not born:
        return ""
    microseconds = born + execution.specification.policy.ttl_ms * 1000
    return datetime.fromtimestamp(-(-microseconds // 1_000_000), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()

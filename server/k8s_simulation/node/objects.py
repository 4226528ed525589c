"""What a pod refers to: its ConfigMaps and Secrets read from the API, its environment and its volumes resolved.

The rules for environments are kubelet's (pkg/kubelet/kubelet_pods.go makeEnvironmentVariables). Must not start
anything. A reference that cannot be resolved is a `ConfigProblem` whose text is the one kubelet uses.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from k8s_simulation.node.kube import ApiError, KubeClient
from k8s_simulation.node.references import container_resource, expand, pod_field

Object = dict[str, Any]


class ConfigProblem(Exception):
    """A container cannot be configured (kubelet's CreateContainerConfigError); the message is kubelet's."""


@dataclass(slots=True)
class References:
    """Reads the ConfigMaps and Secrets of one pod, each once per look-up round."""

    client: KubeClient
    pod: Object
    allocatable: Mapping[str, str]
    _seen: dict[tuple[str, str], dict[str, bytes] | None] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """The pod's namespace."""
        return str(self.pod["metadata"]["namespace"])

    def forget(self) -> None:
        """Read everything afresh from now on (a container starts again, a missing object may have come)."""
        self._seen.clear()

    async def data(self, kind: str, name: str) -> dict[str, bytes] | None:
        """The data of a Secret (`secrets`) or ConfigMap (`configmaps`), or None when there is no such object."""
        key = (kind, name)
        if key not in self._seen:
            try:
                found = await self.client.get(f"/api/v1/namespaces/{self.namespace}/{kind}/{name}")
                self._seen[key] = _content(found)
            except ApiError as error:
                if error.status != 404:
                    raise
                self._seen[key] = None
        return self._seen[key]

    async def value(self, kind: str, reference: Object) -> bytes | None:
        """One key of a Secret or ConfigMap; None when it is absent and optional. Raises ConfigProblem."""
        word = "secret" if kind == "secrets" else "configmap"
        data = await self.data(kind, reference["name"])
        optional = bool(reference.get("optional"))
        if data is None:
            if optional:
                return None
            raise ConfigProblem(f'{word} "{reference["name"]}" not found')
        if reference["key"] not in data:
            if optional:
                return None
            label = "Secret" if kind == "secrets" else "ConfigMap"
            raise ConfigProblem(f"couldn't find key {reference['key']} in {label} {self.namespace}/{reference['name']}")
        return data[reference["key"]]

    async def environment(self, container: Object, services: Mapping[str, str]) -> dict[str, str]:
        """The container's variables: service links, then envFrom, then env, each able to use those before it."""
        result: dict[str, str] = {}
        for source in container.get("envFrom") or []:
            result |= await self._all_of(source)
        known = {**services, **result}
        for entry in container.get("env") or []:
            name = entry["name"]
            if entry.get("valueFrom"):
                value = await self._value_from(entry["valueFrom"], container["name"])
                if value is None:
                    continue
            else:
                value = expand(str(entry.get("value") or ""), known)
            known[name] = result[name] = value
        return {**services, **result}

    async def _all_of(self, source: Object) -> dict[str, str]:
        kind, key = ("secrets", "secretRef") if source.get("secretRef") else ("configmaps", "configMapRef")
        reference = source[key]
        data = await self.data(kind, reference["name"])
        if data is None:
            if reference.get("optional"):
                return {}
            raise ConfigProblem(f'{"secret" if kind == "secrets" else "configmap"} "{reference["name"]}" not found')
        prefix = source.get("prefix") or ""
        return {prefix + name: value.decode("utf-8", "surrogateescape") for name, value in data.items()}

    async def _value_from(self, source: Object, container: str) -> str | None:
        if reference := source.get("fieldRef"):
            value = pod_field(self.pod, reference["fieldPath"])
            if value is None:
                raise ConfigProblem(f"unsupported fieldPath: {reference['fieldPath']}")
            return value
        if reference := source.get("resourceFieldRef"):
            value = container_resource(self.pod, reference, container, self.allocatable)
            if value is None:
                raise ConfigProblem(f"unsupported container resource: {reference['resource']}")
            return value
        for key, kind in (("secretKeyRef", "secrets"), ("configMapKeyRef", "configmaps")):
            if reference := source.get(key):
                content = await self.value(kind, reference)
                return None if content is None else content.decode("utf-8", "surrogateescape")
        raise ConfigProblem("unsupported valueFrom")


def _content(found: Object) -> dict[str, bytes]:
    """The bytes of a Secret's or ConfigMap's keys."""
    decoded = {k: base64.b64decode(v) for k, v in (found.get("binaryData") or {}).items()}
    data = found.get("data") or {}
    if found.get("kind") == "Secret":
        return {k: base64.b64decode(v) for k, v in data.items()}
    return {k: str(v).encode() for k, v in data.items()} | decoded

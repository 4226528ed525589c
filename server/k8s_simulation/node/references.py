"""Pure rules for the values a pod spec may hold: variable references, quantities, field paths, image names.

Must not read the clock, the disk or the network: these rules are Kubernetes' own and are tested as tables. Sources are
named per function (paths are those of the Kubernetes repository).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

_SUFFIXES: dict[str, Fraction] = {
    "": Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    **{s: Fraction(1000 ** (i + 1)) for i, s in enumerate("kMGTPE")},
    **{s: Fraction(1024 ** (i + 1)) for i, s in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))},
}
_QUANTITY = re.compile(r"([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)(?:[eE]([+-]?\d+)|(n|u|m|k|Ki|[MGTPE]i?|))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_HOST = re.compile(r"[A-Za-z0-9.-]+(?::\d+)?")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)`; `$$` is a literal dollar; an unknown name stays as written.

    Rule: third_party/forked/golang/expansion.
    """
    out: list[str] = []
    i = 0
    while i < len(text):
        if text[i] != "$" or i + 1 == len(text):
            out.append(text[i])
            i += 1
        elif text[i + 1] == "$":
            out.append("$")
            i += 2
        elif text[i + 1] == "(" and (end := text.find(")", i + 2)) >= 0:
            name = text[i + 2 : end]
            out.append(variables.get(name, f"$({name})"))
            i = end + 1
        else:
            out.append(text[i : i + 2])
            i += 2
    return "".join(out)


def quantity(text: str | float) -> Fraction:
    """A resource quantity as an exact number: `250m` is 1/4, `64Mi` is 67108864.

    Raises ValueError for what Kubernetes' quantity syntax does not allow.
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f"not a resource quantity: {text!r}")
    number, exponent, suffix = match.groups()
    value = Fraction(number)
    return value * Fraction(10) ** int(exponent) if exponent else value * _SUFFIXES[suffix]


def ceil(value: Fraction) -> int:
    """The smallest whole number that is not below the value (how Kubernetes rounds quantities)."""
    return -(-value.numerator // value.denominator)


def pod_field(pod: Mapping[str, Any], path: str) -> str | None:
    """The value of a downward API `fieldRef` (pkg/fieldpath), or None when the path is not supported."""
    metadata: Mapping[str, Any] = pod["metadata"]
    if match := _SUBSCRIPT.fullmatch(path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    if path in {"metadata.labels", "metadata.annotations"}:
        pairs = (metadata.get(path.removeprefix("metadata.")) or {}).items()
        return "\n".join(f'{key}="{_escaped(str(value))}"' for key, value in sorted(pairs))
    spec: Mapping[str, Any] = pod["spec"]
    status: Mapping[str, Any] = pod.get("status") or {}
    known: dict[str, Any] = {
        "metadata.name": metadata.get("name"),
        "metadata.namespace": metadata.get("namespace"),
        "metadata.uid": metadata.get("uid"),
        "spec.nodeName": spec.get("nodeName"),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "spec.restartPolicy": spec.get("restartPolicy"),
        "status.phase": status.get("phase"),
        "status.hostIP": status.get("hostIP"),
        "status.hostIPs": status.get("hostIP"),
        "status.podIP": status.get("podIP"),
        "status.podIPs": status.get("podIP"),
    }
    return str(known[path] or "") if path in known else None


def _escaped(value: str) -> str:
    """A label or annotation value as the downward API writes it into a file (Go's %q without the quotes)."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def container_resource(
    pod: Mapping[str, Any], reference: Mapping[str, Any], container: str, allocatable: Mapping[str, str]
) -> str | None:
    """The value of a `resourceFieldRef`; an absent limit is the node's allocatable (pkg/api/v1/resource)."""
    name = reference.get("containerName") or container
    kind, _, resource = str(reference["resource"]).partition(".")
    found = next((c for c in all_containers(pod) if c["name"] == name), None)
    if found is None or kind not in {"limits", "requests"}:
        return None
    value = ((found.get("resources") or {}).get(kind) or {}).get(resource)
    if value is None:
        value = allocatable.get(resource, "0") if kind == "limits" else "0"
    divisor = quantity(reference.get("divisor") or "1") or Fraction(1)
    return str(ceil(quantity(value) / divisor))


def all_containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Init containers, then containers, as written in the spec."""
    spec = pod["spec"]
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


@dataclass(frozen=True, slots=True)
class ImageName:
    """A parsed image reference: registry host, repository path, tag, digest (the last two may be empty)."""

    host: str
    repository: str
    tag: str
    digest: str

    @property
    def familiar(self) -> str:
        """`python:3-slim` for `docker.io/library/python:3-slim`; other hosts stay in the name."""
        repository = (
            self.repository.removeprefix("library/") if self.host == "docker.io" else f"{self.host}/{self.repository}"
        )
        return repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def canonical(self) -> str:
        """The full name a container runtime prints, such as `docker.io/library/python:3-slim`."""
        suffix = f"@{self.digest}" if self.digest else f":{self.tag or 'latest'}"
        return f"{self.host}/{self.repository}{suffix}"


def parse_image(text: str) -> ImageName | str:
    """An image reference taken apart, or the sentence the reference grammar has for what is wrong.

    Grammar: github.com/distribution/reference.
    """
    rest, _, digest = text.partition("@")
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, colon, tag = rest, "", ""
    host, slash, repository = name.partition("/")
    if not slash or not (set(".:") & set(host) or host == "localhost"):
        host, repository = "docker.io", name if slash else f"library/{name}"
    if repository.lower() != repository and _REPOSITORY.fullmatch(repository.lower()):
        return f"invalid reference format: repository name ({repository}) must be lowercase"
    right = _HOST.fullmatch(host) and _REPOSITORY.fullmatch(repository)
    if not right or (tag and not _TAG.fullmatch(tag)) or (colon and not tag):
        return "invalid reference format"
    if (digest and not _DIGEST.fullmatch(digest)) or text.endswith("@"):
        return "invalid reference format"
    return ImageName(host, repository, tag, digest)

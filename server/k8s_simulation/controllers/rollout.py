"""What roll-outs are reckoned with: maxSurge and maxUnavailable as numbers, a name for a template. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass

from k8s_simulation.api.objects import Object

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a roll-out may do: pods beyond and below the wanted number."""

    wanted: int
    surge: int
    unavailable: int


def bounds(spec: Object) -> Bounds:
    """Surge rounded up, unavailable rounded down; both zero would not move, so one may be unavailable."""
    wanted = int(spec.get("replicas") or 0)
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", "25%"), wanted, up=True)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), wanted, up=False)
    return Bounds(wanted, surge, unavailable if surge or unavailable else 1)


def replica_annotations(spec: Object) -> dict[str, str]:
    """What a Deployment writes on its ReplicaSets to scale them in proportion later (deployment_util.go)."""
    limits = bounds(spec)
    return {
        "deployment.kubernetes.io/desired-replicas": str(limits.wanted),
        "deployment.kubernetes.io/max-replicas": str(limits.wanted + limits.surge),
    }


def _share(value: object, wanted: int, *, up: bool) -> int:
    text = str(value)
    if not text.endswith("%"):
        return int(text)
    exact = wanted * float(text[:-1]) / 100
    return math.ceil(exact) if up else math.floor(exact)


def template_hash(template: Object) -> str:
    """A name for a template: equal templates have equal names."""
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    return "".join(_LETTERS[b % len(_LETTERS)] for b in digest[:10])

"""What a Secret of a well-known type must hold: pkg/apis/core/validation ValidateSecret. Pure.

Apart from `validation` because it looks into the data; nothing of them is ever quoted.
"""

from __future__ import annotations

import json
from base64 import b64decode

from k8s_simulation.api.objects import Object
from k8s_simulation.api.problems import FieldProblem, invalid_value, required

_REQUIRED = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
}
_JSON = {".dockerconfigjson", ".dockercfg"}
_BASIC = ("username", "password")


def type_problems(secret: Object) -> list[FieldProblem]:
    """What the type of the Secret asks for and its data do not have."""
    kind, data = secret.get("type", ""), secret.get("data") or {}
    if kind == "kubernetes.io/basic-auth" and not any(key in data for key in _BASIC):
        return [required(f"data[{key}]") for key in _BASIC]
    problems = []
    for key in _REQUIRED.get(kind, ()):
        if key not in data:
            problems.append(required(f"data[{key}]"))
        elif key in _JSON and (why := _not_json(data[key])):
            problems.append(invalid_value(f"data[{key}]", "<secret contents redacted>", why))
    return problems


def _not_json(encoded: str) -> str:
    content = b64decode(encoded)
    try:
        json.loads(content)
    except ValueError:
        first = content.decode("utf-8", "replace").strip()[:1]
        if first and first not in '{["-0123456789tfn':
            return f"invalid character '{first}' looking for beginning of value"
        return "unexpected end of JSON input"
    return ""

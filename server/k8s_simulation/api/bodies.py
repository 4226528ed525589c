"""Request bodies: bytes and content type to JSON data.

JSON and YAML for every kind, Kubernetes' protobuf for the few kinds that kubectl's imperative commands send in it.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from k8s_simulation.api.objects import Object
from k8s_simulation.api.problems import ApiError, bad_request, unsupported_media
from k8s_simulation.api.protobuf import MAGIC, decode_object
from k8s_simulation.api.shapes import without_nulls

MAX_BODY = 3 * 1024 * 1024  # the real server's limit for a request body
JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"
_YAML = {"application/yaml", "application/apply-patch+yaml", "text/yaml"}


def media_type(header: str) -> str:
    """The type without its parameters; JSON when nothing is said."""
    return header.split(";", 1)[0].strip().lower() or JSON


def too_large() -> ApiError:
    """413 for a body beyond the limit."""
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {MAX_BODY}")


def decode(body: bytes, content_type: str) -> Any:
    """The data of a body. Raises 400 for one that cannot be read and 415 for a type not spoken here."""
    kind = media_type(content_type)
    if kind == PROTOBUF or body.startswith(MAGIC):
        found = decode_object(body)
        if found is None:
            raise unsupported_media(PROTOBUF + " of this kind", f"{JSON}, application/yaml")
        return found
    if kind in _YAML:
        return _yaml(body)
    if kind == JSON or kind.endswith("+json"):
        try:
            return json.loads(body, object_pairs_hook=_pairs)
        except ValueError as error:
            raise bad_request(f"the object provided is unrecognized (must be of type JSON): {error}") from error
    raise unsupported_media(kind, f"{JSON}, application/yaml")


def _yaml(body: bytes) -> Any:
    try:
        return json.loads(body)  # kubectl sends JSON under the YAML type
    except ValueError:
        pass  # so it is YAML
    import yaml

    try:
        return yaml.load(body, Loader=_json_loader())  # noqa: S506 - a SafeLoader without time stamps
    except yaml.YAMLError as error:
        raise bad_request(f"error decoding YAML: {error}") from error


@cache
def _json_loader() -> Any:
    """A YAML loader whose values are JSON's: no dates. Made on first use, as YAML itself is imported."""
    import yaml

    class Loader(yaml.SafeLoader):
        """SafeLoader without time stamps."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader


def decode_object_body(body: bytes, content_type: str) -> tuple[Object, list[str]]:
    """The object of a create or update without its nulls, and what it has twice. Raises 400 unless it is an object."""
    found = decode(body, content_type)
    if not isinstance(found, dict):
        raise bad_request("the body of the request is not an object")
    return dict(without_nulls(found)), duplicates(found)


def decode_patch(body: bytes, kind: str) -> Any:
    """The data of a patch in JSON. Raises 400 in the words for patches."""
    try:
        return json.loads(body)
    except ValueError as error:
        where = "" if "strategic" in kind else "error decoding patch: "
        raise bad_request(f"{where}{error}") from error


class _Pairs(dict[str, Any]):
    """A JSON object that remembers which of its keys came twice."""

    twice: tuple[str, ...] = ()


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = _Pairs(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        made.twice = tuple(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return made


def duplicates(value: Any, place: str = "") -> list[str]:
    """`duplicate field "data.a"` for every key that a body has twice."""
    if isinstance(value, list):
        return [text for number, item in enumerate(value) for text in duplicates(item, f"{place}[{number}]")]
    if not isinstance(value, dict):
        return []
    prefix = f"{place}." if place else ""
    own = [f'duplicate field "{prefix}{key}"' for key in getattr(value, "twice", ())]
    return own + [text for key, item in value.items() for text in duplicates(item, f"{prefix}{key}")]


def decode_optional(body: bytes, content_type: str) -> Object:
    """The object of a body that may be empty, as that of a delete."""
    return decode_object_body(body, content_type)[0] if body.strip() else {}

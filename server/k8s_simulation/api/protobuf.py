"""Kubernetes' protobuf bodies for the few simple kinds that `kubectl create …` sends in it.

A hand-made reader of the wire format (no generated code): the envelope `k8s\\0` + runtime.Unknown, ObjectMeta, and
the fields of Namespace, ConfigMap, Secret and ServiceAccount, numbered as in k8s.io/api/core/v1/generated.proto.
Other kinds answer None, which becomes 415. Pure.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator

from k8s_simulation.api.objects import Object
from k8s_simulation.api.problems import bad_request

MAGIC = b"k8s\x00"
_REVIEWS = {"SelfSubjectAccessReview", "SelfSubjectRulesReview", "SelfSubjectReview"}


def decode_object(body: bytes) -> Object | None:
    """The object, or None for a kind not known here. Raises 400 for a body that is cut or no protobuf."""
    try:
        envelope = dict(_fields(body.removeprefix(MAGIC)))
        type_meta = dict(_fields(_bytes(envelope.get(1))))
        api_version, kind = _text(type_meta.get(1)), _text(type_meta.get(2))
        raw = _bytes(envelope.get(2))
        if kind in _REVIEWS:  # their answer does not depend on what they ask
            return {"apiVersion": api_version, "kind": kind, "metadata": {}, "spec": {}}
        if api_version != "v1" or kind not in {"Namespace", "ConfigMap", "Secret", "ServiceAccount"}:
            return None
        obj: Object = {"apiVersion": api_version, "kind": kind, "metadata": {}}
        for number, value in _fields(raw):
            _object_field(obj, kind, number, value)
    except (IndexError, UnicodeDecodeError, ValueError) as error:
        raise bad_request(f"the body is not readable as protobuf: {error}") from error
    return obj


def _object_field(obj: Object, kind: str, number: int, value: int | bytes) -> None:
    match kind, number:
        case _, 1:
            obj["metadata"] = _metadata(_bytes(value))
        case "ConfigMap", 2:
            key, inner = _pair(_bytes(value))
            obj.setdefault("data", {})[key] = inner.decode()
        case "ConfigMap", 3:
            key, inner = _pair(_bytes(value))
            obj.setdefault("binaryData", {})[key] = b64encode(inner).decode()
        case "ConfigMap", 4:
            obj["immutable"] = bool(value)
        case "Secret", 2:
            key, inner = _pair(_bytes(value))
            obj.setdefault("data", {})[key] = b64encode(inner).decode()
        case "Secret", 3:
            obj["type"] = _text(value)
        case _:
            pass  # spec and status of a new Namespace are empty; the rest is not sent by kubectl


def _metadata(raw: bytes) -> Object:
    found: Object = {}
    for number, value in _fields(raw):
        match number:
            case 1 | 2 | 3:
                if text := _text(value):
                    found[("name", "generateName", "namespace")[number - 1]] = text
            case 11 | 12:
                key, inner = _pair(_bytes(value))
                found.setdefault("labels" if number == 11 else "annotations", {})[key] = inner.decode()
            case _:
                pass
    return found


def _pair(raw: bytes) -> tuple[str, bytes]:
    entry = dict(_fields(raw))
    return _text(entry.get(1)), _bytes(entry.get(2))


def _text(value: int | bytes | None) -> str:
    return _bytes(value).decode()


def _bytes(value: int | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(raw, at)
            yield number, value
        elif wire == 2:
            length, at = _varint(raw, at)
            if at + length > len(raw):
                raise ValueError("a field is cut off")
            yield number, raw[at : at + length]
            at += length
        elif wire in {1, 5}:
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} is not known")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7

"""The patch formats that compute a new object from an old one: JSON merge patch and JSON patch; and the choice by type.

RFC 7386 and RFC 6902; strategic merge patch is in `strategic`, server-side apply in `apply`. Results never share
structure with the old object. Pure.
"""

from __future__ import annotations

from typing import Any

from k8s_simulation.api.objects import Object, clone
from k8s_simulation.api.problems import ApiError, bad_request
from k8s_simulation.api.strategic import strategic_merge

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)


def apply_patch(media_type: str, obj: Object, patch: Any) -> Object:
    """The patched object. Raises 400 for a patch of the wrong shape and 422 for one that cannot be applied."""
    if media_type == JSON_PATCH:
        if not isinstance(patch, list):
            raise bad_request(f"error decoding patch: {_decoder(patch)} []handlers.jsonPatchOp")
        return _object(json_patch(obj, patch))
    if not isinstance(patch, dict):
        where = "" if media_type == STRATEGIC_PATCH else "error decoding patch: "
        raise bad_request(f"{where}{_decoder(patch)} map[string]interface {{}}")
    if media_type == MERGE_PATCH:
        return _object(merge_patch(obj, patch))
    return strategic_merge(obj, patch)


def _decoder(patch: Any) -> str:
    """The beginning of what Go's decoder says of a value that is not what it should be."""
    names = {list: "array", str: "string", dict: "object", bool: "bool", int: "number", float: "number"}
    return f"json: cannot unmarshal {names.get(type(patch), 'null')} into Go value of type"


def _object(value: Any) -> Object:
    if not isinstance(value, dict):
        raise _unprocessable()
    return value


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return clone(patch)
    result: dict[str, Any] = clone(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(target: Any, operations: list[Any]) -> Any:
    """RFC 6902, all operations or none."""
    document = [clone(target)]  # the root in a list, so that a pointer to it has a parent like any other
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise _unprocessable()
        _operate(document, operation)
    return document[0]


def _operate(document: list[Any], operation: dict[str, Any]) -> None:
    path = operation["path"]
    match operation.get("op"):
        case "add":
            _add(document, path, clone(operation.get("value")))
        case "remove":
            _remove(document, path)
        case "replace":
            _replace(document, path, clone(operation.get("value")))
        case "move":
            _add(document, path, _remove(document, str(operation.get("from"))))
        case "copy":
            _add(document, path, clone(_read(document, str(operation.get("from")))))
        case "test":
            if _read(document, path) != operation.get("value"):
                raise _unprocessable()
        case _:
            raise _unprocessable()


def _unprocessable() -> ApiError:
    """A patch that does not fit the object: Kubernetes keeps the reason to itself (NewGenericServerResponse)."""
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request")


def _tokens(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise _unprocessable()
    return [t.replace("~1", "/").replace("~0", "~") for t in pointer.split("/")[1:]]


def _parent(document: list[Any], pointer: str) -> tuple[Any, str | int]:
    """The container that holds the place the pointer names, and the key or index in it."""
    holder: Any = document
    key: str | int = 0
    for token in _tokens(pointer):
        holder = _child(holder, key)
        if isinstance(holder, list):
            key = _index(token, holder)
        elif isinstance(holder, dict):
            key = token
        else:
            raise _unprocessable()
    return holder, key


def _index(step: str, holder: list[Any]) -> int:
    if step == "-":
        return len(holder)
    if not step.isdigit():
        raise _unprocessable()
    return int(step)


def _child(holder: Any, key: str | int) -> Any:
    try:
        return holder[key]
    except (KeyError, IndexError):
        raise _unprocessable() from None


def _read(document: list[Any], pointer: str) -> Any:
    return _child(*_parent(document, pointer))


def _add(document: list[Any], pointer: str, value: Any) -> None:
    holder, key = _parent(document, pointer)
    if holder is document:
        document[0] = value
    elif isinstance(holder, list) and isinstance(key, int):
        if key > len(holder):
            raise _unprocessable()
        holder.insert(key, value)
    else:
        holder[key] = value


def _replace(document: list[Any], pointer: str, value: Any) -> None:
    """A member that is not there is made, as the real server's library does; an item of a list must be there."""
    holder, key = _parent(document, pointer)
    if isinstance(holder, list):
        _child(holder, key)
    holder[key] = value


def _remove(document: list[Any], pointer: str) -> Any:
    holder, key = _parent(document, pointer)
    value = _child(holder, key)
    if holder is document:
        document[0] = None
    else:
        del holder[key]
    return value

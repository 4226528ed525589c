"""What the API answers when it refuses: metav1.Status bodies with Kubernetes' own words.

The wording follows k8s.io/apimachinery/pkg/api/errors and pkg/util/validation/field: clients match on reason, code,
details and, some, on the message. One exception class carries the whole body, so the HTTP server maps nothing.
Pure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from k8s_simulation.api.resources import Resource


class ApiError(Exception):
    """A refused request. `status` is the body to answer with, its `code` is the HTTP status."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        """Make the Status body."""
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.retry_after: int | None = self.details.get("retryAfterSeconds")

    @property
    def status(self) -> dict[str, Any]:
        """The metav1.Status."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            body["reason"] = self.reason
        if self.details:
            body["details"] = self.details
        return body | {"code": self.code}


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One wrong field: path, cause reason (FieldValueInvalid, …) and the words after the path."""

    field: str
    reason: str
    message: str

    def __str__(self) -> str:
        """`path: message`, as in Kubernetes."""
        return f"{self.field}: {self.message}"


def required(field: str, detail: str = "") -> FieldProblem:
    """A field that must be given."""
    return FieldProblem(field, "FieldValueRequired", f"Required value{': ' + detail if detail else ''}")


def invalid_value(field: str, value: object, detail: str) -> FieldProblem:
    """A field whose value breaks a rule."""
    return FieldProblem(field, "FieldValueInvalid", f"Invalid value: {_go(value)}: {detail}")


def unsupported(field: str, value: object, allowed: list[str]) -> FieldProblem:
    """A field whose value is not one of a closed list."""
    words = ", ".join(f'"{a}"' for a in sorted(allowed))
    return FieldProblem(field, "FieldValueNotSupported", f"Unsupported value: {_go(value)}: supported values: {words}")


def listed_unsupported(field: str, value: object, allowed: list[str]) -> FieldProblem:
    """The same for options, whose values are listed in their own order."""
    words = ", ".join(f'"{a}"' for a in allowed)
    return FieldProblem(field, "FieldValueNotSupported", f"Unsupported value: {_go(value)}: supported values: {words}")


def duplicate(field: str, value: object) -> FieldProblem:
    """A value that may appear once."""
    return FieldProblem(field, "FieldValueDuplicate", f"Duplicate value: {_go(value)}")


def forbidden_field(field: str, detail: str) -> FieldProblem:
    """A field that may not be set or changed."""
    return FieldProblem(field, "FieldValueForbidden", f"Forbidden: {detail}")


def field_not_found(field: str, value: object) -> FieldProblem:
    """A reference to something that the object does not have."""
    return FieldProblem(field, "FieldValueNotFound", f"Not found: {_go(value)}")


def _go(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _details(resource: Resource, name: str, **more: Any) -> dict[str, Any]:
    details: dict[str, Any] = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    return details | {"kind": resource.plural} | more


def not_found(resource: Resource, name: str) -> ApiError:
    """404 of one object."""
    return ApiError(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def already_exists(resource: Resource, name: str) -> ApiError:
    """409 of a create."""
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(resource, name))


def conflict(resource: Resource, name: str, why: str) -> ApiError:
    """409 of a write based on something old."""
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(resource, name))


def modified(resource: Resource, name: str) -> ApiError:
    """409 of an update whose resourceVersion is not the present one."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, name, why)


def forbidden(resource: Resource, name: str, why: str, causes: list[dict[str, str]] | None = None) -> ApiError:
    """403 by admission."""
    details = _details(resource, name, **({"causes": causes} if causes else {}))
    subject = f'{resource.qualified} "{name}"' if name else resource.qualified
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {why}", details)


def invalid(resource: Resource, name: str, problems: list[FieldProblem]) -> ApiError:
    """422 with all problems at once."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    words = str(problems[0]) if len(problems) == 1 else f"[{', '.join(str(p) for p in problems)}]"
    causes = [{"reason": p.reason, "message": p.message, "field": p.field} for p in problems]
    details: dict[str, Any] = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details |= {"kind": resource.kind, "causes": causes}
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {words}', details)


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def expired(message: str) -> ApiError:
    """410: the version asked for is gone; list again."""
    return ApiError(410, "Expired", message)


def unauthorized() -> ApiError:
    """401."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> ApiError:
    """405."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def unsupported_media(media_type: str, accepted: str) -> ApiError:
    """415 with the accepted types."""
    message = (
        f"the body of the request was in an unknown format - accepted media types include: {accepted} "
        f"(got {media_type})"
    )
    return ApiError(415, "UnsupportedMediaType", message)


def internal(message: str) -> ApiError:
    """500."""
    return ApiError(500, "InternalError", f"Internal error occurred: {message}")

"""What a URL asks for: path and method to verb, resource, namespace, name, subresource.

The rules of k8s.io/apiserver/pkg/endpoints/request/requestinfo.go for `/api` and `/apis`. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from k8s_simulation.api.problems import ApiError, bad_request
from k8s_simulation.api.resources import BY_PATH, Resource

_FALSE = {"false", "0"}


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request for objects. `verb` is the API verb (`list`, not GET)."""

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: dict[str, str] = field(default_factory=dict)

    def flag(self, name: str) -> bool:
        """A boolean of the query: whatever is there and is not `false` or `0` is true, as in apimachinery."""
        return is_true(self.query, name)

    def number(self, name: str) -> int | None:
        """A whole number of the query. Raises 400 for nonsense."""
        text = self.query.get(name, "")
        if not text:
            return None
        try:
            return int(text)
        except ValueError as error:
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error

    @property
    def dry_run(self) -> bool:
        """True for dryRun=All; other values are refused by `options`."""
        return self.query.get("dryRun") == "All"


def is_true(query: dict[str, str], name: str) -> bool:
    """A boolean of a query."""
    return name in query and query[name].lower() not in _FALSE


class NoSuchPath(ApiError):
    """404 for a path that serves nothing, as the real server words it."""

    def __init__(self) -> None:
        """The body has no details: nothing is known of what was asked for."""
        super().__init__(404, "NotFound", "the server could not find the requested resource")


_COLLECTION = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_OBJECT = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "POST": "create"}


def parse(method: str, path: str, query: dict[str, str]) -> ApiRequest:
    """The request. Raises 404 for a path that is not served and 405 for a verb that is not."""
    parts = [p for p in path.split("/") if p]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise NoSuchPath
    if rest[0] == "watch":  # the old form of ?watch=true
        rest, query = rest[1:], query | {"watch": "true"}
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] not in {"status", "finalize"}:
        namespace, rest = rest[1], rest[2:]
    resource = BY_PATH.get((group, version, rest[0])) if rest else None
    if resource is None or len(rest) > 3 or (namespace and not resource.namespaced):
        raise NoSuchPath
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and subresource not in resource.subresources:
        raise NoSuchPath
    verb = _verb(method, name, query)
    return ApiRequest(verb, resource, namespace, name, subresource, query)


def _verb(method: str, name: str, query: dict[str, str]) -> str:
    table = _OBJECT if name else _COLLECTION
    if method not in table:
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    verb = table[method]
    if verb in {"list", "get"} and is_true(query, "watch"):
        return "watch"
    return verb

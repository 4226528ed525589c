"""In which form objects are answered: whole, as a Table, or their metadata only, by the Accept header.

k8s.io/apiserver/pkg/endpoints/handlers/negotiation. JSON only: YAML is not made, protobuf neither (a client that
also accepts JSON gets that). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from k8s_simulation.api.objects import Object, meta
from k8s_simulation.api.problems import ApiError

_ACCEPTED = {"application/json", "application/*", "*/*"}
_OTHERS = {"application/yaml", "application/vnd.kubernetes.protobuf"}
_META = "meta.k8s.io"


class Form(Enum):
    """What is answered."""

    WHOLE = ""
    TABLE = "Table"
    METADATA = "PartialObjectMetadata"
    METADATA_LIST = "PartialObjectMetadataList"


@dataclass(frozen=True, slots=True)
class _Clause:
    kind: str
    parameters: dict[str, str]


def form_of(accept: str) -> Form:
    """The form that a header asks for first. Raises 406 if none of its clauses can be served."""
    clauses = [_clause(text) for text in accept.split(",") if text.strip()] or [_Clause("*/*", {})]
    for clause in clauses:
        wanted = clause.parameters.get("as", "")
        if clause.kind in _OTHERS and not wanted:
            return Form.WHOLE if len(clauses) == 1 else _json_of(clauses)
        if clause.kind not in _ACCEPTED:
            continue
        if not wanted:
            return Form.WHOLE
        if clause.parameters.get("g") == _META and wanted in {f.value for f in Form}:
            return Form(wanted)
    if any("as" in c.parameters for c in clauses):
        raise ApiError(406, "NotAcceptable", f"only the following media types are accepted: {_AVAILABLE}")
    message = f"406: Not Acceptable\n\nAvailable representations: {_AVAILABLE}"
    raise ApiError(406, "NotAcceptable", message)


_AVAILABLE = "application/json, application/yaml, application/vnd.kubernetes.protobuf"


def _json_of(clauses: list[_Clause]) -> Form:
    """The form of the first JSON clause beside those that are not made here."""
    rest = next((c for c in clauses if c.kind in _ACCEPTED), _Clause("*/*", {}))
    wanted = rest.parameters.get("as", "")
    return Form(wanted) if wanted in {f.value for f in Form} else Form.WHOLE


def _clause(text: str) -> _Clause:
    kind, *parts = [part.strip() for part in text.split(";")]
    pairs = (part.partition("=") for part in parts)
    return _Clause(kind, {key: value for key, _, value in pairs})


def metadata_of(obj: Object) -> Object:
    """The PartialObjectMetadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": f"{_META}/v1", "metadata": meta(obj)}

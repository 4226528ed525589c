"""JSON Schema (draft 2020-12) of plan files, made from the contract's descriptors, so that editors complete and check.

It says what the service's field rules say as far as a schema can: names, types, enum values, required fields, sizes of
lists and numbers. What only the service can judge is left out. Pure.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from k8s_execution_client._gen.buf.validate import validate_pb2
from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_service_pb2 import ExecuteRequest
from k8s_execution_client.typed import LIST_VALUE

NOT_IN_FILES = frozenset({"idempotency_key"})
TEXT = {"type": ["string", "number", "boolean"]}  # unquoted scalars are taken as written
NUMBERS = {FieldDescriptor.CPPTYPE_INT32: "int32", FieldDescriptor.CPPTYPE_INT64: "int64"}


def plan_schema() -> dict[str, Any]:
    """The schema."""
    definitions: dict[str, Any] = {}
    root = _message(ExecuteRequest.DESCRIPTOR, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "k8s-execution test plan",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _message(descriptor: Descriptor, definitions: dict[str, Any]) -> dict[str, Any]:
    fields = [f for f in descriptor.fields if f.name not in NOT_IN_FILES]
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {f.name: _field(f, definitions) for f in fields},
    }
    required = [f.name for f in fields if _rules(f).required]
    if required:
        schema["required"] = required
    kinds = [one for one in descriptor.oneofs if not one.name.startswith("_")]  # `_x` is how `optional` is kept
    if kinds:
        schema["oneOf"] = [{"required": [f.name]} for one in kinds for f in one.fields]
    return schema


def _field(field: FieldDescriptor, definitions: dict[str, Any]) -> dict[str, Any]:
    rules = _rules(field)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        schema: dict[str, Any] = {"type": "object", "additionalProperties": _value(value, definitions)}
        if rules.map.HasField("max_pairs"):
            schema["maxProperties"] = rules.map.max_pairs
        return schema
    if not field.is_repeated:
        return _value(field, definitions)
    schema = {"type": "array", "items": _value(field, definitions)}
    if rules.repeated.HasField("min_items"):
        schema["minItems"] = rules.repeated.min_items
    if rules.repeated.HasField("max_items"):
        schema["maxItems"] = rules.repeated.max_items
    return schema


def _value(field: FieldDescriptor, definitions: dict[str, Any]) -> dict[str, Any]:
    if field.message_type is not None:
        return _reference(field.message_type, definitions)
    if field.enum_type is not None:
        return {"enum": [v.name for v in field.enum_type.values if v.number]}
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"type": "boolean"}
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return dict(TEXT)
    return _number(field)


def _number(field: FieldDescriptor) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    rules = _rules(field)
    bounds = getattr(rules.repeated.items if field.is_repeated else rules, NUMBERS[field.cpp_type])
    for name, key in (("gte", "minimum"), ("lte", "maximum")):
        if bounds.HasField(name):
            schema[key] = getattr(bounds, name)
    return schema


def _reference(descriptor: Descriptor, definitions: dict[str, Any]) -> dict[str, Any]:
    if descriptor.full_name == LIST_VALUE:
        return {"type": "array", "items": dict(TEXT), "minItems": 1}
    name = descriptor.full_name.removeprefix(f"{ExecuteRequest.DESCRIPTOR.file.package}.")
    if name not in definitions:
        definitions[name] = {}
        definitions[name] = _message(descriptor, definitions)
    return {"$ref": f"#/$defs/{name}"}


def _rules(field: FieldDescriptor) -> validate_pb2.FieldRules:
    return field.GetOptions().Extensions[validate_pb2.field]

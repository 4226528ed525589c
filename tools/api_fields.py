"""Makes `server/k8s_simulation/api/fields.json` from what a real API server says of its objects.

    kubectl get --raw /openapi/v2 | python tools/api_fields.py

The file has, for every structure that an object of the simulation's kinds can contain, its fields and their types: what
is needed to refuse wrong types and to find unknown fields, without the 2 MB of descriptions. Types: `s` string, `t`
time, `y` base64, `i` int32, `l` int64, `n` number, `b` bool, `q` quantity, `x` integer or string, `o` anything,
`[]T` list, `{}T` map, else the name of a structure.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from k8s_simulation.api.resources import RESOURCES

TARGET = Path(__file__).resolve().parents[1] / "server" / "k8s_simulation" / "api" / "fields.json"
REFERENCE = "#/definitions/"
SCALARS = {"string": "s", "integer": "i", "boolean": "b", "number": "n"}
SPECIAL = {"Quantity": "q", "IntOrString": "x", "Time": "t", "MicroTime": "t"}
PREFIXES = ("io.k8s.api.", "io.k8s.apimachinery.pkg.apis.", "io.k8s.apimachinery.pkg.")
Definitions = dict[str, dict[str, Any]]


def short(name: str) -> str:
    """`io.k8s.api.core.v1.PodSpec` → `core/v1.PodSpec`."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name.replace(".", "/", 1)


def type_of(definitions: Definitions, schema: dict[str, Any]) -> str:
    """The code of a type."""
    if reference := schema.get("$ref"):
        name = reference.removeprefix(REFERENCE)
        special = SPECIAL.get(name.rpartition(".")[2])
        return special or (short(name) if "properties" in definitions[name] else "o")
    match schema.get("type"):
        case "array":
            return "[]" + type_of(definitions, schema["items"])
        case "object" if "additionalProperties" in schema:
            return "{}" + type_of(definitions, schema["additionalProperties"])
        case "string" if schema.get("format") == "byte":
            return "y"
        case "integer" if schema.get("format") == "int64":
            return "l"
        case kind:
            return SCALARS.get(str(kind), "o")


def structures(definitions: Definitions, roots: list[str]) -> dict[str, dict[str, str]]:
    """The fields of all structures that can be reached from the roots."""
    by_name = {short(name): name for name in definitions}
    found: dict[str, dict[str, str]] = {}
    waiting = [short(root) for root in roots]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        properties = definitions[by_name[name]]["properties"]
        found[name] = {field: type_of(definitions, schema) for field, schema in sorted(properties.items())}
        inner = (code.replace("[]", "").replace("{}", "") for code in found[name].values())
        waiting += [code for code in inner if code in by_name]
    return dict(sorted(found.items()))


def fields(openapi: dict[str, Any]) -> dict[str, Any]:
    """The content of the file. Raises KeyError for a kind that the document does not have."""
    definitions: Definitions = openapi["definitions"]
    kinds = {
        (kind["group"], kind["version"], kind["kind"]): name
        for name, definition in definitions.items()
        for kind in definition.get("x-kubernetes-group-version-kind", [])
    }
    wanted = [*((r.group, r.version, r.kind) for r in RESOURCES), ("autoscaling", "v1", "Scale")]
    names = {f"{group}/{version}/{kind}".lstrip("/"): kinds[group, version, kind] for group, version, kind in wanted}
    made = {"kinds": {kind: short(name) for kind, name in sorted(names.items())}}
    return {"version": openapi["info"]["version"], **made, "structures": structures(definitions, list(names.values()))}


def rendered(openapi: dict[str, Any]) -> str:
    """The file's text: a line a structure, so that changes can be read."""
    found = fields(openapi)
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in found["structures"].items()]
    kinds = json.dumps(found["kinds"], indent=1)
    body = ",\n".join(lines)
    version = json.dumps(found["version"])
    return f'{{\n"version": {version},\n"kinds": {kinds},\n"structures": {{\n{body}\n}}\n}}\n'


def main() -> int:
    """The command."""
    TARGET.write_text(rendered(json.load(sys.stdin)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

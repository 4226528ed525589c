"""Writes answers to stdout as JSON, YAML, names or tables.

JSON and YAML are the contract's messages with its field names, fields at their default shown, as over REST. Tables are
plain aligned columns, so that they can be cut and grepped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from k8s_execution_client.cli.border import UsageFault

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp


def check_format(chosen: str, allowed: Sequence[str]) -> str:
    """The format, or UsageFault naming those there are."""
    if chosen not in allowed:
        raise UsageFault(f"--output {chosen} is not known here; there are: {', '.join(allowed)}")
    return chosen


def as_data(message: Message) -> dict[str, Any]:
    """The message as JSON data."""
    from google.protobuf import json_format

    return dict(
        json_format.MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    )


def write_data(data: Any, chosen: str) -> None:
    """Write JSON or YAML to stdout."""
    if chosen == "json":
        json.dump(data, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
    else:
        import yaml

        yaml.safe_dump(data, sys.stdout, sort_keys=False, allow_unicode=True)


def write_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns, two spaces apart; the last is not padded."""
    table = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        print("  ".join([*cells, row[-1]]).rstrip())


def age(moment: Timestamp) -> str:
    """How long ago, as kubectl writes it: `45s`, `12m`, `3h`, `9d`."""
    seconds = max(0, int((datetime.now(UTC) - moment.ToDatetime(UTC)).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"

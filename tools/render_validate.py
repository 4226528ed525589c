"""Render third_party/buf/validate/validate.proto from the descriptor inside the protovalidate wheel.

No registry offers that file, and our contract imports it. The wheel carries its compiled descriptor; this prints it
as source again, compiles the result and refuses it unless it is byte for byte the same descriptor. It must not edit the
rules: after an upgrade of protovalidate, run it again and read the diff. It is apart from generate.py because it runs
only then. `--check` writes nothing and fails with a diff where the committed file differs.

Comments are not part of a descriptor, so the rendered file has none.
"""

from __future__ import annotations

import argparse
import difflib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf import duration_pb2 as _duration  # noqa: F401  registers what validate.proto imports
from google.protobuf import field_mask_pb2 as _field_mask  # noqa: F401  likewise
from google.protobuf import timestamp_pb2 as _timestamp  # noqa: F401  likewise
from google.protobuf.message import Message

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "third_party/buf/validate/validate.proto"
HEADER = """\
// Copyright (c) 2023-2026 Buf Technologies, Inc.
// Licensed under the Apache License, Version 2.0; the text is in third_party/buf/LICENSE.
//
// Rendered by tools/render_validate.py from the descriptor inside the protovalidate {version} wheel. Do not edit.

"""
F = descriptor_pb2.FieldDescriptorProto
LABELS = {F.LABEL_OPTIONAL: "optional ", F.LABEL_REPEATED: "repeated ", F.LABEL_REQUIRED: "required "}


class Renderer:
    """Prints one file descriptor as proto2 source; extensions in its options are read by its own definitions."""

    def __init__(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        self.file = file
        pool = descriptor_pool.DescriptorPool()
        for name in file.dependency:
            source = descriptor_pb2.FileDescriptorProto()
            descriptor_pool.Default().FindFileByName(name).CopyToProto(source)
            pool.Add(source)
        pool.Add(file)
        self._pool = pool

    def render(self) -> str:
        """The whole file without its header; `buf format` gives it its final layout."""
        lines = ['syntax = "proto2";', f"package {self.file.package};"]
        lines += [f'import "{name}";' for name in self.file.dependency]
        lines += [f"option {line};" for line in self._option_entries(self.file.options)]
        for extension in self.file.extension:
            lines += [f"extend {extension.extendee} {{", self._field(extension), "}"]
        for message in self.file.message_type:
            lines += self._message(message)
        for enum in self.file.enum_type:
            values = [f"{v.name} = {v.number}{self._options(v.options)};" for v in enum.value]
            # An enum's reserved range includes its end; a message's does not.
            values += _reserved([(r.start, r.end) for r in enum.reserved_range], enum.reserved_name)
            lines += [f"enum {enum.name} {{", *values, "}"]
        return "\n".join(lines) + "\n"

    def _message(self, message: descriptor_pb2.DescriptorProto) -> Iterator[str]:
        if message.nested_type or message.enum_type or message.extension or message.options.ByteSize():
            raise SystemExit(f"{message.name}: nested definitions are new in validate.proto; teach the renderer")
        yield f"message {message.name} {{"
        open_oneof: int | None = None
        for field in message.field:
            oneof = field.oneof_index if field.HasField("oneof_index") else None
            if oneof != open_oneof:
                if open_oneof is not None:
                    yield "}"
                if oneof is not None:
                    yield f"oneof {message.oneof_decl[oneof].name} {{"
                open_oneof = oneof
            yield self._field(field)
        if open_oneof is not None:
            yield "}"
        for extensible in message.extension_range:
            end = "max" if extensible.end == 536870912 else str(extensible.end - 1)
            yield f"extensions {extensible.start} to {end};"
        yield from _reserved([(r.start, r.end - 1) for r in message.reserved_range], message.reserved_name)
        yield "}"

    def _field(self, field: descriptor_pb2.FieldDescriptorProto) -> str:
        label = "" if field.HasField("oneof_index") else LABELS[field.label]
        kind = field.type_name or F.Type.Name(field.type).removeprefix("TYPE_").lower()
        return f"{label}{kind} {field.name} = {field.number}{self._options(field.options)};"

    def _options(self, options: Message) -> str:
        entries = self._option_entries(options)
        return f" [{', '.join(entries)}]" if entries else ""

    def _option_entries(self, options: Message) -> list[str]:
        descriptor = self._pool.FindMessageTypeByName(options.DESCRIPTOR.full_name)
        known = message_factory.GetMessageClass(descriptor).FromString(options.SerializeToString())
        entries: list[str] = []
        for field, value in known.ListFields():
            name = f"({field.full_name})" if field.is_extension else field.name
            if field.message_type:
                text = "{" + text_format.MessageToString(value, as_one_line=True) + "}"
            elif field.type == field.TYPE_STRING:
                text = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
            elif field.enum_type:
                text = field.enum_type.values_by_number[value].name
            else:
                text = str(value).lower() if isinstance(value, bool) else str(value)
            entries.append(f"{name} = {text}")
        return entries


def _reserved(ranges: list[tuple[int, int]], names: Iterable[str]) -> Iterator[str]:
    """The reserved statements for inclusive number ranges and for names."""
    for start, end in ranges:
        yield f"reserved {start} to {end};" if start != end else f"reserved {start};"
    if quoted := ", ".join(f'"{name}"' for name in names):
        yield f"reserved {quoted};"


def compiled(tree: Path) -> bytes:
    """The descriptor that protoc makes of the rendered file below `tree`, as bytes of a FileDescriptorProto."""
    out = tree / "set.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{tree}", f"--descriptor_set_out={out}"]
    subprocess.run([*command, "buf/validate/validate.proto"], check=True)
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    return canonical(file)


def canonical(file: descriptor_pb2.FileDescriptorProto) -> bytes:
    """The descriptor without json_name, which one compiler writes out and another leaves to its rule."""
    copy = descriptor_pb2.FileDescriptorProto()
    copy.CopyFrom(file)
    for field in (*copy.extension, *(f for message in copy.message_type for f in message.field)):
        field.ClearField("json_name")
    return copy.SerializeToString(deterministic=True)


def rendered() -> str:
    """The text that TARGET must have."""
    from importlib.metadata import version

    import protovalidate._gen.buf.validate.validate_pb as wheel

    file = descriptor_pb2.FileDescriptorProto.FromString(wheel.desc().proto.to_binary())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "buf/validate/validate.proto"
        path.parent.mkdir(parents=True)
        path.write_text(HEADER.format(version=version("protovalidate")) + Renderer(file).render())
        buf = shutil.which("buf", path=str(Path(sys.executable).parent)) or "buf"
        subprocess.run([buf, "format", "-w", folder], check=True)
        if compiled(Path(folder)) != canonical(file):
            raise SystemExit(
                "the rendered validate.proto does not compile to the wheel's descriptor; mend the renderer"
            )
        return path.read_text()


def main() -> int:
    """Write the file, or with --check compare it; 1 on a difference."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail where the committed file differs")
    check = parser.parse_args().check
    text = rendered()
    if not check:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_text(text)
        return 0
    old = TARGET.read_text() if TARGET.exists() else ""
    name = str(TARGET.relative_to(ROOT))
    sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), text.splitlines(True), name, "rendered"))
    return 0 if old == text else 1


if __name__ == "__main__":
    sys.exit(main())

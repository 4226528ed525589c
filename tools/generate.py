"""Generate the Python code of the contract into clients/python/k8s_execution_client/_gen/.

It compiles proto/ and third_party/ with grpcio-tools, adds mypy stubs, and rewrites the absolute imports that protoc
writes (`from maestro.k8s… import`, `from buf.validate import`) below the package: nothing at top level may be called
`maestro` or `buf`, those names belong to others. Names in the descriptor pool stay as in proto/. The output depends on
the contract and the locked tools only. `--check` writes nothing and prints what differs; 1 if something does.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "clients/python/k8s_execution_client/_gen"
PACKAGE = "k8s_execution_client._gen"
SOURCES = ("proto", "third_party")
PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
IMPORT = re.compile(r"^(\s*(?:from|import) )((?:maestro|buf)\b)", re.MULTILINE)
INIT = '''"""Generated from proto/ by tools/generate.py. Do not edit."""\n'''


def protoc(out: Path) -> None:
    """Run protoc with its plugins over every proto file; the code lands below `out`."""
    files = sorted(p.relative_to(ROOT / s).as_posix() for s in SOURCES for p in (ROOT / s).rglob("*.proto"))
    scripts = Path(sys.executable).parent  # the plugins lie beside the interpreter, also when no venv is active
    missing = [name for name in PLUGINS if not (scripts / name).exists()]
    if missing:
        raise SystemExit(f"{', '.join(missing)} not found in {scripts}: run `make env` and use .venv/bin/python")
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        *(f"-I{ROOT / source}" for source in SOURCES),
        *(f"--plugin={name}={scripts / name}" for name in PLUGINS),
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out=quiet:{out}",
        f"--mypy_grpc_out=quiet:{out}",
        *files,
    ]
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"}
    subprocess.run(command, check=True, env=environment)


def generated() -> dict[str, str]:
    """Every file that TARGET must hold: its path below TARGET, and its text."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        protoc(out)
        files: dict[str, str] = {"__init__.py": INIT}
        for path in sorted(out.rglob("*.py*")):
            text = path.read_text()
            if _is_empty_grpc(path, text):
                continue
            files[path.relative_to(out).as_posix()] = IMPORT.sub(rf"\1{PACKAGE}.\2", text)
        for name in list(files):
            files |= {f"{parent}/__init__.py": INIT for parent in Path(name).parents if parent != Path()}
    return files


def _is_empty_grpc(path: Path, text: str) -> bool:
    """Whether protoc wrote a service module for a file that has no service."""
    return path.stem.endswith("_pb2_grpc") and "Stub:" not in text and "Stub(" not in text


def present() -> dict[str, str]:
    """What TARGET holds now."""
    found = (p for p in sorted(TARGET.rglob("*")) if p.is_file() and "__pycache__" not in p.parts)
    return {p.relative_to(TARGET).as_posix(): p.read_text() for p in found}


def differences(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """A unified diff of all files, as lines."""
    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name, "").splitlines(True), new.get(name, "").splitlines(True)
        lines += difflib.unified_diff(before, after, f"_gen/{name}", f"generated/{name}")
        if not before and not after and (name in old) != (name in new):
            lines.append(f"only in {'_gen' if name in old else 'generated'}: {name}\n")
    return lines


def write(files: dict[str, str]) -> None:
    """Make TARGET hold exactly `files`."""
    for name in present().keys() - files.keys():
        (TARGET / name).unlink()
    for name, text in files.items():
        path = TARGET / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def main() -> int:
    """Write the code, or with --check compare it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail where the committed code differs")
    check = parser.parse_args().check
    files = generated()
    if not check:
        write(files)
        return 0
    lines = differences(present(), files)
    sys.stdout.writelines(lines)
    if lines:
        print("the generated code does not belong to proto/: run `.venv/bin/python tools/generate.py` and commit")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())

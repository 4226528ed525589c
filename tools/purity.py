"""Check that the pure modules stay pure: no asyncio, clock, randomness or I/O, by what they import and name.

import-linter sees imports between modules; it cannot see `datetime.now()` or `open()`. This does, for the modules that
docs/architecture.md marks as pure.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "server"
PURE = (
    "k8s_execution/domain/*.py",
    "k8s_execution/engine/decide.py",
    "k8s_execution/engine/provisioning.py",
    "k8s_execution/engine/suites.py",
    "k8s_execution/engine/steps.py",
    "k8s_execution/engine/ending.py",
    "k8s_execution/engine/diagnose.py",
    "k8s_execution/engine/outcome.py",
    "k8s_execution/engine/clocks.py",
    "k8s_execution/engine/admission.py",
    "k8s_execution/engine/actions.py",
    "k8s_execution/engine/preview.py",
    "k8s_execution/logs/targets.py",
    "k8s_execution/logs/cursor.py",
    "k8s_execution/logs/framing.py",
    "k8s_execution/evidence/junit.py",
    "k8s_execution/manifests/check.py",
    "k8s_execution/manifests/references.py",
    "k8s_execution/kube/parse.py",
    "k8s_execution/kube/slim.py",
    "k8s_execution/transports/codes.py",
    "k8s_execution/transports/wire/*.py",
    "k8s_execution/runtime/backoff.py",
    "k8s_simulation/api/storage.py",
    "k8s_simulation/api/selectors.py",
    "k8s_simulation/api/patch.py",
)
IMPURE_MODULES = frozenset(
    {"asyncio", "socket", "subprocess", "threading", "time", "os", "pathlib", "random", "aiohttp", "grpc", "sqlalchemy"}
)
IMPURE_CALLS = frozenset({"open", "print", "input", "now", "utcnow", "today", "time", "monotonic", "sleep"})
ALLOWED = {
    "k8s_execution/domain/naming.py": frozenset({"secrets"}),
}


def problems(path: Path) -> list[str]:
    """What makes a module impure, by line."""
    found: list[str] = []
    where = path.relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").split(".")[0]]
        impure = set(names) & IMPURE_MODULES - ALLOWED.get(where, frozenset())
        found += [f"{where}:{line}: imports {name}" for name in sorted(impure)]
        if isinstance(node, (ast.AsyncFunctionDef, ast.Await)):
            found.append(f"{where}:{line}: is asynchronous")
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if called in IMPURE_CALLS:
                found.append(f"{where}:{line}: calls {called}()")
    return found


def main() -> int:
    """Print every impurity; 1 if there is one, or if a pattern matches no module."""
    found: list[str] = []
    count = 0
    for pattern in PURE:
        paths = sorted(ROOT.glob(pattern))
        if not paths:
            found.append(f"no module matches {pattern}")
        for path in paths:
            count += 1
            found += problems(path)
    print("\n".join(found) or f"pure: {count} modules")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

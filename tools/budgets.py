"""Measure the size budgets of the code and fail where one is exceeded.

Budgets (docs/architecture.md): module <= 300 lines (450 at most, and then only few), function body without its
docstring p90 <= 30 and max 60 lines, parameters <= 6, nesting <= 3. Command signatures (cli/), table definitions,
migrations and generated code are excepted. Run without arguments for all packages, or with paths.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("server/k8s_execution", "server/k8s_simulation", "clients/python/k8s_execution_client")
EXCEPTED = ("_gen/", "store/migrations/versions/")
SOFT_MODULE, HARD_MODULE, MAX_FUNCTION, P90_FUNCTION, MAX_PARAMETERS, MAX_NESTING = 300, 450, 60, 30, 6, 3
MAX_SHARE_OVER_SOFT = 0.10  # share of modules that may lie between the soft and the hard limit
NESTING = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)


@dataclass(frozen=True, slots=True)
class Function:
    """One function: where it is, body lines without its docstring, parameters, deepest nesting."""

    where: str
    lines: int
    parameters: int
    nesting: int


def depth(node: ast.AST) -> int:
    """Deepest chain of nested blocks below `node`; an elif is no level of its own, nor is a nested function."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        level = 1 if isinstance(child, NESTING) and not is_elif else 0
        deepest = max(deepest, level + depth(child))
    return deepest


def measure(path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Function:
    """Measure one function."""
    body = node.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) and len(body) > 1:
        body = body[1:]
    lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    parameters = [a for a in arguments if a.arg not in {"self", "cls"}]
    command = "/cli/" in path.as_posix() and bool(node.decorator_list)
    return Function(
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}",
        lines,
        0 if command else len(parameters),
        depth(node),
    )


def modules(arguments: list[str]) -> list[Path]:
    """All measured files below the given paths, or below the packages."""
    found: list[Path] = []
    for name in arguments or PACKAGES:
        start = (ROOT / name).resolve()
        found += [start] if start.is_file() else sorted(start.rglob("*.py"))
    return [p for p in found if not any(e in p.as_posix() for e in EXCEPTED)]


def function_problems(functions: list[Function]) -> list[str]:
    """Budgets of single functions, and the 90th percentile of all."""
    problems: list[str] = []
    for f in functions:
        if f.lines > MAX_FUNCTION:
            problems.append(f"{f.where}: body of {f.lines} lines (max {MAX_FUNCTION})")
        if f.parameters > MAX_PARAMETERS:
            problems.append(f"{f.where}: {f.parameters} parameters (max {MAX_PARAMETERS})")
        if f.nesting > MAX_NESTING:
            problems.append(f"{f.where}: nesting {f.nesting} (max {MAX_NESTING})")
    lengths = sorted(f.lines for f in functions)
    if len(lengths) >= 50 and (p90 := lengths[int(len(lengths) * 0.9)]) > P90_FUNCTION:
        problems.append(f"function body p90 is {p90} lines (max {P90_FUNCTION})")
    return problems


def main(arguments: list[str]) -> int:
    """Print every exceeded budget; 1 if there is one."""
    paths = modules(arguments)
    functions: list[Function] = []
    problems: list[str] = []
    over_soft: list[str] = []
    for path in paths:
        text = path.read_text()
        lines = text.count("\n")
        if lines > HARD_MODULE:
            problems.append(f"{path.relative_to(ROOT)}: {lines} lines (hard limit {HARD_MODULE})")
        elif lines > SOFT_MODULE:
            over_soft.append(f"{path.relative_to(ROOT)}: {lines} lines (soft limit {SOFT_MODULE})")
        nodes = ast.walk(ast.parse(text))
        functions += [measure(path, n) for n in nodes if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    if len(over_soft) > max(1, len(paths) * MAX_SHARE_OVER_SOFT):
        problems += over_soft
    problems += function_problems(functions)
    print("\n".join(problems) or f"budgets kept: {len(paths)} modules, {len(functions)} functions")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Check the contract: layout, lint, what it would break, and whether committed generated files belong to it.

Breaking changes are looked for against the branch that others build on: origin/main, else main. Where that branch has
no contract yet, or there is no git repository, the step says so and passes. It must not change any file; generate.py
and render_validate.py do. Prints one line a step; 1 if one failed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sys.executable).parent
BUF = str(SCRIPTS / "buf")


def run(*command: str) -> tuple[bool, str]:
    """Whether a command ended with 0, and all it said."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode == 0, (done.stdout + done.stderr).strip()


def base() -> tuple[str | None, str]:
    """The git reference to compare with, or None and the sentence why there is none."""
    for reference in ("origin/main", "main"):
        if run("git", "rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}")[0]:
            if run("git", "cat-file", "-e", f"{reference}:buf.yaml")[0]:
                return reference, ""
            return None, f"{reference} has no contract yet, so nothing can break"
    return None, "neither origin/main nor main is here, so there is nothing to compare with"


def breaking() -> tuple[bool, str]:
    """Compare with the base, where there is one."""
    reference, why = base()
    if reference is None:
        return True, why
    # A commit instead of the branch's name: buf clones the repository, and remote branches are not cloned.
    commit = run("git", "rev-parse", reference)[1]
    git = run("git", "rev-parse", "--path-format=absolute", "--git-common-dir")[1]
    passed, said = run(BUF, "breaking", "--against", f"{git}#format=git,ref={commit}")
    return passed, said or f"nothing breaks against {reference}"


def main() -> int:
    """Run every step, also after one failed."""
    python = sys.executable
    steps: dict[str, Callable[[], tuple[bool, str]]] = {
        "format": lambda: run(BUF, "format", "-d", "--exit-code", "proto"),
        "lint": lambda: run(BUF, "lint"),
        "breaking": breaking,
        "generated code": lambda: run(python, "tools/generate.py", "--check"),
        "validate.proto": lambda: run(python, "tools/render_validate.py", "--check"),
    }
    failed = False
    for name, step in steps.items():
        passed, said = step()
        failed = failed or not passed
        print(f"{'ok  ' if passed else 'FAIL'} {name}" + (f": {said}" if said else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

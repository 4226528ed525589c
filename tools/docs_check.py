"""Keep documents true to the code: the life-cycle diagram, and the settings in `.env.example`.

`--write` puts the diagram into docs/architecture.md; without it a difference fails.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from k8s_execution.domain.lifecycle import diagram
from k8s_execution.settings import CLIENT_NAMES, SOURCES

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
EXAMPLE = ROOT / ".env.example"
MARKED = re.compile(r"(<!-- lifecycle:begin -->\n).*?(<!-- lifecycle:end -->)", re.DOTALL)


def with_diagram(text: str) -> str:
    """The page with the diagram between its marks."""
    return MARKED.sub(lambda m: f"{m.group(1)}```mermaid\n{diagram()}\n```\n{m.group(2)}", text)


def problems() -> list[str]:
    """What a document says otherwise than the code."""
    found: list[str] = []
    page = PAGE.read_text()
    if with_diagram(page) != page:
        found.append("docs/architecture.md: the life-cycle diagram differs; run python tools/docs_check.py --write")
    named = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", EXAMPLE.read_text(), re.MULTILINE))
    known = {source.name for source in SOURCES.values()} | CLIENT_NAMES
    found += [f".env.example: {name} is missing" for name in sorted(known - named)]
    found += [f".env.example: {name} is no setting" for name in sorted(named - known)]
    return found


def main(arguments: list[str]) -> int:
    """Print every difference; 1 if there is one."""
    if "--write" in arguments:
        PAGE.write_text(with_diagram(PAGE.read_text()))
    found = problems()
    print("\n".join(found) or "documents are true to the code")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

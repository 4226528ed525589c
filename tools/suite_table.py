"""The Kubernetes suite's table: every case on the simulated and on the real cluster.

    python tools/suite_table.py SIMULATED.xml REAL.xml [--output kubernetes-suite.md]

Reads two JUnit reports of pytest and looks only at the cases of `tests/kubernetes`. A case must have passed on both
clusters; failed, skipped and missing ones are named. Cases that only a real cluster can show are listed in `REAL_ONLY`
with the reason, which docs/simulation.md has too. Exit code 0 when all is green, 1 otherwise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from xml.etree import ElementTree as ET

SUITE = "kubernetes"
REAL_ONLY = {"test_network_policies": "the simulated cluster enforces no network policies"}
"""Modules that are collected only on a real cluster, and why."""


class Outcome(Enum):
    """How a case ended; the value is what the table shows."""

    PASSED = "✓"
    FAILED = "failed"
    SKIPPED = "skipped"
    MISSING = "missing"
    BY_INTENT = "–"


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """One test of the suite: the module without its package, and the test with its parameters."""

    module: str
    name: str

    @property
    def sentence(self) -> str:
        """What the case says, as words."""
        words, bracket, parameters = self.name.removeprefix("test_").partition("[")
        return words.replace("_", " ") + (f" [{parameters}" if bracket else "")


@dataclass(frozen=True, slots=True)
class Row:
    """One case on both clusters."""

    case: Case
    simulated: Outcome
    real: Outcome

    @property
    def green(self) -> bool:
        """Whether nothing is to be mended."""
        return self.real is Outcome.PASSED and self.simulated in {Outcome.PASSED, Outcome.BY_INTENT}


def read(report: Path) -> dict[Case, Outcome]:
    """The suite's cases in a JUnit report. Raises OSError and ET.ParseError."""
    found: dict[Case, Outcome] = {}
    for element in ET.parse(report).iter("testcase"):
        *packages, module = element.get("classname", "").split(".")
        if not packages or packages[-1] != SUITE:
            continue
        case = Case(module, element.get("name", ""))
        outcome = _outcome(element)
        # pytest writes two elements for a case whose teardown failed: the worse one counts
        if found.get(case, Outcome.PASSED) is Outcome.PASSED:
            found[case] = outcome
    return found


def _outcome(element: ET.Element) -> Outcome:
    tags = {child.tag for child in element}
    if tags & {"failure", "error"}:
        return Outcome.FAILED
    return Outcome.SKIPPED if "skipped" in tags else Outcome.PASSED


def rows(simulated: Mapping[Case, Outcome], real: Mapping[Case, Outcome]) -> list[Row]:
    """Every case of either report, by module and name."""
    made = []
    for case in sorted({*simulated, *real}):
        absent = Outcome.BY_INTENT if case.module in REAL_ONLY else Outcome.MISSING
        made.append(Row(case, simulated.get(case, absent), real.get(case, Outcome.MISSING)))
    return made


def table(all_rows: Sequence[Row]) -> str:
    """The table as Markdown, with its summary."""
    head = ["| about | case | simulated | real |", "|---|---|---|---|"]
    lines = ["# The Kubernetes suite", "", summary(all_rows), "", *head]
    for row in all_rows:
        sentence = row.case.sentence.replace("|", "\\|")
        about = row.case.module.removeprefix("test_").replace("_", " ")
        lines.append(f"| {about} | {sentence} | {row.simulated.value} | {row.real.value} |")
    notes = [f"–: {reason} (`{module}`)." for module, reason in REAL_ONLY.items()]
    return "\n".join([*lines, "", *notes, ""])


def summary(all_rows: Sequence[Row]) -> str:
    """One sentence: how many cases on how many clusters, and what is not green."""
    both = sum(row.simulated is not Outcome.BY_INTENT for row in all_rows)
    alone = len(all_rows) - both
    counted = f"{both} cases × 2 clusters" + (f", {alone} only on the real one" if alone else "")
    red = sum(not row.green for row in all_rows)
    return f"{counted}: {f'{red} not green' if red else 'all green'}" if all_rows else "no case of the suite was run"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("simulated", type=Path, help="JUnit report of the run on the simulated cluster")
    parser.add_argument("real", type=Path, help="JUnit report of the run on the real cluster")
    parser.add_argument("--output", type=Path, help="where the table is written, as Markdown")
    options = parser.parse_args(arguments)
    try:
        found = rows(read(options.simulated), read(options.real))
    except (OSError, ET.ParseError) as error:
        sys.stderr.write(f"suite-table: a report cannot be read: {error}\n")
        return 1
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(table(found), encoding="utf-8")
    for row in found:
        if not row.green:
            sys.stdout.write(
                f"{row.case.module}::{row.case.name}: simulated {row.simulated.name}, real {row.real.name}\n"
            )
    sys.stdout.write(f"suite-table: {summary(found)}\n")
    return 0 if found and all(row.green for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())

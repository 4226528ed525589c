"""The rules of each suite type, as one table: default command, report, meaning of exit codes.

PYTEST: exit codes as in the pytest documentation (0 passed, 1 tests failed, 2 interrupted, 3 internal error,
4 usage error, 5 no tests collected). CUSTOM: 0 passed, anything else failed; reports only if the plan names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from k8s_execution.domain.naming import REPORT_DIR
from k8s_execution.domain.plan import SuiteType
from k8s_execution.domain.verdict import Code


@dataclass(frozen=True, slots=True)
class SuiteRule:
    """What a suite type promises. `env` asks the test program for its report; `broken` maps exit codes to causes."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    needs_report: bool
    failed: frozenset[int] | None
    broken: Mapping[int, Code]


RULES: Mapping[SuiteType, SuiteRule] = {
    SuiteType.PYTEST: SuiteRule(
        command=("python", "-m", "pytest"),
        env={"PYTEST_ADDOPTS": f"--junitxml={REPORT_DIR}/pytest.xml -o junit_family=xunit2"},
        needs_report=True,
        failed=frozenset({1}),
        broken={2: Code.TESTS_BROKEN, 3: Code.TESTS_BROKEN, 4: Code.TESTS_BROKEN, 5: Code.NO_TESTS},
    ),
    SuiteType.CUSTOM: SuiteRule(command=(), env={}, needs_report=False, failed=None, broken={}),
}
"""`failed` None means that every exit code but 0 is a failed test."""

"""Rules for hooks and suites, and for the test code's source. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from k8s_execution.domain.plan import ConfigFile, InlineSource, Source, Step, StepKind, SuiteType
from k8s_execution.domain.quantity import format_duration
from k8s_execution.domain.suites import RULES
from k8s_execution.manifests.rules import containers
from k8s_execution.manifests.rules.findings import GLOB, IMAGE, NAME, RELATIVE_PATH, Findings

AGENT_BYTES = 100 * 1024
"""Install and command travel in one variable, and the kernel starts no process with one above 128 KiB."""

INLINE_BYTES = 2 * 1024 * 1024


def check(found: Findings, path: str, step: Step, longest_ms: int) -> None:
    """All of one hook or suite; `longest_ms` is the policy's limit for its kind."""
    found.text(f"{path}.name", step.name, NAME)
    found.text(f"{path}.image", step.image, IMAGE)
    _command(found, path, step)
    found.variables(f"{path}.env", step.env)
    containers.size(found, f"{path}.env", (*step.env, *step.env.values()))
    containers.resources(found, f"{path}.resources", step.resources)
    for name, patterns in (("reports", step.reports), ("artifacts", step.artifacts)):
        found.count(f"{path}.{name}", patterns, 64)
        found.texts(f"{path}.{name}", patterns, GLOB)
    if step.timeout_ms is not None:
        _timeout(found, path, step, longest_ms)


def source(found: Findings, path: str, given: Source) -> None:
    """Files inside the request: safe names, no file twice or below another, bounded."""
    if isinstance(given, InlineSource):
        _inline(found, f"{path}.inline.files", given.files)


def _command(found: Findings, path: str, step: Step) -> None:
    containers.command(found, f"{path}.command", step.command)
    found.count(f"{path}.install", step.install, 16)
    for index, words in enumerate(step.install):
        found.count(f"{path}.install[{index}]", words, 256, least=1)
        containers.command(found, f"{path}.install[{index}]", words)
    if not step.command and not (step.suite_type and RULES[step.suite_type].command):
        what = "a CUSTOM suite" if step.suite_type is SuiteType.CUSTOM else "a hook"
        hint = "write for example command: [make, test]"
        found.add(f"{path}.command", "", "command.required", f"must be given for {what}", hint)
    total = len(json.dumps([step.install, step.command], ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if total > AGENT_BYTES:
        message = f"install and command must be at most {AGENT_BYTES} bytes together"
        found.add(f"{path}.command", total, "command.size", message, "put the script into the source and run that")


def _timeout(found: Findings, path: str, step: Step, longest_ms: int) -> None:
    timeout = step.timeout_ms or 0
    shown = format_duration(max(timeout, 0))
    if timeout <= 0:
        found.add(f"{path}.timeout", shown, "duration.range", "must be more than zero", "write for example '600s'")
    elif timeout > longest_ms:
        if step.kind is StepKind.TEARDOWN:
            limit, hint = "what teardown has", "shorten it"
        else:
            limit, hint = "policy.timeout", "raise policy.timeout or shorten it"
        message = f"must not be above {limit} ({format_duration(longest_ms)})"
        found.add(f"{path}.timeout", shown, "timeout.policy", message, hint)


def _inline(found: Findings, path: str, files: Sequence[ConfigFile]) -> None:
    found.count(path, files, 1_000, least=1)
    for index, file in enumerate(files):
        found.text(f"{path}[{index}].path", file.path, RELATIVE_PATH)
    # Below one root the rules are those of mounts: nothing twice, nothing below a file.
    placed = [(f"{path}[{i}].path", f"/{f.path}") for i, f in enumerate(files) if RELATIVE_PATH.holds(f.path)]
    if len(placed) <= 1_000:
        _placed(found, placed)
    total = sum(len(f.content.encode("utf-8", "surrogatepass")) for f in files)
    if total > INLINE_BYTES:
        message = f"files must be at most {INLINE_BYTES} bytes together"
        found.add(path, total, "source.size", message, "send them as a bundle (UploadBundle)")


def _placed(found: Findings, placed: Sequence[tuple[str, str]]) -> None:
    seen: set[str] = set()
    files = {path for _, path in placed}
    for field, path in placed:
        if path in seen:
            found.add(field, path[1:], "source.unique", "must not be given twice", "rename one of the files")
        seen.add(path)
        parts = path.split("/")
        above = next((p for n in range(2, len(parts)) if (p := "/".join(parts[:n])) in files), None)
        if above is not None:
            message = f"must not lie below the file {above[1:]}"
            found.add(field, path[1:], "source.conflict", message, "rename one of them")

"""What there is to say of a sound plan: how its needs compare with its quota, and what is likely not meant. Pure.

It must not find problems (`manifests.check` does): everything said here is allowed. No warning shows the value of a
variable, because it may be a secret that somebody wrote in the wrong place.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from k8s_execution.domain.faults import Problem
from k8s_execution.domain.plan import CleanupPolicy, Specification, Step
from k8s_execution.domain.quantity import format_bytes, format_cpu, format_duration, parse_quantity
from k8s_execution.manifests import sizing
from k8s_execution.manifests.rules.findings import entry
from k8s_execution.manifests.sizing import Demand
from k8s_execution.ports.manifests import QuotaSum

_EXPANSION = re.compile(r"\$\([A-Za-z_][A-Za-z0-9_]*\)")
_AMOUNTS: tuple[tuple[str, Callable[[Demand], Decimal], Callable[[Decimal], str]], ...] = (
    ("requests.cpu", lambda d: d.cpu, format_cpu),
    ("requests.memory", lambda d: d.memory, format_bytes),
    ("limits.cpu", lambda d: d.cpu_limit, format_cpu),
    ("limits.memory", lambda d: d.memory_limit, format_bytes),
    ("pods", lambda d: Decimal(d.pods), lambda n: str(int(n))),
)


def quota_sums(specification: Specification) -> tuple[QuotaSum, ...]:
    """For each resource of the quota: what the plan needs at once at most to run as written, and what it gets."""
    needed, hard = sizing.least(specification), sizing.hard(specification)
    return tuple(
        QuotaSum(
            resource=name,
            needed=shown(amount(needed)),
            allowed=hard[name],
            sufficient=amount(needed) <= parse_quantity(hard[name]),
            parts=tuple(_parts(specification, lambda d, a=amount, s=shown: s(a(d)))),  # type: ignore[misc]  # bound now
        )
        for name, amount, shown in _AMOUNTS
    )


def warnings(specification: Specification) -> tuple[Problem, ...]:
    """What is allowed and likely not meant."""
    return (
        *_unreplaced_variables(specification),
        *_moving_images(specification),
        *_no_readiness(specification),
        *_other_port(specification),
        *_open_network(specification),
        *_all_optional(specification),
        *_cut_hold(specification),
    )


def _parts(specification: Specification, one: Callable[[Demand], str]) -> Iterator[str]:
    """`api 2 x 250m`, `suites 3 x 260m, 1 x 1`, `hooks 1 x 260m`: hooks and suites do not run together."""
    for application in specification.environment.applications:
        yield f"{application.name} {application.replicas} x {one(sizing.of_application(application))}"
    plan = specification.test_plan
    yield f"suites, {min(plan.strategy.parallel, len(plan.suites))} at once, of {_pods(plan.suites, one)}"
    if hooks := (*plan.setup, *plan.teardown):
        yield f"or hooks, 1 at once, of {_pods(hooks, one)}"


def _pods(steps: Sequence[Step], one: Callable[[Demand], str]) -> str:
    counted = Counter(one(sizing.of_step(s)) for s in steps)
    return ", ".join(f"{count} x {amount}" for amount, count in counted.items())


def _moving_images(specification: Specification) -> Iterator[Problem]:
    plan = specification.test_plan
    named = [(f"environment.applications[{i}]", a.image) for i, a in enumerate(specification.environment.applications)]
    for kind, steps in (("setup", plan.setup), ("suites", plan.suites), ("teardown", plan.teardown)):
        named += [(f"test_plan.{kind}[{i}]", s.image) for i, s in enumerate(steps)]
    for path, image in named:
        tag = image.rpartition("/")[2].partition(":")[2]
        if "@" not in image and tag in {"", "latest"}:
            message = "names an image that may be another one tomorrow"
            yield Problem(f"{path}.image", image[:80], "image.moving", message, "name a version, or a digest")


def _no_readiness(specification: Specification) -> Iterator[Problem]:
    for index, application in enumerate(specification.environment.applications):
        if application.ports and application.readiness is None:
            message = "has ports but no readiness, so the tests begin as soon as its container runs"
            hint = "write for example readiness: {tcp: {port: " + str(application.ports[0].port) + "}}"
            yield Problem(f"environment.applications[{index}]", application.name, "readiness.missing", message, hint)


def _other_port(specification: Specification) -> Iterator[Problem]:
    for index, application in enumerate(specification.environment.applications):
        probe = application.readiness
        if probe is not None and probe.port and probe.port not in {p.port for p in application.ports}:
            field = f"environment.applications[{index}].readiness.{probe.kind.value.lower()}.port"
            hint = "add it to ports, unless only the probe needs it"
            yield Problem(field, str(probe.port), "readiness.port", "is not among the application's ports", hint)


def _unreplaced_variables(specification: Specification) -> Iterator[Problem]:
    plan = specification.test_plan
    named = [("environment.env", specification.environment.env)]
    named += [
        (f"environment.applications[{i}].env", a.env) for i, a in enumerate(specification.environment.applications)
    ]
    for kind, steps in (("setup", plan.setup), ("suites", plan.suites), ("teardown", plan.teardown)):
        named += [(f"test_plan.{kind}[{i}].env", s.env) for i, s in enumerate(steps)]
    for path, values in named:
        for name, value in values.items():
            if found := _EXPANSION.search(value):
                message = f"holds {found.group()}, which stays as it is: Kubernetes' own references are not replaced"
                hint = "use ${app.host} and its like; ignore this where a shell reads it"
                yield Problem(entry(path, name), "", "variable.expansion", message, hint)


def _open_network(specification: Specification) -> Iterator[Problem]:
    for index, rule in enumerate(specification.environment.egress):
        if rule.cidr.endswith("/0"):
            message = "opens all addresses, so tests may depend on what is outside"
            hint = "name the networks that the plan needs"
            yield Problem(f"environment.network.egress[{index}].cidr", rule.cidr, "egress.open", message, hint)


def _cut_hold(specification: Specification) -> Iterator[Problem]:
    policy = specification.policy
    if policy.cleanup is not CleanupPolicy.ALWAYS and policy.timeout_ms + policy.hold_for_ms > policy.ttl_ms:
        message = f"may be cut short: the TTL ({format_duration(policy.ttl_ms)}) ends a held environment too"
        hint = "raise policy.ttl to the sum of timeout and hold_for"
        yield Problem("policy.hold_for", format_duration(policy.hold_for_ms), "hold.ttl", message, hint)


def _all_optional(specification: Specification) -> Iterator[Problem]:
    suites = specification.test_plan.suites
    if suites and all(s.optional for s in suites):
        message = "are all optional, so no failed test can decide the verdict"
        yield Problem("test_plan.suites", str(len(suites)), "suites.optional", message, "leave one not optional")

"""A whole request: ExecuteRequest in, `usecases.ExecuteCall` out. Pure and total (see `wire.decode_environment`).

Defaults are the domain's, except those of the policy, which an installation may choose (`defaults`).
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.struct_pb2 import ListValue

from k8s_execution.domain.faults import Problem
from k8s_execution.domain.plan import (
    BundleSource,
    CleanupPolicy,
    ConfigFile,
    ImageSource,
    InlineSource,
    Policy,
    Source,
    Specification,
    Step,
    StepKind,
    Strategy,
    SuiteType,
    TestPlan,
)
from k8s_execution.transports.wire.decode_environment import duration, environment, resources
from k8s_execution.usecases import ExecuteCall
from k8s_execution_client._gen.maestro.k8s.execution.v1 import execution_service_pb2 as service_pb
from k8s_execution_client._gen.maestro.k8s.execution.v1 import plan_pb2 as pb

UNNAMED = "unnamed"
DEFAULT_PROJECT = "default"
_STRATEGY = Strategy()


def execute_call(message: service_pb.ExecuteRequest, problems: Iterable[Problem], defaults: Policy) -> ExecuteCall:
    """The request as a value; `problems` are those that its field rules found."""
    surroundings, secrets = environment(message.environment)
    specification = Specification(
        name=message.name or UNNAMED,
        test_plan=_test_plan(message.test_plan),
        environment=surroundings,
        policy=_policy(message.policy, defaults),
        project=message.project or DEFAULT_PROJECT,
        labels=dict(message.labels),
        parameters=dict(message.parameters),
    )
    return ExecuteCall(specification, secrets, message.idempotency_key, tuple(problems))


def _test_plan(message: pb.TestPlan) -> TestPlan:
    strategy = message.strategy
    parallel = strategy.parallel if strategy.HasField("parallel") else _STRATEGY.parallel
    return TestPlan(
        source=_source(message.source),
        suites=tuple(map(_suite, message.suites)),
        setup=tuple(_hook(h, StepKind.SETUP) for h in message.setup),
        teardown=tuple(_hook(h, StepKind.TEARDOWN) for h in message.teardown),
        strategy=Strategy(parallel, strategy.fail_fast),
    )


def _source(message: pb.Source) -> Source:
    """A source that the service cannot use is reported by its rule; it then counts as none."""
    match message.WhichOneof("kind"):
        case "bundle":
            return BundleSource(message.bundle.id)
        case "inline":
            return InlineSource(tuple(ConfigFile(f.path, f.content) for f in message.inline.files))
        case _:
            return ImageSource()


def _hook(message: pb.Hook, kind: StepKind) -> Step:
    return Step(
        name=message.name,
        kind=kind,
        image=message.image,
        command=tuple(message.command),
        install=_install(message.install),
        env=dict(message.env),
        resources=resources(message.resources),
        artifacts=tuple(message.artifacts),
        timeout_ms=_timeout(message),
        after=tuple(message.after) or None,
    )


def _suite(message: pb.Suite) -> Step:
    known = {pb.PYTEST: SuiteType.PYTEST, pb.CUSTOM: SuiteType.CUSTOM}
    return Step(
        name=message.name,
        kind=StepKind.SUITE,
        image=message.image,
        command=tuple(message.command),
        install=_install(message.install),
        env=dict(message.env),
        resources=resources(message.resources),
        reports=tuple(message.reports),
        artifacts=tuple(message.artifacts),
        timeout_ms=_timeout(message),
        after=tuple(message.after) or None,
        suite_type=known.get(message.type, SuiteType.PYTEST),
        optional=message.optional,
    )


def _install(lists: Iterable[ListValue]) -> tuple[tuple[str, ...], ...]:
    """Words only: what is no text in a list is reported by `install.command`."""
    return tuple(tuple(v.string_value for v in words.values) for words in lists)


def _timeout(message: pb.Hook | pb.Suite) -> int | None:
    return (duration(message.timeout, 0) or None) if message.HasField("timeout") else None


def _policy(message: pb.Policy, defaults: Policy) -> Policy:
    names = {pb.ALWAYS: CleanupPolicy.ALWAYS, pb.ON_SUCCESS: CleanupPolicy.ON_SUCCESS, pb.HOLD: CleanupPolicy.HOLD}
    return Policy(
        timeout_ms=duration(message.timeout, defaults.timeout_ms),
        provisioning_timeout_ms=duration(message.provisioning_timeout, defaults.provisioning_timeout_ms),
        queue_timeout_ms=duration(message.queue_timeout, defaults.queue_timeout_ms),
        teardown_timeout_ms=defaults.teardown_timeout_ms,
        ttl_ms=duration(message.ttl, defaults.ttl_ms),
        cleanup=names.get(message.cleanup, defaults.cleanup),
        hold_for_ms=duration(message.hold_for, defaults.hold_for_ms),
        priority=message.priority,
    )

"""The environment of a request: messages in, domain values out. Pure.

Decoding is total: what is missing or malformed takes the domain's default, because the field rules report it in the
same answer (see `wire.validation`). Secret values leave apart from the environment, which holds their names only.
"""

from __future__ import annotations

from decimal import Decimal

from k8s_execution.domain.plan import (
    Application,
    ConfigFile,
    EgressRule,
    Environment,
    Port,
    Quota,
    Readiness,
    ReadinessKind,
    Resources,
    Security,
    Volume,
)
from k8s_execution.domain.quantity import parse_duration, parse_quantity
from k8s_execution_client._gen.maestro.k8s.execution.v1 import environment_pb2 as pb

_READINESS = Readiness(ReadinessKind.TCP)
_RESOURCES = Resources()
_BOUNDED = 64
"""The longest text that is looked at as a number: longer ones break their rule, and reading them costs."""


def environment(message: pb.Environment) -> tuple[Environment, dict[str, str]]:
    """The environment, and the secret values by name; one whose value is not there is empty."""
    decoded = Environment(
        env=dict(message.env),
        secrets=tuple(sorted(message.secrets)),
        files=tuple(ConfigFile(f.path, f.content) for f in message.files),
        applications=tuple(map(_application, message.applications)),
        egress=tuple(EgressRule(e.cidr, tuple(e.ports)) for e in message.network.egress),
        quota=_quota(message.quota),
    )
    return decoded, {name: source.value for name, source in message.secrets.items()}


def resources(message: pb.Resources) -> Resources:
    """Requests and limits; a request above the default limit is its own limit where none is given."""
    cpu = message.cpu if message.HasField("cpu") else _RESOURCES.cpu
    memory = message.memory if message.HasField("memory") else _RESOURCES.memory
    return Resources(
        cpu=cpu,
        memory=memory,
        cpu_limit=message.cpu_limit if message.HasField("cpu_limit") else _larger(cpu, _RESOURCES.cpu_limit),
        memory_limit=(
            message.memory_limit if message.HasField("memory_limit") else _larger(memory, _RESOURCES.memory_limit)
        ),
        shm_size=message.shm_size,
    )


def duration(text: str, default: int) -> int:
    """Milliseconds; the default where the text is no duration of more than zero (its rule says so)."""
    try:
        return (parse_duration(text) if len(text) <= _BOUNDED else 0) or default
    except ValueError:
        return default


def _application(message: pb.Application) -> Application:
    return Application(
        name=message.name,
        image=message.image,
        command=tuple(message.command),
        args=tuple(message.args),
        working_dir=message.working_dir,
        replicas=message.replicas if message.HasField("replicas") else 1,
        ports=tuple(Port(p.name or f"port-{p.port}", p.port) for p in message.ports),
        env=dict(message.env),
        readiness=_readiness(message.readiness) if message.HasField("readiness") else None,
        resources=resources(message.resources),
        volumes=tuple(Volume(v.name, v.mount_path, v.size) for v in message.volumes),
        security=_security(message.security),
        after=tuple(message.after),
    )


def _readiness(message: pb.Readiness) -> Readiness | None:
    """None where no kind is given, which the rule `readiness.one_of` reports."""
    probe = message.WhichOneof("probe")
    if probe is None:
        return None
    kind = ReadinessKind[probe.upper()]
    port = 0 if probe == "exec" else getattr(message, probe).port
    return Readiness(
        kind=kind,
        port=port,
        path=(message.http.path or "/") if kind is ReadinessKind.HTTP else "",
        command=tuple(message.exec.command),
        service=message.grpc.service,
        period_ms=duration(message.period, _READINESS.period_ms),
        timeout_ms=duration(message.timeout, _READINESS.timeout_ms),
        failure_threshold=(
            message.failure_threshold if message.HasField("failure_threshold") else _READINESS.failure_threshold
        ),
    )


def _security(message: pb.Security) -> Security:
    return Security(
        run_as_user=message.run_as_user if message.HasField("run_as_user") else None,
        writable_root=message.writable_root if message.HasField("writable_root") else True,
    )


def _quota(message: pb.Quota) -> Quota:
    return Quota(
        cpu=message.cpu if message.HasField("cpu") else None,
        memory=message.memory if message.HasField("memory") else None,
        pods=message.pods if message.HasField("pods") else None,
        ephemeral_storage=message.ephemeral_storage if message.HasField("ephemeral_storage") else None,
    )


def _larger(request: str, limit: str) -> str:
    return request if _amount(request) > _amount(limit) else limit


def _amount(text: str) -> Decimal:
    try:
        return parse_quantity(text) if len(text) <= _BOUNDED else Decimal(0)
    except ValueError:
        return Decimal(0)

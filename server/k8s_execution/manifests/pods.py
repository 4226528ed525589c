"""What a pod of an execution gets: variables, files, volumes, user, probe, as JSON data for the templates.

Pure. It must not know templates or whole objects. It is apart from `render` because this is where the plan's words
meet the pod spec's, rule by rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from k8s_execution.domain import naming
from k8s_execution.domain.execution import Execution, StepKey
from k8s_execution.domain.plan import (
    Application,
    Environment,
    ImageSource,
    Readiness,
    ReadinessKind,
    Resources,
    Step,
    StepKind,
)
from k8s_execution.domain.suites import RULES
from k8s_execution.manifests.references import address_of

Json = Any

DEFAULT_USER = 1000
AGENT_VARIABLE = "K8S_EXECUTION_STEP"
FILES_VOLUME, SHM_VOLUME, TMP_VOLUME = "environment-files", "shm", "tmp"
SHM_PATH, TMP_PATH = "/dev/shm", "/tmp"  # noqa: S108 - mount points inside a pod

IMAGE_USERS: tuple[tuple[str, str, int], ...] = (
    ("postgres", "alpine", 70), ("postgres", "", 999), ("mysql", "", 999), ("mariadb", "", 999), ("mongo", "", 999),
    ("redis", "", 999), ("valkey", "", 999), ("rabbitmq", "alpine", 100), ("rabbitmq", "", 999),
    ("memcached", "", 11211), ("nginx", "", 101), ("nginx-unprivileged", "", 101), ("node", "", 1000),
)  # fmt: skip
"""The user that an image is made for: last part of its name, a part of its tag, numeric user (from its Dockerfile)."""

_EXPANDED = re.compile(r"\$+(?=\()|\$\$+")


def verbatim(text: str) -> str:
    """Text that Kubernetes' expansion gives back unchanged.

    In env, command and args `$(NAME)` is replaced and `$$` becomes `$` (k8s.io/kubernetes,
    third_party/forked/golang/expansion), so dollars before `(` and runs of dollars are doubled.
    """
    return _EXPANDED.sub(lambda found: found.group() * 2, text)


def user_of(image: str, wanted: int | None = None) -> int:
    """The numeric user of a pod: the plan's, else the one its image is known to be made for, else 1000."""
    if wanted is not None:
        return wanted
    name, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    for known, part, user in IMAGE_USERS:
        if name == known and part in tag:
            return user
    return DEFAULT_USER


def resources(wanted: Resources) -> Json:
    """A container's requests and limits."""
    return {
        "requests": {"cpu": wanted.cpu, "memory": wanted.memory},
        "limits": {"cpu": wanted.cpu_limit, "memory": wanted.memory_limit},
    }


def seconds(milliseconds: int) -> int:
    """Whole seconds, rounded up, at least one: Kubernetes' probes and deadlines know no less."""
    return max(1, -(-milliseconds // 1000))


def probe(readiness: Readiness | None) -> Json:
    """A readiness probe, or None for an application that is ready as soon as it runs."""
    if readiness is None:
        return None
    common = {
        "periodSeconds": seconds(readiness.period_ms),
        "timeoutSeconds": seconds(readiness.timeout_ms),
        "failureThreshold": readiness.failure_threshold,
    }
    match readiness.kind:
        case ReadinessKind.HTTP:
            return {"httpGet": {"path": readiness.path or "/", "port": readiness.port}, **common}
        case ReadinessKind.TCP:
            return {"tcpSocket": {"port": readiness.port}, **common}
        case ReadinessKind.GRPC:
            return {"grpc": {"port": readiness.port, "service": readiness.service}, **common}
        case ReadinessKind.EXEC:
            return {"exec": {"command": [verbatim(word) for word in readiness.command]}, **common}
        case _:
            assert_never(readiness.kind)


@dataclass(frozen=True, slots=True)
class Mounted:
    """Volumes of a pod and their mounts in the user's container."""

    volumes: Sequence[Json]
    mounts: Sequence[Json]


def application_volumes(environment: Environment, application: Application) -> Mounted:
    """The application's own volumes, the files, /dev/shm by size, and /tmp where the root is read-only."""
    volumes: list[Json] = [
        {"name": v.name, "emptyDir": {"sizeLimit": v.size} if v.size else {}} for v in application.volumes
    ]
    mounts: list[Json] = [{"name": v.name, "mountPath": v.mount_path} for v in application.volumes]
    taken = {v.mount_path.rstrip("/") for v in application.volumes}
    if not application.security.writable_root and TMP_PATH not in taken:
        volumes.append({"name": TMP_VOLUME, "emptyDir": {}})
        mounts.append({"name": TMP_VOLUME, "mountPath": TMP_PATH})
    return _with_common(environment, application.resources, volumes, mounts)


def step_volumes(environment: Environment, step: Step) -> Mounted:
    """The volume that the agent shares between the containers, the files, and /dev/shm by size."""
    volumes: list[Json] = [{"name": naming.SHARED_VOLUME, "emptyDir": {}}]
    mounts: list[Json] = [{"name": naming.SHARED_VOLUME, "mountPath": naming.SHARED_PATH}]
    return _with_common(environment, step.resources, volumes, mounts)


def file_key(index: int) -> str:
    """The key of a file in the ConfigMap: a path is no valid key."""
    return f"file-{index}"


def application_env(execution: Execution, application: Application, extra: Mapping[str, str]) -> list[Json]:
    """The variables of an application's container."""
    environment = execution.specification.environment
    plain = {"PYTHONUNBUFFERED": "1", **extra, **_addresses(environment)}
    return _env(environment, plain, application.env)


def step_env(execution: Execution, key: StepKey, extra: Mapping[str, str], grace_ms: int) -> list[Json]:
    """The variables of a step's container, among them what the agent is to do."""
    environment, step = execution.specification.environment, execution.spec_of(key)
    plain = {**extra, **_addresses(environment), **standard_env(execution.id, key)}
    own = dict(step.env)
    for name, value in RULES[step.suite_type].env.items() if step.suite_type else ():
        given = own.get(name, environment.env.get(name, ""))
        own[name] = f"{value} {given}".rstrip()
    agent = {"name": AGENT_VARIABLE, "value": verbatim(_json(agent_spec(execution, key, grace_ms)))}
    return [agent, *_env(environment, plain, own)]


def standard_env(execution_id: str, key: StepKey) -> dict[str, str]:
    """What every step is told (docs/contract). HOME is the work directory, because an arbitrary user has none.

    The agent puts `$PYTHONUSERBASE/bin` in front of PATH, so programs that `pip install --user` brought are found.
    """
    named = {"SUITE": key.name} if key.kind is StepKind.SUITE else {}
    return {
        "EXECUTION_ID": execution_id,
        "STEP": key.name,
        **named,
        "SHARD_INDEX": str(key.shard),
        "SHARD_COUNT": "1",
        "ATTEMPT": str(key.attempt),
        "WORK_DIR": naming.WORK_DIR,
        "REPORT_DIR": naming.REPORT_DIR,
        "ARTIFACT_DIR": naming.ARTIFACT_DIR,
        "CI": "true",
        "HOME": naming.WORK_DIR,
        "PYTHONUSERBASE": f"{naming.WORK_DIR}/.local",
        "PYTHONUNBUFFERED": "1",
    }


def agent_spec(execution: Execution, key: StepKey, grace_ms: int) -> dict[str, Json]:
    """What the agent is to do, as docs/agent.md describes it."""
    step = execution.spec_of(key)
    default = RULES[step.suite_type].command if step.suite_type else ()
    in_image = isinstance(execution.specification.test_plan.source, ImageSource)
    return {
        "install": [list(words) for words in step.install],
        "command": list(step.command or default),
        "source": not in_image,
        "in_place": in_image,
        "merge": True,
        "timeout_ms": step_timeout_ms(execution, step),
        "grace_ms": grace_ms,
    }


def step_timeout_ms(execution: Execution, step: Step) -> int:
    """A step's own timeout, else the policy's for its kind."""
    policy = execution.specification.policy
    default = policy.teardown_timeout_ms if step.kind is StepKind.TEARDOWN else policy.timeout_ms
    return step.timeout_ms or default


def _with_common(environment: Environment, wanted: Resources, volumes: list[Json], mounts: list[Json]) -> Mounted:
    if environment.files:
        volumes.append({"name": FILES_VOLUME, "configMap": {"name": naming.CONFIG_FILES}})
    for index, file in enumerate(environment.files):
        mount = {"name": FILES_VOLUME, "mountPath": file.path, "subPath": file_key(index), "readOnly": True}
        mounts.append(mount)
    if wanted.shm_size:
        volumes.append({"name": SHM_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": wanted.shm_size}})
        mounts.append({"name": SHM_VOLUME, "mountPath": SHM_PATH})
    return Mounted(volumes, mounts)


def _addresses(environment: Environment) -> dict[str, str]:
    """`X_HOST`, `X_PORT`, `X_URL` of every application that has an address."""
    return {
        f"{naming.env_prefix(application.name)}_{name.upper()}": text
        for application in environment.applications
        for name, text in address_of(application).items()
        if "." not in name
    }


def _env(environment: Environment, plain: Mapping[str, str], own: Mapping[str, str]) -> list[Json]:
    """Ours first, then the plan's, which win; a secret replaces what is ours of the same name."""
    values = {**plain, **environment.env, **own}
    found = [{"name": n, "value": verbatim(v)} for n, v in values.items() if n not in environment.secrets]
    return [*found, *_secret_env(environment.secrets)]


def _secret_env(names: Iterable[str]) -> list[Json]:
    return [{"name": name, "valueFrom": {"secretKeyRef": {"name": naming.SECRET_ENV, "key": name}}} for name in names]


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

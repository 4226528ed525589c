"""Raw Kubernetes objects to facts; pure, and total: whatever is missing or of a wrong type takes a default.

Dictionaries end here. It must not decide what a fact means. Field meanings are Kubernetes' own (`core/v1`, `batch/v1`,
`apps/v1` types). Times become microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from k8s_execution.domain import naming
from k8s_execution.domain.facts import (
    ContainerFact,
    ContainerKind,
    ContainerState,
    DeploymentFact,
    EventFact,
    JobFact,
    NamespaceFact,
    PodFact,
    PodPhase,
)

Raw = Mapping[str, Any]
_EMPTY: dict[str, Any] = {}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# The five conditions of a namespace under deletion (core/v1 NamespaceConditionType); True means "this is in the way".
_DELETION_CONDITIONS = frozenset(
    {
        "NamespaceDeletionDiscoveryFailure",
        "NamespaceDeletionContentFailure",
        "NamespaceDeletionGroupVersionParsingFailure",
        "NamespaceContentRemaining",
        "NamespaceFinalizersRemaining",
    }
)


def micros(value: Any) -> int | None:
    """An RFC 3339 time (Time or MicroTime) as microseconds since the epoch; None if it is none."""
    return _micros(value) if isinstance(value, str) and value else None


@lru_cache(maxsize=4096)
def _micros(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment - _EPOCH) // _MICROSECOND if moment.tzinfo is not None else None


def pod(raw: Raw) -> PodFact:
    """A v1 Pod."""
    metadata, spec, status = _map(raw, "metadata"), _map(raw, "spec"), _map(raw, "status")
    labels = _map(metadata, "labels")
    conditions = _conditions(status)
    scheduled = conditions.get("PodScheduled", _EMPTY)
    disrupted = conditions.get("DisruptionTarget", _EMPTY)
    ended = status if _text(status, "reason") or not _is_true(disrupted) else disrupted
    return PodFact(
        namespace=_text(metadata, "namespace"),
        name=_text(metadata, "name"),
        uid=_text(metadata, "uid"),
        execution_id=_text(labels, naming.LABEL_EXECUTION),
        created_at=_time(metadata, "creationTimestamp") or 0,
        step_kind=_text(labels, naming.LABEL_STEP_KIND),
        step=_text(labels, naming.LABEL_STEP),
        shard=_number_of(_text(labels, naming.LABEL_SHARD), 0),
        attempt=_number_of(_text(labels, naming.LABEL_ATTEMPT), 1),
        application=_text(labels, naming.LABEL_APPLICATION),
        job=_owner(metadata, "Job"),
        phase=_phase(status),
        reason=_text(ended, "reason"),
        message=_text(ended, "message"),
        node=_text(spec, "nodeName"),
        scheduled=_is_true(scheduled) or bool(_text(spec, "nodeName")),
        scheduling_message="" if _is_true(scheduled) else _text(scheduled, "message"),
        ready=_is_true(conditions.get("Ready", _EMPTY)),
        deleting=_deleting(metadata),
        containers=(
            *_containers(spec, "initContainers", status, "initContainerStatuses", ContainerKind.INIT),
            *_containers(spec, "containers", status, "containerStatuses", ContainerKind.MAIN),
        ),
    )


def job(raw: Raw) -> JobFact:
    """A batch/v1 Job."""
    metadata, status = _map(raw, "metadata"), _map(raw, "status")
    conditions = _conditions(status)
    failed = conditions.get("Failed", _EMPTY)
    has_failed = _is_true(failed)
    return JobFact(
        namespace=_text(metadata, "namespace"),
        name=_text(metadata, "name"),
        uid=_text(metadata, "uid"),
        execution_id=_text(_map(metadata, "labels"), naming.LABEL_EXECUTION),
        created_at=_time(metadata, "creationTimestamp") or 0,
        active=_integer(status, "active"),
        complete=_is_true(conditions.get("Complete", _EMPTY)),
        failed_reason=(_text(failed, "reason") or "Failed") if has_failed else "",
        failed_message=_text(failed, "message") if has_failed else "",
        deleting=_deleting(metadata),
    )


def deployment(raw: Raw) -> DeploymentFact:
    """An apps/v1 Deployment. `observed` means that the status speaks of the present spec."""
    metadata, spec, status = _map(raw, "metadata"), _map(raw, "spec"), _map(raw, "status")
    failure = _conditions(status).get("ReplicaFailure", _EMPTY)
    return DeploymentFact(
        namespace=_text(metadata, "namespace"),
        name=_text(metadata, "name"),
        uid=_text(metadata, "uid"),
        execution_id=_text(_map(metadata, "labels"), naming.LABEL_EXECUTION),
        created_at=_time(metadata, "creationTimestamp") or 0,
        replicas=_integer(spec, "replicas", 1),
        ready_replicas=_integer(status, "readyReplicas"),
        observed=_integer(status, "observedGeneration") >= max(1, _integer(metadata, "generation")),
        failure_message=_text(failure, "message") if _is_true(failure) else "",
        deleting=_deleting(metadata),
    )


def namespace(raw: Raw) -> NamespaceFact:
    """A v1 Namespace; `expires_at` from our annotation (RFC 3339)."""
    metadata, status = _map(raw, "metadata"), _map(raw, "status")
    labels = _map(metadata, "labels")
    return NamespaceFact(
        name=_text(metadata, "name"),
        uid=_text(metadata, "uid"),
        execution_id=_text(labels, naming.LABEL_EXECUTION),
        installation=_text(labels, naming.LABEL_INSTALLATION),
        created_at=_time(metadata, "creationTimestamp") or 0,
        expires_at=_time(_map(metadata, "annotations"), naming.ANNOTATION_EXPIRES_AT),
        terminating=_deleting(metadata) or _text(status, "phase") == "Terminating",
        conditions=tuple(
            f"{name}: {_text(condition, 'message') or _text(condition, 'reason')}"
            for name, condition in _conditions(status).items()
            if name in _DELETION_CONDITIONS and _is_true(condition)
        ),
    )


def event(raw: Raw) -> EventFact:
    """A v1 Event; counts and times come from its series where it has one (events.k8s.io writers), else from itself."""
    metadata, involved, series = _map(raw, "metadata"), _map(raw, "involvedObject"), _map(raw, "series")
    created = _time(metadata, "creationTimestamp") or 0
    once = _time(raw, "eventTime")
    first = _time(raw, "firstTimestamp") or once or created
    return EventFact(
        uid=_text(metadata, "uid"),
        involved_kind=_text(involved, "kind"),
        involved_name=_text(involved, "name"),
        involved_uid=_text(involved, "uid"),
        type=_text(raw, "type"),
        reason=_text(raw, "reason"),
        message=_text(raw, "message"),
        count=_integer(series, "count") or _integer(raw, "count") or 1,
        first_at=first,
        last_at=_time(series, "lastObservedTime") or _time(raw, "lastTimestamp") or once or first,
    )


def items(page: Raw) -> list[dict[str, Any]]:
    """The objects of a List."""
    return [i for i in _maps(page, "items") if isinstance(i, dict)]


def version(raw: Raw) -> str:
    """metadata.resourceVersion, opaque; empty if there is none."""
    return _text(_map(raw, "metadata"), "resourceVersion")


def uid(raw: Raw) -> str:
    """metadata.uid; empty if there is none."""
    return _text(_map(raw, "metadata"), "uid")


def key(raw: Raw) -> tuple[str, str]:
    """(namespace, name), which name one object of a kind at a time."""
    metadata = _map(raw, "metadata")
    return _text(metadata, "namespace"), _text(metadata, "name")


def _containers(spec: Raw, in_spec: str, status: Raw, in_status: str, kind: ContainerKind) -> Sequence[ContainerFact]:
    """One fact for each status, in the order of the spec; the image is the one the spec asks for."""
    images = {_text(c, "name"): _text(c, "image") for c in _maps(spec, in_spec)}
    order = {name: index for index, name in enumerate(images)}
    facts = [_container(s, images, kind) for s in _maps(status, in_status)]
    return sorted(facts, key=lambda fact: order.get(fact.name, len(order)))


def _container(status: Raw, images: Mapping[str, str], kind: ContainerKind) -> ContainerFact:
    name = _text(status, "name")
    state, detail = _state(_map(status, "state"))
    last = _map(_map(status, "lastState"), "terminated")
    ended = state is ContainerState.TERMINATED
    return ContainerFact(
        name=name,
        kind=kind,
        image=images.get(name) or _text(status, "image"),
        state=state,
        image_id=_text(status, "imageID"),
        container_id=_text(status, "containerID") or _text(detail, "containerID"),
        reason=_text(detail, "reason"),
        message=_text(detail, "message"),
        ready=status.get("ready") is True,
        started=status.get("started") is True,
        restart_count=_integer(status, "restartCount"),
        exit_code=_integer(detail, "exitCode") if ended else None,
        started_at=_time(detail, "startedAt"),
        finished_at=_time(detail, "finishedAt") if ended else None,
        last_reason=_text(last, "reason"),
        last_exit_code=_integer(last, "exitCode") if last else None,
        last_container_id=_text(last, "containerID"),
        last_finished_at=_time(last, "finishedAt"),
    )


def _state(state: Raw) -> tuple[ContainerState, Raw]:
    """Which of the three is set; none means waiting (core/v1 ContainerState)."""
    for name, meaning in (("terminated", ContainerState.TERMINATED), ("running", ContainerState.RUNNING)):
        detail = state.get(name)
        if isinstance(detail, dict):
            return meaning, detail
    return ContainerState.WAITING, _map(state, "waiting")


def _conditions(status: Raw) -> dict[str, Raw]:
    return {_text(c, "type"): c for c in _maps(status, "conditions")}


def _is_true(condition: Raw) -> bool:
    return condition.get("status") == "True"


def _deleting(metadata: Raw) -> bool:
    return bool(metadata.get("deletionTimestamp"))


def _phase(status: Raw) -> PodPhase:
    """A pod that nobody has reported on yet is pending."""
    try:
        return PodPhase(_text(status, "phase") or PodPhase.PENDING)
    except ValueError:
        return PodPhase.UNKNOWN


def _owner(metadata: Raw, kind: str) -> str:
    return next((_text(o, "name") for o in _maps(metadata, "ownerReferences") if o.get("kind") == kind), "")


def _map(raw: Raw, name: str) -> Raw:
    value = raw.get(name)
    return value if isinstance(value, dict) else _EMPTY


def _maps(raw: Raw, name: str) -> list[Raw]:
    value = raw.get(name)
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _text(raw: Raw, name: str) -> str:
    value = raw.get(name)
    return value if isinstance(value, str) else ""


def _integer(raw: Raw, name: str, default: int = 0) -> int:
    value = raw.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _number_of(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default


def _time(raw: Raw, name: str) -> int | None:
    return micros(raw.get(name))

"""How an object goes: preconditions, propagation, finalizers, grace.

Rules of k8s.io/apiserver/pkg/registry/rest/delete.go and of the pod and namespace strategies. Pure: works on copies and
is told the time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from k8s_simulation.api import options
from k8s_simulation.api.objects import Object, clone, is_finished, meta, name_of, spec_of, timestamp, uid_of
from k8s_simulation.api.problems import FieldProblem, bad_request, conflict, invalid_value, listed_unsupported
from k8s_simulation.api.resources import JOBS, NAMESPACES, PODS, Resource
from k8s_simulation.api.storage import Entry

ORPHAN_FINALIZER = "orphan"
FOREGROUND_FINALIZER = "foregroundDeletion"


class Propagation(Enum):
    """What becomes of the dependents."""

    ORPHAN = "Orphan"
    BACKGROUND = "Background"
    FOREGROUND = "Foreground"


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """metav1.DeleteOptions. `grace` in seconds; None is the object's own."""

    grace: int | None = None
    propagation: Propagation | None = None
    uid: str | None = None
    resource_version: str | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """The outcome: the last or present state, and whether the object is gone."""

    entry: Entry
    gone: bool


IMMEDIATE = DeleteOptions(grace=0, propagation=Propagation.BACKGROUND)
BACKGROUND = DeleteOptions(propagation=Propagation.BACKGROUND)


def parse_options(body: Object, query: dict[str, str]) -> DeleteOptions:
    """The options of a request: its body, or where that is silent its query. Raises 400, and 422 for bad values."""
    body = {k: v for k, v in body.items() if v is not None}
    grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    policy = body.get("propagationPolicy", query.get("propagationPolicy"))
    orphan = body.get("orphanDependents", query.get("orphanDependents"))
    options.refuse("DeleteOptions", _option_problems(body, policy, orphan))
    if policy is None and orphan is not None:
        policy = "Orphan" if str(orphan).lower() == "true" else "Background"
    preconditions = body.get("preconditions") or {}
    try:
        propagation = Propagation(policy) if policy else None
        seconds = None if grace is None or grace == "" else int(grace)
    except ValueError as error:
        raise bad_request(f"invalid delete options: {error}") from error
    return DeleteOptions(seconds, propagation, preconditions.get("uid"), preconditions.get("resourceVersion"))


def _option_problems(body: Object, policy: object, orphan: object) -> list[FieldProblem]:
    """What metav1 validation.ValidateDeleteOptions finds."""
    found = []
    if policy and orphan is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        found.append(invalid_value("propagationPolicy", policy, why))
    if policy and policy not in {p.value for p in Propagation}:
        allowed = ["Foreground", "Background", "Orphan", "nil"]
        found.append(listed_unsupported("propagationPolicy", policy, allowed))
    dry = body.get("dryRun")
    return [*found, *options.dry_run_problems([str(v) for v in dry] if isinstance(dry, list) else [])]


def check_preconditions(resource: Resource, obj: Object, asked_for: DeleteOptions) -> None:
    """Raises 409 unless uid and resourceVersion are those asked for."""
    rules = (
        ("UID", asked_for.uid, uid_of(obj), "deleted and then recreated"),
        ("ResourceVersion", asked_for.resource_version, str(meta(obj).get("resourceVersion")), "modified"),
    )
    # named by its kind, not by its resource: rest.BeforeDelete knows no better
    kind = replace(resource, plural=resource.kind)
    for what, asked, found, might in rules:
        if asked and asked != found:
            why = (
                f"the {what} in the precondition ({asked}) does not match the {what} in record ({found}). "
                f"The object might have been {might}"
            )
            raise conflict(kind, name_of(obj), why)


def begin(resource: Resource, obj: Object, options: DeleteOptions, now: float) -> Object:
    """A copy of the object as the delete leaves it; `is_complete` says whether it is gone at once."""
    new: Object = clone(obj)
    metadata = meta(new)
    _propagation_finalizers(resource, metadata, options)
    grace = _grace(resource, obj, options)
    present = metadata.get("deletionGracePeriodSeconds")
    if metadata.get("deletionTimestamp") is None or (
        present is not None and grace < present and (options.grace is not None or grace == 0)
    ):
        metadata["deletionTimestamp"] = timestamp(now + grace)
        metadata["deletionGracePeriodSeconds"] = grace
    if resource is NAMESPACES:
        metadata.pop("deletionGracePeriodSeconds", None)
        new.setdefault("status", {})["phase"] = "Terminating"
    return new


def is_complete(resource: Resource, obj: Object) -> bool:
    """True for an object that is being deleted and that nothing holds any longer."""
    metadata = meta(obj)
    if metadata.get("deletionTimestamp") is None or metadata.get("finalizers"):
        return False
    if resource is NAMESPACES:
        return not spec_of(obj).get("finalizers")
    return not metadata.get("deletionGracePeriodSeconds")


def _grace(resource: Resource, obj: Object, options: DeleteOptions) -> int:
    """Only pods have a grace period, and only those that a node may be running."""
    if resource is not PODS or not spec_of(obj).get("nodeName") or is_finished(obj):
        return 0
    if options.grace is not None:
        return max(options.grace, 0)
    return int(spec_of(obj).get("terminationGracePeriodSeconds") or 0)


def _propagation_finalizers(resource: Resource, metadata: Object, options: DeleteOptions) -> None:
    finalizers: list[str] = [*(metadata.get("finalizers") or [])]
    policy = options.propagation
    if policy is None and not {ORPHAN_FINALIZER, FOREGROUND_FINALIZER} & set(finalizers):
        # batch/v1 Jobs orphan their pods unless told otherwise (registry/batch/job/strategy.go)
        policy = Propagation.ORPHAN if resource is JOBS else Propagation.BACKGROUND
    if policy is None:
        return
    finalizers = [f for f in finalizers if f not in {ORPHAN_FINALIZER, FOREGROUND_FINALIZER}]
    if policy is Propagation.ORPHAN:
        finalizers.append(ORPHAN_FINALIZER)
    elif policy is Propagation.FOREGROUND:
        finalizers.append(FOREGROUND_FINALIZER)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)

"""Jobs: pods until enough succeeded, or until it is hopeless. After pkg/controller/job.

Completions, parallelism, backoffLimit with its delays, activeDeadlineSeconds, podReplacementPolicy,
ttlSecondsAfterFinished, suspend, and the finalizer batch.kubernetes.io/job-tracking that keeps a finished pod until
it has been counted. A Job is Failed only when all its pods have ended (FailureTarget before), Complete likewise
(SuccessCriteriaMet before), as from Kubernetes 1.31 on. podFailurePolicy is accepted: FailJob and Ignore act,
FailIndex and Count are the default. Indexed completion gives every pod its index. No pod is kept back in memory:
every pass counts the pods anew.
"""

from __future__ import annotations

from collections.abc import Mapping

from k8s_simulation.api.deletion import BACKGROUND
from k8s_simulation.api.objects import (
    Object,
    condition_is,
    is_deleting,
    meta,
    name_of,
    namespace_of,
    seconds_of,
    spec_of,
    status_of,
    uid_of,
)
from k8s_simulation.api.problems import ApiError
from k8s_simulation.api.registry import Ref, Registry, ref_of
from k8s_simulation.api.resources import JOBS, PODS, Resource
from k8s_simulation.controllers.framework import Backoff, Key, KeyFunction, changed_key, owned_by, owner_key
from k8s_simulation.controllers.job_rules import FINALIZER, INDEX, Tally, Verdict, judge, tally
from k8s_simulation.controllers.job_status import add_verdict, job_status
from k8s_simulation.controllers.recorder import Recorder, pod_from_template
from k8s_simulation.faults import FaultBook, StuckFinalizer, matches

_RETRY_SECONDS = (0.01, 5.0)  # between attempts to create refused pods, first and last


_HELD_SECONDS = 0.5  # until a finalizer that a fault holds is tried again


class JobController:
    """Creates pods, counts them, ends Jobs."""

    name = "job"

    def __init__(self, registry: Registry, faults: FaultBook) -> None:
        """Nothing runs yet."""
        self._registry = registry
        self._faults = faults
        self._recorder = Recorder(registry, "job-controller")
        self._backoff = Backoff(*_RETRY_SECONDS)
        self._not_before: dict[Key, float] = {}

    def sources(self) -> Mapping[Resource, KeyFunction]:
        """Jobs and their pods."""
        return {JOBS: changed_key, PODS: owner_key("Job")}

    def reconcile(self, key: Key) -> float | None:
        """One Job. The pods are counted twice a pass: before acting, and after, for the status."""
        ref = Ref(JOBS, *key)
        job = self._registry.find(ref)
        if job is None:
            self._backoff.clear(key)
            self._not_before.pop(key, None)
            return _HELD_SECONDS if not self._release_orphans(key) else None
        pods = owned_by(self._registry.storage.objects(PODS, key[0]), uid_of(job))
        if is_deleting(job) or _is_over(job):
            kept = [p for p in pods if not self._release(p)]
            expiry = None if is_deleting(job) else self._expire(ref, job)
            return _sooner(expiry, _HELD_SECONDS if kept else None)
        now = self._registry.clock()
        verdict = judge(job, tally(job, pods), now)
        delay: float | None = None
        if verdict is None:
            delay = self._manage(job, tally(job, pods))
        else:
            for pod in tally(job, pods).active:
                self._delete_pod(job, pod)
        pods = owned_by(self._registry.storage.objects(PODS, key[0]), uid_of(job))
        held = self._write_status(ref, job, tally(job, pods), verdict)
        deadline = self._deadline(job) if verdict is None else None
        return _sooner(delay, deadline, _HELD_SECONDS if held else None)

    def _release_orphans(self, key: Key) -> bool:
        """Pods of a Job that is gone (deleted with Orphan) need no tracking any more; False if a fault holds one."""
        released = True
        for pod in list(self._registry.storage.objects(PODS, key[0])):
            owner = next((o for o in meta(pod).get("ownerReferences") or [] if o.get("kind") == "Job"), None)
            if owner is not None and owner.get("name") == key[1]:
                released = self._release(pod) and released
        return released

    def _deadline(self, job: Object) -> float | None:
        seconds, started = spec_of(job).get("activeDeadlineSeconds"), seconds_of(status_of(job).get("startTime"))
        if seconds is None:
            return None
        return max((started or self._registry.clock()) + float(seconds) - self._registry.clock(), 0.0) + 0.05

    def _manage(self, job: Object, counted: Tally) -> float | None:
        """Create what is missing, delete what is too much; seconds to wait if something has to."""
        if spec_of(job).get("suspend"):
            for pod in counted.active:
                self._registry.delete(ref_of(PODS, pod), BACKGROUND)
            return None
        wanted = counted.wanted(job)
        for pod in counted.active[wanted:] if len(counted.active) > wanted else []:
            self._delete_pod(job, pod)
        missing = wanted - len(counted.active)
        if spec_of(job).get("podReplacementPolicy") == "Failed":
            missing -= len(counted.terminating)
        if missing <= 0:
            return None
        key, now = (namespace_of(job), name_of(job)), self._registry.clock()
        wait = max(counted.backoff(now), self._not_before.get(key, 0.0) - now)
        if wait > 0:
            return wait
        indexes = counted.free_indexes(job)
        for number in range(missing):
            if not self._create_pod(job, indexes[number] if number < len(indexes) else None):
                wait = self._backoff.next(key)
                self._not_before[key] = now + wait
                return wait
        self._backoff.clear(key)
        return None

    def _create_pod(self, job: Object, index: int | None) -> bool:
        pod = pod_from_template(job, spec_of(job)["template"])
        pod["metadata"]["finalizers"] = [*(pod["metadata"].get("finalizers") or []), FINALIZER]
        if index is not None:
            pod["metadata"]["generateName"] = f"{name_of(job)}-{index}-"
            pod["metadata"].setdefault("annotations", {})[INDEX] = str(index)
            pod["metadata"]["labels"][INDEX] = str(index)
            field = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
            for container in [*(spec_of(pod).get("initContainers") or []), *spec_of(pod)["containers"]]:
                container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "valueFrom": field})
        try:
            created = self._registry.create(PODS, pod).obj
        except ApiError as error:
            if not any(c.get("reason") == "NamespaceTerminating" for c in error.details.get("causes", [])):
                self._recorder.warning(job, "FailedCreate", f"Error creating: {error.message}")
            return False
        self._recorder.normal(job, "SuccessfulCreate", f"Created pod: {name_of(created)}")
        return True

    def _delete_pod(self, job: Object, pod: Object) -> None:
        self._registry.delete(ref_of(PODS, pod), BACKGROUND)
        self._recorder.normal(job, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    def _release(self, pod: Object) -> bool:
        """Take the finalizer off a pod; False if a fault holds it."""
        if any(matches(f.namespace, namespace_of(pod)) for f in self._faults.of(StuckFinalizer)):
            return False

        def without(obj: Object) -> None:
            meta(obj)["finalizers"] = [f for f in meta(obj).get("finalizers") or [] if f != FINALIZER]

        if FINALIZER in (meta(pod).get("finalizers") or []):
            self._registry.modify(ref_of(PODS, pod), without)
        return True

    def _write_status(self, ref: Ref, job: Object, counted: Tally, verdict: Verdict | None) -> bool:
        """Count the pods that have ended, let them go, and say how the Job is.

        What a fault holds back stays in uncountedTerminatedPods and is counted when it goes; True if there is some.
        """
        held: dict[str, list[str]] = {"succeeded": [], "failed": []}
        for name, pods in (("succeeded", counted.new_succeeded), ("failed", counted.new_failed)):
            held[name] = [uid_of(p) for p in pods if not self._release(p)]
        for pod in counted.ignored:
            self._release(pod)
        status = job_status(job, counted, held, self._registry.now)
        over = verdict is not None and not counted.active and not counted.terminating and not any(held.values())
        if verdict is not None:
            add_verdict(status, verdict, self._registry.now, over=over)

        def write(obj: Object) -> None:
            obj["status"] = status

        self._registry.modify(ref, write, "status")
        if over and verdict is not None and verdict.succeeded:
            self._recorder.normal(job, "Completed", "Job completed")
        elif over and verdict is not None:
            self._recorder.warning(job, verdict.reason, verdict.message)
        return any(held.values())

    def _expire(self, ref: Ref, job: Object) -> float | None:
        ttl = spec_of(job).get("ttlSecondsAfterFinished")
        if ttl is None:
            return None
        ended = max(
            seconds_of(c.get("lastTransitionTime")) or 0.0
            for c in status_of(job)["conditions"]
            if c["type"] in {"Complete", "Failed"}
        )
        wait = ended + float(ttl) - self._registry.clock()
        if wait > 0:
            return wait
        self._registry.delete(ref, BACKGROUND)
        return None


def _is_over(job: Object) -> bool:
    return condition_is(job, "Complete") or condition_is(job, "Failed")


def _sooner(*delays: float | None) -> float | None:
    return min((d for d in delays if d is not None), default=None)

"""The rules of writing: create, update, patch, delete, as every client and controller must go through them.

What the generic registry of k8s.io/apiserver does: identity and versions, defaults, admission, validation,
immutability, generation, finalizers and graceful deletion, over the storage. Immediate: no method awaits, so each
write is one step and optimistic concurrency needs no lock. The clock is given.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from k8s_simulation.api import admission, defaults, deletion, problems, shapes, validation
from k8s_simulation.api.addresses import ServiceAddresses
from k8s_simulation.api.objects import (
    Object,
    clone,
    is_deleting,
    meta,
    name_of,
    namespace_of,
    spec_of,
    timestamp,
    uid_of,
)
from k8s_simulation.api.resources import JOBS, NAMESPACES, PODS, SERVICES, Resource
from k8s_simulation.api.storage import Entry, Storage

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # the alphabet of k8s.io/apimachinery/pkg/util/rand
_READ_ONLY_META = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation",
                   "selfLink", "namespace", "name", "generateName")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ref:
    """Where an object is: resource, namespace (empty for cluster objects), name."""

    resource: Resource
    namespace: str
    name: str


def random_suffix(length: int = 5) -> str:
    """A suffix as generateName makes it."""
    return "".join(random.choice(_LETTERS) for _ in range(length))  # noqa: S311 - names, not secrets


def ref_of(resource: Resource, obj: Object) -> Ref:
    """Where this object is."""
    return Ref(resource, namespace_of(obj), name_of(obj))


class Registry:
    """The only writer of the storage beside its tests. Objects returned are stored ones: not to be changed."""

    def __init__(self, storage: Storage, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since the epoch."""
        self.storage = storage
        self.clock = clock
        self._addresses = ServiceAddresses(storage)

    @property
    def now(self) -> str:
        """The present time as Kubernetes writes it."""
        return timestamp(self.clock())

    def get(self, ref: Ref) -> Entry:
        """The entry. Raises 404."""
        found = self.storage.get(ref.resource, ref.namespace, ref.name)
        if found is None:
            raise problems.not_found(ref.resource, ref.name)
        return found

    def find(self, ref: Ref) -> Object | None:
        """The object, or None."""
        found = self.storage.get(ref.resource, ref.namespace, ref.name)
        return found.obj if found else None

    def create(self, resource: Resource, obj: Object, *, dry_run: bool = False) -> Entry:
        """Store a new object (taken over). Raises ApiError with what Kubernetes would answer."""
        shapes.check(resource, obj)
        self._identify(resource, obj)
        name, namespace = name_of(obj), namespace_of(obj)
        if name and resource.namespaced and self.storage.get(NAMESPACES, "", namespace) is None:
            raise problems.not_found(NAMESPACES, namespace)
        defaults.set_defaults(resource.kind, obj)
        if resource is JOBS:
            defaults.job_selector(obj)
        admission.mutate(self.storage, resource, obj)
        status = defaults.initial_status(resource.kind, obj)
        if status is not None:
            obj["status"] = status
        found = validation.create_problems(resource, obj)
        if found:
            raise problems.invalid(resource, name, found)
        if self.storage.get(resource, namespace, name) is not None:
            raise problems.already_exists(resource, name)
        if resource is SERVICES:
            self._addresses.assign(obj, dry_run=dry_run)
        admission.validate(self.storage, resource, obj, dry_run=dry_run)
        if dry_run:
            return Entry(obj, 0)
        return self.storage.put(resource, obj)

    def update(self, ref: Ref, new: Object, subresource: str = "", *, dry_run: bool = False) -> Entry:
        """Store a new state (taken over) of an object, or of its subresource. Raises ApiError."""
        old = self.get(ref)
        shapes.check(ref.resource, new)
        self._check_version(ref, new, old.obj)
        new = self._carry_over(ref.resource, old.obj, new, subresource)
        if not subresource:
            defaults.set_defaults(ref.resource.kind, new)
            found = validation.update_problems(ref.resource, new, old.obj)
        else:
            defaults.set_status_defaults(ref.resource.kind, new)
            found = validation.status_problems(ref.resource, new)
        if found:
            raise problems.invalid(ref.resource, ref.name, found)
        if ref.resource is SERVICES and not subresource:
            self._addresses.assign(new, dry_run=True)
        if ref.resource.generation and spec_of(new) != spec_of(old.obj):
            meta(new)["generation"] = int(meta(old.obj).get("generation") or 1) + 1
        if deletion.is_complete(ref.resource, new):
            return Entry(new, old.version) if dry_run else self._remove(ref, new)
        meta(new)["resourceVersion"] = meta(old.obj)["resourceVersion"]
        if new == old.obj:
            return old  # a write that changes nothing is no write, as in Kubernetes
        return Entry(new, old.version) if dry_run else self.storage.put(ref.resource, new)

    def modify(self, ref: Ref, change: Callable[[Object], Object | None], subresource: str = "") -> Entry:
        """Read, change a copy, write. `change` may answer a new object or change the one it gets."""
        mine: Object = clone(self.get(ref).obj)
        return self.update(ref, change(mine) or mine, subresource)

    def delete(self, ref: Ref, options: deletion.DeleteOptions, *, dry_run: bool = False) -> deletion.Deleted:
        """Begin or finish a deletion. Raises 404, and 409 for a precondition that does not hold."""
        entry = self.get(ref)
        deletion.check_preconditions(ref.resource, entry.obj, options)
        if ref.resource is NAMESPACES and ref.name in admission.IMMORTAL:
            raise problems.forbidden(NAMESPACES, ref.name, "this namespace may not be deleted")
        new = deletion.begin(ref.resource, entry.obj, options, self.clock())
        gone = deletion.is_complete(ref.resource, new)
        if dry_run:
            return deletion.Deleted(Entry(new, entry.version), gone)
        if gone:
            return deletion.Deleted(self._remove(ref, new), gone)
        if new != entry.obj:
            entry = self.storage.put(ref.resource, new)
        return deletion.Deleted(entry, gone)

    def bind(self, ref: Ref, node: str) -> None:
        """Assign a pod to a node (pods/binding). Raises 409 if it has one."""
        pod = clone(self.get(ref).obj)
        if spec_of(pod).get("nodeName"):
            why = f"pod {ref.name} is already assigned to node {pod['spec']['nodeName']!r}"
            raise problems.conflict(PODS, ref.name, why)
        if is_deleting(pod):
            raise problems.conflict(PODS, ref.name, f"pod {ref.name} is being deleted, cannot be assigned to a host")
        pod["spec"]["nodeName"] = node
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": self.now,
                     "observedGeneration": meta(pod).get("generation", 1)}  # fmt: skip
        others = [c for c in pod["status"].get("conditions") or [] if c.get("type") != "PodScheduled"]
        pod["status"]["conditions"] = [*others, scheduled]
        self.storage.put(PODS, pod)

    def _identify(self, resource: Resource, obj: Object) -> None:
        metadata = meta(obj)
        if metadata.get("resourceVersion"):
            raise problems.bad_request("resourceVersion should not be set on objects to be created")
        for field in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
            metadata.pop(field, None)
        metadata.pop("resourceVersion", None)
        metadata.pop("selfLink", None)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = f"{metadata['generateName'][:58]}{random_suffix()}"
        if not resource.namespaced:
            metadata.pop("namespace", None)
        metadata["uid"] = str(uuid4())
        metadata["creationTimestamp"] = self.now
        if resource.generation:
            metadata["generation"] = 1

    def _check_version(self, ref: Ref, new: Object, old: Object) -> None:
        metadata = meta(new)
        if metadata.get("name") != ref.name:
            why = f"the name of the object ({metadata.get('name')}) does not match the name on the URL ({ref.name})"
            raise problems.bad_request(why)
        uid = metadata.get("uid")
        if uid and uid != uid_of(old):
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {uid_of(old)}"
            raise problems.conflict(ref.resource, ref.name, why)
        version = metadata.get("resourceVersion")
        if version and version != "0" and version != meta(old)["resourceVersion"]:
            raise problems.modified(ref.resource, ref.name)

    def _carry_over(self, resource: Resource, old: Object, new: Object, subresource: str) -> Object:
        """What an update of this subresource may not touch is taken from the old state."""
        if subresource == "finalize":
            result: Object = clone(old)
            result["spec"]["finalizers"] = (new.get("spec") or {}).get("finalizers") or []
            return result
        metadata = meta(new)
        for field in _READ_ONLY_META:
            metadata.pop(field, None)
            if field in meta(old):
                metadata[field] = meta(old)[field]
        if "managedFields" in meta(old):
            metadata.setdefault("managedFields", meta(old)["managedFields"])
        if is_deleting(old):  # a deletion cannot be held up by finalizers added later
            kept = meta(old).get("finalizers") or []
            metadata["finalizers"] = [f for f in metadata.get("finalizers") or [] if f in kept]
        if not metadata.get("finalizers"):
            metadata.pop("finalizers", None)
        new["apiVersion"], new["kind"] = old["apiVersion"], old["kind"]
        if subresource == "status":
            for field in set(old) | set(new):
                if field not in {"metadata", "status", "apiVersion", "kind"}:
                    _take(new, old, field)
        elif "status" in resource.subresources:
            _take(new, old, "status")
        if resource is NAMESPACES and subresource != "finalize":
            _take(new, old, "spec")
        return new

    def _remove(self, ref: Ref, last: Object) -> Entry:
        """Remove the object. Watchers get its stored state, as from etcd; the caller gets `last`."""
        removed = self.storage.remove(ref.resource, ref.namespace, ref.name)
        assert removed is not None
        meta(last)["resourceVersion"] = str(removed.version)
        return Entry(last, removed.version)


def _take(new: Object, old: Object, field: str) -> None:
    if field in old:
        new[field] = old[field]
    else:
        new.pop(field, None)

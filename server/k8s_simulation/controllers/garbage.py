"""The garbage collector: dependents of a deleted owner go, by the propagation the delete asked for.

Background: dependents whose owners are all gone are deleted. Foreground: an owner with the finalizer
`foregroundDeletion` waits until its blocking dependents are gone. Orphan: the owner's reference is taken off its
dependents first. After pkg/controller/garbagecollector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from k8s_simulation.api.deletion import FOREGROUND_FINALIZER, ORPHAN_FINALIZER, DeleteOptions, Propagation
from k8s_simulation.api.objects import Object, is_deleting, meta, namespace_of, uid_of
from k8s_simulation.api.registry import Ref, Registry
from k8s_simulation.api.resources import BY_KIND, EVENTS, STORED, Resource, named
from k8s_simulation.api.storage import Change, ChangeType
from k8s_simulation.controllers.framework import Key, KeyFunction

_COLLECTED = tuple(r for r in STORED if r is not EVENTS)


class GarbageCollector:
    """Keeps an index owner uid → dependents and acts on what disappears."""

    name = "garbagecollector"

    def __init__(self, registry: Registry) -> None:
        """The index fills from the initial lists."""
        self._registry = registry
        self._dependents: dict[str, set[Ref]] = {}

    def sources(self) -> Mapping[Resource, KeyFunction]:
        """Everything but events."""
        return dict.fromkeys(_COLLECTED, self._changed)

    def _changed(self, change: Change) -> Iterable[Key]:
        obj = change.entry.obj
        ref = Ref(change.resource, *change.entry.key)
        self._index(change, ref)
        if change.type is ChangeType.DELETED:
            yield from (self._key(r) for r in self._dependents.get(uid_of(obj), ()))
            for owner in meta(obj).get("ownerReferences") or []:
                if (found := self._owner(obj, owner)) is not None and is_deleting(found[1]):
                    yield self._key(found[0])
        elif meta(obj).get("ownerReferences") or is_deleting(obj):
            yield self._key(ref)

    def _index(self, change: Change, ref: Ref) -> None:
        now = {str(o.get("uid")) for o in meta(change.entry.obj).get("ownerReferences") or []}
        before = set()
        if change.before is not None:
            before = {str(o.get("uid")) for o in meta(change.before.obj).get("ownerReferences") or []}
        if change.type is ChangeType.DELETED:
            before, now = before | now, set()
        for uid in before - now:
            self._dependents.get(uid, set()).discard(ref)
            if not self._dependents.get(uid, True):
                del self._dependents[uid]
        for uid in now:
            self._dependents.setdefault(uid, set()).add(ref)

    def _key(self, ref: Ref) -> Key:
        return ref.resource.plural, ref.namespace, ref.name

    def _owner(self, obj: Object, reference: Object) -> tuple[Ref, Object] | None:
        """The living owner of the reference's uid, or None."""
        resource = BY_KIND.get((str(reference.get("apiVersion")), str(reference.get("kind"))))
        if resource is None:
            return None
        namespace = namespace_of(obj) if resource.namespaced else ""
        ref = Ref(resource, namespace, str(reference.get("name")))
        found = self._registry.find(ref)
        return (ref, found) if found is not None and uid_of(found) == reference.get("uid") else None

    def reconcile(self, key: Key) -> float | None:
        """Look at one object: as a dependent, and, if it is being deleted, as an owner."""
        ref = Ref(named(key[0]), key[1], key[2])
        obj = self._registry.find(ref)
        if obj is None:
            return None
        finalizers = meta(obj).get("finalizers") or []
        if is_deleting(obj) and ORPHAN_FINALIZER in finalizers:
            self._orphan(ref, obj)
        elif is_deleting(obj) and FOREGROUND_FINALIZER in finalizers:
            self._foreground(ref, obj)
        elif not is_deleting(obj):
            self._as_dependent(ref, obj)
        return None

    def _living(self, uid: str) -> list[tuple[Ref, Object]]:
        found = [(r, self._registry.find(r)) for r in sorted(self._dependents.get(uid, ()), key=self._key)]
        return [(r, o) for r, o in found if o is not None]

    def _orphan(self, ref: Ref, owner: Object) -> None:
        for dependent, _ in self._living(uid_of(owner)):
            self._registry.modify(dependent, lambda o: _without_owner(o, {uid_of(owner)}))
        self._remove_finalizer(ref, ORPHAN_FINALIZER)

    def _foreground(self, ref: Ref, owner: Object) -> None:
        blocking = 0
        for dependent, obj in self._living(uid_of(owner)):
            mine = [o for o in meta(obj)["ownerReferences"] if o.get("uid") == uid_of(owner)]
            blocking += any(o.get("blockOwnerDeletion") for o in mine)
            if not is_deleting(obj):
                policy = Propagation.FOREGROUND if uid_of(obj) in self._dependents else Propagation.BACKGROUND
                self._registry.delete(dependent, DeleteOptions(propagation=policy, uid=uid_of(obj)))
        left = [o for _, o in self._living(uid_of(owner)) if _blocks(o, uid_of(owner))]
        if not blocking or not left:
            self._remove_finalizer(ref, FOREGROUND_FINALIZER)

    def _as_dependent(self, ref: Ref, obj: Object) -> None:
        references = meta(obj).get("ownerReferences") or []
        if not references:
            return
        owners = [self._owner(obj, r) for r in references]
        if any(owners):
            gone = {str(r.get("uid")) for r, o in zip(references, owners, strict=True) if o is None}
            if gone:
                self._registry.modify(ref, lambda o: _without_owner(o, gone))
            waiting = [
                o
                for o in owners
                if o and is_deleting(o[1]) and FOREGROUND_FINALIZER in (meta(o[1]).get("finalizers") or [])
            ]
            if len(waiting) == len([o for o in owners if o]):
                self._registry.delete(ref, DeleteOptions(propagation=Propagation.BACKGROUND, uid=uid_of(obj)))
            return
        self._registry.delete(ref, DeleteOptions(propagation=Propagation.BACKGROUND, uid=uid_of(obj)))

    def _remove_finalizer(self, ref: Ref, finalizer: str) -> None:
        def without(obj: Object) -> None:
            meta(obj)["finalizers"] = [f for f in meta(obj).get("finalizers") or [] if f != finalizer]

        self._registry.modify(ref, without)


def _blocks(obj: Object, owner: str) -> bool:
    references = meta(obj).get("ownerReferences") or []
    return any(r.get("uid") == owner and r.get("blockOwnerDeletion") for r in references)


def _without_owner(obj: Object, uids: set[str]) -> None:
    kept = [r for r in meta(obj).get("ownerReferences") or [] if r.get("uid") not in uids]
    if kept:
        meta(obj)["ownerReferences"] = kept
    else:
        meta(obj).pop("ownerReferences", None)

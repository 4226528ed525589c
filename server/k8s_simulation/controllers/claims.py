"""Persistent volume claims: bound as soon as they are made, to a volume that is a folder of the node.

There is no provisioner and no PersistentVolume object: the node keeps one folder for each claim. A claim that names a
storage class which does not exist stays Pending, as in life.
"""

from __future__ import annotations

from collections.abc import Mapping

from k8s_simulation.api.objects import Object, is_deleting, spec_of, status_of, uid_of
from k8s_simulation.api.registry import Ref, Registry
from k8s_simulation.api.resources import Resource, named
from k8s_simulation.controllers.framework import Key, KeyFunction, changed_key
from k8s_simulation.controllers.recorder import Recorder

CLAIMS, CLASSES = named("persistentvolumeclaims"), named("storageclasses")
DEFAULT_CLASS = "standard"


class ClaimController:
    """Binds claims."""

    name = "claims"

    def __init__(self, registry: Registry) -> None:
        """Nothing but the registry."""
        self._registry = registry
        self._recorder = Recorder(registry, "persistentvolume-controller")

    def sources(self) -> Mapping[Resource, KeyFunction]:
        """Claims."""
        return {CLAIMS: changed_key}

    def reconcile(self, key: Key) -> float | None:
        """One claim."""
        ref = Ref(CLAIMS, *key)
        claim = self._registry.find(ref)
        if claim is None or is_deleting(claim) or status_of(claim).get("phase") == "Bound":
            return None
        wanted = spec_of(claim).get("storageClassName", DEFAULT_CLASS)
        if self._registry.find(Ref(CLASSES, "", wanted)) is None:
            message = f'storageclass.storage.k8s.io "{wanted}" not found'
            self._recorder.warning(claim, "ProvisioningFailed", message)
            return None

        def bind(obj: Object) -> None:
            obj["spec"] |= {"volumeName": f"pvc-{uid_of(obj)}", "storageClassName": wanted}

        def say(obj: Object) -> None:
            requests = (spec_of(obj).get("resources") or {}).get("requests") or {}
            modes = spec_of(obj).get("accessModes") or []
            obj["status"] = {"phase": "Bound", "accessModes": modes, "capacity": dict(requests)}

        self._registry.modify(ref, bind)
        self._registry.modify(ref, say, "status")
        return None

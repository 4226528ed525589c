"""Creates and deletes objects so that doing it twice does it once.

Create is a POST under a deterministic name. 409 and a lost reply are resolved the same way: read the object and see
whose it is by our execution-id label. Delete carries a uid precondition. It must not decide what to create. Races of
a namespace that was just made are waited for here, because only here is their wording known.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

from k8s_execution.domain import naming
from k8s_execution.kube.answers import Json, PassingFault, StatusError
from k8s_execution.kube.client import Client
from k8s_execution.kube.limits import KubeLimits
from k8s_execution.kube.parse import micros
from k8s_execution.kube.resources import item_path, resource
from k8s_execution.ports.clock import Clock
from k8s_execution.ports.cluster import Body, Created, DryRunImpossible, ObjectRef, Propagation

# Both are 403 while controllers catch up with a new namespace: plugin/pkg/admission/serviceaccount/admission.go and
# apiserver/pkg/admission/plugin/resourcequota/controller.go.
_NOT_READY_YET = re.compile(r"error looking up service account|status unknown for quota")
# apiserver/pkg/endpoints/handlers/responsewriters/errors.go: authorisation, and not admission, said no.
_NO_RIGHT = re.compile(r'User "[^"]*" cannot create resource')
_NAMESPACE_MISSING = re.compile(r'namespaces "[^"]*" not found')


class Writer:
    """The writing half of the cluster."""

    def __init__(self, client: Client, limits: KubeLimits, clock: Clock) -> None:
        """Hold the client; it does the retries that need no judgement."""
        self._client = client
        self._limits = limits
        self._clock = clock

    async def create(self, body: Body, execution_id: str) -> Created:
        """POST; an object of that name with our execution id counts as success, a foreign one is Refused."""
        began = self._clock.monotonic()
        attempt = 0
        while True:
            pause = self._limits.fresh_namespace_retry.pause(attempt, random.random())  # noqa: S311 - jitter
            try:
                return await self._create_once(body, execution_id)
            except StatusError as refusal:
                if self._clock.monotonic() - began + pause > self._patience(refusal, body):
                    raise
            except PassingFault as unknown:
                if unknown.status == 401 or attempt + 1 >= self._limits.attempts:
                    raise
            attempt += 1
            await self._clock.sleep(pause)

    async def dry_run(self, body: Body) -> None:
        """See `ports.cluster.DryRun.dry_run`."""
        try:
            await self._client.post(_collection(body), body, [("dryRun", "All")], harmless=True)
        except StatusError as refusal:
            if refusal.reason == "AlreadyExists":
                return
            elsewhere = refusal.status == 403 and ("exceeded quota" in refusal.message or _unready(refusal))
            lacking = refusal.status == 403 and _NO_RIGHT.search(refusal.message)
            if lacking or elsewhere or (refusal.status == 404 and _NAMESPACE_MISSING.search(refusal.message)):
                raise DryRunImpossible(refusal.message) from refusal
            raise

    async def delete(
        self, ref: ObjectRef, *, grace_seconds: int | None = None, propagation: Propagation | None = None
    ) -> bool:
        """DELETE with uid precondition; False if it is not there (any more), or if the name is another's by now."""
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if ref.uid:
            options["preconditions"] = {"uid": ref.uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if propagation is not None:
            options["propagationPolicy"] = propagation.value
        try:
            await self._client.delete(item_path(ref), options)
        except StatusError as refusal:
            if refusal.status == 404:
                return False
            if refusal.status != 409:
                raise
            return await self._explain_conflict(ref, refusal)
        return True

    async def _explain_conflict(self, ref: ObjectRef, refusal: StatusError) -> bool:
        """409 on delete: another object under this name, or a namespace whose deletion is already under way."""
        found = await self._find(item_path(ref))
        metadata = _metadata(found) if found is not None else {}
        if found is None or (ref.uid and metadata.get("uid") != ref.uid):
            return False
        if metadata.get("deletionTimestamp"):
            return True
        raise PassingFault(f"delete conflicts: {refusal.message}", status=409) from refusal

    async def _create_once(self, body: Body, execution_id: str) -> Created:
        try:
            made = await self._client.post(_collection(body), body)
        except StatusError as refusal:
            if refusal.reason != "AlreadyExists":
                raise
            found = await self._find(_item(body))
            if found is None:
                raise PassingFault(f"{_name(body)} existed and is gone") from refusal
            return _ours(found, execution_id, refusal)
        except PassingFault as unknown:
            if not unknown.perhaps_executed:
                raise
            found = await self._find(_item(body))
            if found is None:
                raise
            conflict = StatusError(409, "AlreadyExists", f"{_name(body)} exists and is not of this execution")
            return _ours(found, execution_id, conflict)
        return _created(made, existed=False)

    async def _find(self, path: str) -> Json | None:
        try:
            return await self._client.get(path)
        except StatusError as refusal:
            if refusal.status == 404:
                return None
            raise

    def _patience(self, refusal: StatusError, body: Body) -> float:
        """How long this refusal of a create may be a passing one, in seconds."""
        if "NamespaceTerminating" in refusal.causes:
            return -1.0
        if refusal.status == 403 and _unready(refusal):
            return self._limits.fresh_namespace_wait
        # The authoriser learns of a RoleBinding made a moment ago by a watch of its own.
        if refusal.status == 403 and _metadata(body).get("namespace") and _NO_RIGHT.search(refusal.message):
            return self._limits.fresh_rights_wait
        if refusal.status == 404 and _NAMESPACE_MISSING.search(refusal.message):
            return self._limits.missing_namespace_wait
        # Two creates at once race for the quota's status: "Operation cannot be fulfilled on resourcequotas".
        if refusal.status == 409 and refusal.reason == "Conflict":
            return self._limits.missing_namespace_wait
        return -1.0


def _unready(refusal: StatusError) -> bool:
    return _NOT_READY_YET.search(refusal.message) is not None


def _ours(found: Json, execution_id: str, refusal: StatusError) -> Created:
    labels = _metadata(found).get("labels")
    owner = labels.get(naming.LABEL_EXECUTION) if isinstance(labels, dict) else None
    if owner != execution_id:
        raise refusal
    return _created(found, existed=True)


def _created(found: Json, *, existed: bool) -> Created:
    metadata = _metadata(found)
    return Created(
        uid=str(metadata.get("uid") or ""),
        created_at=micros(metadata.get("creationTimestamp")) or 0,
        existed=existed,
    )


def _metadata(body: Body) -> Mapping[str, Any]:
    metadata = body.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _name(body: Body) -> str:
    return f"{body.get('kind')} {_metadata(body).get('name')}"


def _collection(body: Body) -> str:
    return resource(str(body.get("kind"))).collection(str(_metadata(body).get("namespace") or ""))


def _item(body: Body) -> str:
    metadata = _metadata(body)
    return resource(str(body.get("kind"))).item(str(metadata.get("namespace") or ""), str(metadata.get("name") or ""))

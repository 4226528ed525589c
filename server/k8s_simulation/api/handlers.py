"""The verbs: a parsed request in, a response out, over registry, lister and watches.

What is the same for every kind. Subresources that behave differently are in `subresources`; transport matters (TLS,
tokens, faults) are in `server`.
"""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from k8s_simulation.api import deletion, options, strict, subresources
from k8s_simulation.api.admission import security_warnings
from k8s_simulation.api.apply import Applier, server_side_apply
from k8s_simulation.api.bodies import JSON, decode, decode_object_body, decode_optional, decode_patch, media_type
from k8s_simulation.api.objects import Object, clone, meta, name_of, timestamp, uid_of
from k8s_simulation.api.options import version_of
from k8s_simulation.api.patch import APPLY_PATCH, PATCH_TYPES, STRATEGIC_PATCH, apply_patch
from k8s_simulation.api.problems import (
    ApiError,
    bad_request,
    invalid,
    invalid_value,
    method_not_allowed,
    not_found,
    required,
)
from k8s_simulation.api.proxy import KubeletProxy
from k8s_simulation.api.registry import Ref, Registry
from k8s_simulation.api.representations import Form, form_of, metadata_of
from k8s_simulation.api.requests import ApiRequest
from k8s_simulation.api.resources import Resource
from k8s_simulation.api.shapes import without_nulls
from k8s_simulation.api.storage import Entry, encode
from k8s_simulation.api.streams import WatchStreams, table_options
from k8s_simulation.api.tables import table
from k8s_simulation.api.watching import Lister, check_future, list_body, list_meta

_log = logging.getLogger(__name__)
_BATCH = 50  # deletions in one step


class Handlers:
    """Answers requests for objects."""

    def __init__(self, registry: Registry, lister: Lister, streams: WatchStreams, proxy: KubeletProxy) -> None:
        """All parts are shared with the server."""
        self._registry = registry
        self._lister = lister
        self._streams = streams
        self._proxy = proxy

    async def handle(self, request: web.Request, api: ApiRequest) -> web.StreamResponse:
        """Answer one request. Raises ApiError."""
        if api.subresource == "log":
            return await self._proxy.log(request, api, self._entry(api).obj)
        if api.subresource == "exec":
            return await self._proxy.exec(request, api, self._entry(api).obj)
        if api.verb == "watch":
            return await self._streams.serve(request, api)
        if api.verb in {"get", "list"}:
            return await self._read(request, api)
        body = await request.read()
        content_type = request.headers.get("Content-Type", "")
        try:
            return await self._write(api, body, content_type)
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            # The real server decodes into typed structs. `shapes` checks the fields that this simulation reads; a type
            # that it does not know of shows here, before anything is stored. Logged, because it could be a defect too.
            _log.info("%s %s: wrong shape", api.verb, api.resource.plural, exc_info=True)
            kind, version = api.resource.kind, api.resource.version
            raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {error}') from error

    async def _write(self, api: ApiRequest, body: bytes, content_type: str) -> web.StreamResponse:
        options.check(api, applies=media_type(content_type) == APPLY_PATCH)
        match api.verb:
            case "create":
                return self._create(api, body, content_type)
            case "update":
                return self._update(api, body, content_type)
            case "patch":
                return self._patch(api, body, content_type)
            case "delete":
                return self._delete(api, decode_optional(body, content_type))
            case "deletecollection":
                return await self._delete_collection(api, decode_optional(body, content_type))
            case _:
                raise method_not_allowed()

    def _ref(self, api: ApiRequest) -> Ref:
        return Ref(api.resource, api.namespace, api.name)

    def _entry(self, api: ApiRequest) -> Entry:
        if api.resource.namespaced and not api.namespace and api.name:
            raise not_found(api.resource, api.name)
        return self._registry.get(self._ref(api))

    async def _read(self, request: web.Request, api: ApiRequest) -> web.Response:
        if "get" not in api.resource.verbs:
            raise method_not_allowed()
        form = form_of(request.headers.get("Accept", ""))
        if api.subresource == "scale":
            return _json(encode(subresources.scale_of(self._entry(api).obj)))
        if api.name and api.verb == "get":
            check_future(self._registry.storage, version_of(api))
            return self._one(api, form)
        options.check(api)
        page = self._lister.page(api)
        if form is Form.WHOLE:
            return _json(await list_body(api.resource, page))
        if form is Form.TABLE:
            body = table(api.resource, [e.obj for e in page.entries], self._registry.clock(), table_options(api))
        else:
            items = [metadata_of(e.obj) for e in page.entries]
            body = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "items": items}
        body["metadata"] = list_meta(page)
        return _json(encode(body))

    def _one(self, api: ApiRequest, form: Form) -> web.Response:
        entry = self._entry(api)
        if form is Form.WHOLE:
            return _json(entry.encoded)
        if form is not Form.TABLE:
            return _json(encode(metadata_of(entry.obj)))
        body = table(api.resource, [entry.obj], self._registry.clock(), table_options(api))
        body["metadata"] = {"resourceVersion": str(entry.version)}
        return _json(encode(body))

    def _create(self, api: ApiRequest, body: bytes, content_type: str) -> web.Response:
        if api.subresource:
            if api.subresource not in {"binding", "eviction", "token"}:
                raise method_not_allowed()
            obj = decode_optional(body, content_type)
            return _json(encode(subresources.create(self._registry, self._ref(api), api, obj)), 201)
        if api.name:
            raise method_not_allowed()
        obj, twice = decode_object_body(body, content_type)
        if not api.resource.stored:
            return _json(encode(subresources.review(api.resource, obj)), 201)
        warnings = strict.judge(api, [*twice, *strict.unknown(api.resource, obj)])
        self._set_namespace(api, obj)
        entry = self._registry.create(api.resource, obj, dry_run=api.dry_run)
        warnings += security_warnings(self._registry.storage, api.resource, entry.obj)
        return _json(entry.encoded, 201, warnings)

    def _set_namespace(self, api: ApiRequest, obj: Object) -> None:
        if not isinstance(obj.setdefault("metadata", {}), dict) or not api.resource.namespaced:
            return
        if not api.namespace:
            raise method_not_allowed()
        given = meta(obj).setdefault("namespace", api.namespace)
        if given != api.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")

    def _update(self, api: ApiRequest, body: bytes, content_type: str) -> web.Response:
        if not api.name:
            raise method_not_allowed()
        obj, twice = decode_object_body(body, content_type)
        self._set_namespace(api, obj)
        if api.subresource == "scale":
            return _json(encode(subresources.set_scale(self._registry, self._ref(api), obj, dry_run=api.dry_run)))
        warnings = strict.judge(api, [*twice, *strict.unknown(api.resource, obj)])
        entry = self._registry.update(self._ref(api), obj, api.subresource, dry_run=api.dry_run)
        return _json(entry.encoded, warnings=warnings)

    def _patch(self, api: ApiRequest, body: bytes, content_type: str) -> web.Response:
        kind = media_type(content_type)
        if kind not in PATCH_TYPES:
            raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type")
        if kind == APPLY_PATCH:
            return self._apply(api, decode(body, kind))
        patch = decode_patch(body, kind)
        if api.subresource == "scale":
            scale = apply_patch(kind, subresources.scale_of(self._entry(api).obj), patch)
            return _json(encode(subresources.set_scale(self._registry, self._ref(api), scale, dry_run=api.dry_run)))
        old = self._entry(api).obj
        new = without_nulls(apply_patch(kind, old, patch))
        if not isinstance(new.get("metadata"), dict):
            raise bad_request("error decoding patch: the patch removes the metadata")
        warnings = strict.judge_patch(api, new, patch if kind == STRATEGIC_PATCH else None)
        if uid_of(new) != uid_of(old):
            problem = invalid_value("metadata.uid", uid_of(new), "field is immutable")
            raise invalid(api.resource, name_of(old), [problem])
        entry = self._registry.update(self._ref(api), new, api.subresource, dry_run=api.dry_run)
        return _json(entry.encoded, warnings=warnings)

    def _apply(self, api: ApiRequest, applied: object) -> web.Response:
        manager = api.query.get("fieldManager", "")
        if not manager:
            options.refuse("PatchOptions", [required("fieldManager", "is required for apply patch")])
        if not isinstance(applied, dict) or not isinstance(applied.get("metadata"), dict):
            raise bad_request("error decoding patch: an apply configuration is an object with metadata")
        self._set_namespace(api, applied)
        if not api.resource.namespaced:
            meta(applied).pop("namespace", None)
        applied.setdefault("apiVersion", api.resource.api_version)
        if "managedFields" in meta(applied):
            raise bad_request("metadata.managedFields must be nil")
        strict.judge_apply(api, applied)
        live = self._registry.find(self._ref(api))
        applier = Applier(manager, api.flag("force"), timestamp(self._registry.clock()))
        if live is None:
            if meta(applied).get("uid") or meta(applied).get("resourceVersion"):
                raise not_found(api.resource, api.name)
            new = without_nulls(server_side_apply(None, applied, applier))
            if name_of(new) != api.name:
                why = f"the name of the object ({name_of(new)}) does not match the name on the URL ({api.name})"
                raise bad_request(why)
            return _json(self._registry.create(api.resource, new, dry_run=api.dry_run).encoded, 201)
        new = without_nulls(server_side_apply(clone(live), applied, applier))
        entry = self._registry.update(self._ref(api), new, api.subresource, dry_run=api.dry_run)
        return _json(entry.encoded)

    def _delete(self, api: ApiRequest, body: Object) -> web.Response:
        if not api.name or api.subresource:
            raise method_not_allowed()
        wanted = deletion.parse_options(body, api.query)
        self._entry(api)
        dry_run = api.dry_run or body.get("dryRun") == ["All"]
        deleted = self._registry.delete(self._ref(api), wanted, dry_run=dry_run)
        if deleted.gone and not api.resource.returns_deleted:
            return _json(encode(_deleted_status(api.resource, deleted.entry.obj)))
        return _json(deleted.entry.encoded)

    async def _delete_collection(self, api: ApiRequest, body: Object) -> web.Response:
        if "deletecollection" not in api.resource.verbs:
            raise method_not_allowed()
        wanted = deletion.parse_options(body, api.query)
        page = self._lister.page(api)
        for number, entry in enumerate(page.entries):
            if number % _BATCH == 0:
                await asyncio.sleep(0)  # a large collection must not hold the loop
            namespace, name = entry.key
            try:
                self._registry.delete(Ref(api.resource, namespace, name), wanted, dry_run=api.dry_run)
            except ApiError as error:
                if error.code != 404:
                    raise
        return _json(await list_body(api.resource, page))


def _json(body: bytes, status: int = 200, warnings: list[str] | None = None) -> web.Response:
    response = web.Response(body=body, status=status, content_type=JSON)
    for warning in warnings or []:
        response.headers.add("Warning", f'299 - "{warning.replace(chr(34), chr(92) + chr(34))}"')
    return response


def _deleted_status(resource: Resource, obj: Object) -> Object:
    details: Object = {"name": name_of(obj), "kind": resource.plural, "uid": uid_of(obj)}
    if resource.group:
        details["group"] = resource.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

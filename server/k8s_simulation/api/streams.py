"""Open watch streams: served over HTTP, known by resource so that faults can cut them or make them silent."""

from __future__ import annotations

import random
from contextlib import aclosing

from aiohttp import web

from k8s_simulation.api.objects import Object
from k8s_simulation.api.options import check
from k8s_simulation.api.problems import ApiError, expired
from k8s_simulation.api.registry import Registry
from k8s_simulation.api.representations import Form, form_of, metadata_of
from k8s_simulation.api.requests import ApiRequest
from k8s_simulation.api.storage import Entry, encode
from k8s_simulation.api.tables import TableOptions, table
from k8s_simulation.api.watching import Render, Watch
from k8s_simulation.faults import CutWatches, FaultBook, SilentWatches, matches

_DEFAULT_SECONDS = (1800, 3600)  # the real server chooses a time between its minimum and twice that


class WatchStreams:
    """All watches that are open now."""

    def __init__(self, registry: Registry, faults: FaultBook) -> None:
        """None yet."""
        self._registry = registry
        self._faults = faults
        self._open: dict[Watch, str] = {}
        self._cut: dict[Watch, bool] = {}

    def cut(self, fault: CutWatches) -> None:
        """End the open watches that the fault names."""
        for watch, plural in list(self._open.items()):
            if matches(fault.resource, plural):
                self._cut[watch] = fault.expired
                watch.close()

    def close(self) -> None:
        """End all watches, as a server does that stops."""
        for watch in list(self._open):
            watch.close()

    async def serve(self, request: web.Request, api: ApiRequest) -> web.StreamResponse:
        """Stream one watch until its time is up or the client leaves."""
        check(api)
        watch = Watch(self._registry.storage, api, self._render(request, api))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        try:
            watch.open()
        except ApiError as error:
            if error.code != 410:
                raise
            # a version that is gone is told inside the stream (k8s.io/apiserver/pkg/storage/cacher, newErrWatcher)
            await response.prepare(request)
            await response.write(_error_event(error))
            return response
        seconds = api.number("timeoutSeconds") or random.randint(*_DEFAULT_SECONDS)  # noqa: S311
        self._open[watch] = api.resource.plural
        try:
            await response.prepare(request)
            await self._pump(watch, float(seconds), api, response)
            if self._cut.get(watch):
                await response.write(_error_event(expired("too old resource version: simulated fault")))
        except ConnectionError:
            pass  # the client left: nothing is owed to it
        finally:
            watch.close()
            self._open.pop(watch, None)
            self._cut.pop(watch, None)
        return response

    def _render(self, request: web.Request, api: ApiRequest) -> Render | None:
        match form_of(request.headers.get("Accept", "")):
            case Form.TABLE:
                return _table_render(self._registry, api, table_options(api))
            case Form.METADATA | Form.METADATA_LIST:
                return lambda entry: encode(metadata_of(entry.obj))
            case Form.WHOLE:
                return None

    async def _pump(self, watch: Watch, seconds: float, api: ApiRequest, response: web.StreamResponse) -> None:
        async with aclosing(watch.batches(seconds)) as batches:
            async for batch in batches:
                if not self._is_silent(api):
                    await response.write(batch)

    def _is_silent(self, api: ApiRequest) -> bool:
        return any(matches(f.resource, api.resource.plural) for f in self._faults.of(SilentWatches))


def _error_event(error: ApiError) -> bytes:
    return encode({"type": "ERROR", "object": error.status}) + b"\n"


def table_options(api: ApiRequest) -> TableOptions:
    """How a Table is wanted."""
    return TableOptions(api.query.get("includeObject", "Metadata"))


def _table_render(registry: Registry, api: ApiRequest, options: TableOptions) -> Render:
    def render(entry: Entry) -> bytes:
        body: Object = table(api.resource, [entry.obj], registry.clock(), options)
        body["metadata"] = {"resourceVersion": str(entry.version)}
        return encode(body)

    return render

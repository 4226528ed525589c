"""Makes a plan ready for the service: packs and uploads `source.local` and puts the bundle's id in its place.

Apart from `plan` (which must not call the service) and from `client` (which must not read files).
"""

from __future__ import annotations

import asyncio
import tempfile

from k8s_execution_client._gen.maestro.k8s.execution.v1.execution_service_pb2 import ExecuteRequest
from k8s_execution_client.bundle import Packed, pack
from k8s_execution_client.client import ExecutionClient
from k8s_execution_client.plan import Plan

IN_MEMORY = 8 << 20


async def prepared(plan: Plan, client: ExecutionClient) -> tuple[ExecuteRequest, Packed | None]:
    """The request to send, and what was uploaded for it (None: nothing). Raises BundleFault and ServiceFault."""
    folder = plan.local_folder
    if folder is None:
        return plan.request, None
    request = ExecuteRequest()
    request.CopyFrom(plan.request)
    exclude = list(request.test_plan.source.local.exclude)
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as archive:
        packed = await asyncio.to_thread(pack, folder, exclude, archive)
        answer = await client.upload_bundle(archive, packed.sha256, packed.size)
    request.test_plan.source.bundle.id = answer.bundle_id
    return request, packed

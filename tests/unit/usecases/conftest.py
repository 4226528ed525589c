"""The use cases over the real store, archive, sealer and cursors; only cluster, manifests and logs are stand-ins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from k8s_execution.evidence.archive import LocalArchive
from k8s_execution.logs.cursor import SignedCursors
from k8s_execution.manifests.check import Checker
from k8s_execution.ports.cluster import ClusterReader
from k8s_execution.ports.manifests import ManifestSource
from k8s_execution.runtime.sealing import KeySealer
from k8s_execution.runtime.threads import Threads
from k8s_execution.store.sqlite import SqlStore
from k8s_execution.usecases import Limits, Parts, UseCases
from support import build
from unit.usecases.made import Batches, NamesOnly


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """The service's bounded pool."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
async def parts(tmp_path: Path, executor: ThreadPoolExecutor) -> AsyncIterator[Parts]:
    """Everything the use cases work with; the cluster is known by its identity only."""
    sealer = KeySealer(bytes(32))
    manifests: ManifestSource = NamesOnly()
    async with SqlStore.open(tmp_path / "data", executor) as store:
        yield Parts(
            store=store,
            archive=LocalArchive(tmp_path / "archive", executor, bundle_limit=1000),
            logs=Batches(),
            cursors=SignedCursors(sealer),
            sealer=sealer,
            checker=Checker(),
            manifests=manifests,
            threads=Threads(executor),
            cluster=cast(ClusterReader, SimpleNamespace(identity=build.CLUSTER)),
        )


@pytest.fixture
def cases(parts: Parts) -> UseCases:
    """The use cases with a queue of at most 10."""
    return UseCases(parts, Limits(queue=10))

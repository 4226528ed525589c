"""SIGTERM with runs under way: what stops in which order, what callers are told, and that nothing is lost."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import grpc
import pytest

from support import oracle, plans, reading
from support.service import PATIENCE, Service

pytestmark = pytest.mark.e2e

COUNTED = "for i in $(seq 60); do echo number $i; sleep 0.05; done"
NUMBERS = [f"number {i}" for i in range(1, 61)]
ORDER = [
    "calls and streams",
    "loops and operations",
    "follows of logs",
    "reflectors",
    "the store, and with it what we own",
]


async def code_of(service: Service, execution_id: str, begun: asyncio.Event) -> grpc.StatusCode:
    """How a live stream of logs ended; `begun` is set when the run is in the middle of its tests."""

    async def read() -> None:
        async for batch in service.logs(execution_id):
            if any(line.text == "number 5" for line in batch.lines):
                begun.set()

    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await read()
    return ended.value.code()


async def test_a_drain_keeps_its_order_and_loses_nothing(tmp_path: Path, simulation: Path) -> None:
    """Two runs in their tests, one that was only just accepted; each goes on after the restart and ends complete."""
    service = Service(tmp_path / "data", simulation, environment={"K8S_EXECUTION_LOG_LEVEL": "INFO"})
    await service.start()
    try:
        running = [await service.execute(plans.plan(plans.shell("counted", COUNTED))) for _ in range(2)]
        begun = [asyncio.Event() for _ in running]
        streams = [asyncio.create_task(code_of(service, *pair)) for pair in zip(running, begun, strict=True)]
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(event.wait() for event in begun))
        accepted = await service.execute(plans.plan(plans.shell("counted", COUNTED)))
        assert service.process is not None
        service.process.send_signal(signal.SIGTERM)
        assert await asyncio.gather(*streams) == [grpc.StatusCode.UNAVAILABLE] * 2
        assert await service.stop() == 0
        assert re.findall(r"INFO k8s_execution\.app ended: (.*)", service.log.read_text()) == ORDER
        await service.start()
        for key in (*running, accepted):
            final = await oracle.check(service, key, "PASSED")
            assert await reading.step_lines(service, key) == NUMBERS
            assert final.evidence.complete, final.evidence.gaps
    finally:
        await service.stop()
    assert "Traceback" not in service.log.read_text(), service.tail()

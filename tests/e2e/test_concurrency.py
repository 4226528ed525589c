"""Two service processes on one data folder and one cluster: whoever is killed, the other finishes its runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support import oracle, plans, reading
from support.service import Service

pytestmark = pytest.mark.e2e

COUNTED = "for i in $(seq 40); do echo number $i; sleep 0.05; done"


@pytest.fixture
async def second(service: Service) -> AsyncIterator[Service]:
    """Another process beside `service`, on the same folder."""
    made = Service(service.data, service.kubeconfig, name="second")
    await made.start()
    yield made
    code = await made.stop()
    assert code == 0, f"serve ended with {code}\n{made.tail()}"
    assert "defect" not in made.log.read_text(), made.tail()


@pytest.mark.parametrize("victim", ["the one that accepted", "the other"])
async def test_the_survivor_finishes(service: Service, second: Service, victim: str) -> None:
    """SIGKILL of either during tests: same verdict, every line once. One of the two cases kills the owner."""
    execution_id = await service.execute(plans.with_api(plans.shell("counted", COUNTED)))
    killed, survivor = (service, second) if victim == "the one that accepted" else (second, service)
    await reading.until_printed(survivor, execution_id, "number 5")
    await killed.kill()
    final = await oracle.check(survivor, execution_id, "PASSED")
    assert final.evidence.complete, final.evidence.gaps
    assert await reading.step_lines(survivor, execution_id) == [f"number {i}" for i in range(1, 41)]

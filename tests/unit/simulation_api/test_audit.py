"""The audit log: every request for objects, when it came and when it was answered; no body, no command."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from k8s_simulation.controlplane import ControlPlane
from unit.simulation_api.conftest import HandClock


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the audit log is."""
    return tmp_path / "audit.log"


@pytest.fixture
async def audited(log: Path) -> AsyncIterator[ControlPlane]:
    """A control plane, without controllers, that writes one."""
    with log.open("ab", buffering=0) as file:
        plane = ControlPlane(clock=HandClock(), tls=False, audit=file)
        await plane.start(controllers=False)
        yield plane
        await plane.stop()


async def ask(plane: ControlPlane, method: str, path: str, token: str = "", **more: Any) -> int:
    """Send one request; its status."""
    headers = {"Authorization": f"Bearer {token or plane.token}", "User-Agent": "tester"}
    session = aiohttp.ClientSession(headers=headers)
    async with session, session.request(method, plane.url + path, **more) as response:
        await response.read()
        return response.status


def text(log: Path) -> str:
    """All of it."""
    return log.read_text()


def events(log: Path) -> list[dict[str, Any]]:
    """Its lines."""
    return [json.loads(line) for line in text(log).splitlines()]


async def test_a_request_is_told_twice(audited: ControlPlane, log: Path) -> None:
    """As it came and as it was answered: who, what, where, how it ended."""
    body = {"metadata": {"name": "c"}, "data": {"k": "s3cret"}}
    assert await ask(audited, "POST", "/api/v1/namespaces/default/configmaps?dryRun=All", json=body) == 201
    came, answered = events(log)
    assert (came["stage"], answered["stage"]) == ("RequestReceived", "ResponseComplete")
    assert came["auditID"] == answered["auditID"]
    assert answered["responseStatus"]["code"] == 201
    assert came["verb"] == "create"
    assert came["objectRef"] == {"resource": "configmaps", "namespace": "default", "apiVersion": "v1"}
    assert (came["user"]["username"], came["userAgent"]) == ("kubernetes-admin", "tester")
    assert came["requestURI"] == "/api/v1/namespaces/default/configmaps?dryRun=All"
    assert came["requestReceivedTimestamp"] == "2026-05-28T20:26:40.000000Z"
    assert "s3cret" not in text(log)


async def test_a_refusal_is_told_with_its_code(audited: ControlPlane, log: Path) -> None:
    """A node's token is a node's name; a group is told."""
    assert await ask(audited, "GET", "/apis/batch/v1/namespaces/x/jobs/j", audited.node_token) == 404
    came, answered = events(log)
    assert answered["responseStatus"]["code"] == 404
    assert came["user"]["username"] == "system:nodes"
    reference = {"resource": "jobs", "namespace": "x", "name": "j", "apiGroup": "batch", "apiVersion": "v1"}
    assert came["objectRef"] == reference


async def test_the_command_of_an_exec_is_not_told(audited: ControlPlane, log: Path) -> None:
    """It may hold a secret."""
    path = "/api/v1/namespaces/default/pods/p/exec?command=s3cret"
    assert await ask(audited, "GET", path) == 404
    assert events(log)[0]["objectRef"]["subresource"] == "exec"
    assert "s3cret" not in text(log)

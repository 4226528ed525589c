"""Faults as google.rpc.Status, without a wire."""

from __future__ import annotations

import logging
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from k8s_execution.domain import faults
from k8s_execution.domain.faults import Fault, Problem, ValidationFailed
from k8s_execution.ports.cluster import Refused, Unreachable
from k8s_execution.transports import codes, incidents

CANARY = "canary-7f3a91"


def details(status: status_pb2.Status) -> dict[str, Any]:
    """The details by kind."""
    kinds = {
        k.DESCRIPTOR.name: k
        for k in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)
    }
    found: dict[str, Any] = {}
    for detail in status.details:
        message = kinds[detail.TypeName().rpartition(".")[2]]()
        assert detail.Unpack(message)
        found[message.DESCRIPTOR.name] = message
    return found


def problems(count: int, text: str = "x") -> list[Problem]:
    return [
        Problem(
            f"environment.applications[{i}].image",
            text * 60,
            "string.image",
            "must be an image reference",
            "write 'a:1'",
        )
        for i in range(count)
    ]


def test_every_fault_that_callers_meet_has_a_row() -> None:
    every = {c for c in vars(faults).values() if isinstance(c, type) and issubclass(c, Fault)} - {Fault}
    assert every <= set(codes.CODES)


def test_a_subclass_is_answered_as_its_class() -> None:
    class NoBundle(faults.NotFound):
        """A narrower kind."""

    status = incidents.answer(NoBundle("none", "look again"), "Status")
    assert status.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert details(status)["ErrorInfo"].reason == "EXECUTION_NOT_FOUND"


def test_the_way_out_follows_the_message() -> None:
    status = incidents.answer(faults.QueueFull("the queue is full", "try again later"), "Execute")
    assert status.message == "the queue is full; try again later"
    assert details(status)["ErrorInfo"].domain == "k8s-execution.maestro"
    assert details(status)["RetryInfo"].retry_delay.seconds == 30


def test_an_unreachable_cluster_is_said_without_its_text() -> None:
    status = incidents.answer(Unreachable(CANARY), "SweepOrphans")
    assert status.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert details(status)["ErrorInfo"].reason == "CLUSTER_UNAVAILABLE"
    assert CANARY not in str(status)


@pytest.mark.parametrize(
    "error", [ValueError(CANARY), Fault(CANARY), faults.Stale(CANARY), Refused(403, CANARY, CANARY), KeyError(CANARY)]
)
def test_what_is_unexpected_leaves_only_an_incident(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        status = incidents.answer(error, "Execute")
    incident = details(status)["ErrorInfo"].metadata["incident"]
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert CANARY not in str(status)
    assert incident in status.message
    assert incident in caplog.text
    assert CANARY in caplog.text


def test_few_problems_are_told_whole() -> None:
    status = incidents.answer(ValidationFailed(problems(3)), "Execute")
    violations = details(status)["BadRequest"].field_violations
    assert [v.field for v in violations] == [f"environment.applications[{i}].image" for i in range(3)]
    assert {v.reason for v in violations} == {"string.image"}
    assert violations[0].description == f"must be an image reference (is '{'x' * 60}'); write 'a:1'"


@pytest.mark.parametrize("count", [1, 10, 20, 40, 60, 90, 200, 2000])
@pytest.mark.parametrize("text", ["x", "€", "\0"])
def test_a_status_never_outgrows_a_header(count: int, text: str) -> None:
    status = incidents.answer(ValidationFailed(problems(count, text)), "Execute")
    assert status.ByteSize() <= codes.DETAILS_BYTES


def test_problems_are_shortened_before_any_is_left_out() -> None:
    violations = details(incidents.answer(ValidationFailed(problems(70)), "Execute"))["BadRequest"].field_violations
    assert len(violations) == 70
    assert all(v.field and v.reason for v in violations)


def test_what_is_left_out_is_counted() -> None:
    violations = details(incidents.answer(ValidationFailed(problems(500)), "Execute"))["BadRequest"].field_violations
    said = len(violations) - 1
    assert violations[-1].description == f"and {500 - said} more problems; Validate answers all of them"


def test_a_problem_larger_than_a_header_is_still_answered() -> None:
    huge = Problem("f" * 20_000, "v", "rule", "m" * 20_000, "h" * 20_000)
    status = incidents.answer(ValidationFailed([huge]), "Execute")
    assert status.ByteSize() <= codes.DETAILS_BYTES
